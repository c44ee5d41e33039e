//! A survey as lines for a terminal.

use lore_datasets::clean::meaning;
use lore_datasets::dedup::{Duplicate, Kind};

use super::survey::{SourceSurvey, Survey};
use super::terminal::counts;
use crate::quantity;

impl Survey {
    /// The summary for a terminal.
    pub fn lines(&self) -> Vec<String> {
        let mut lines: Vec<String> = self.sources.iter().flat_map(of_source).collect();
        lines.push(format!(
            "\n{} documents, {} ({} characters), {} {}",
            self.documents,
            quantity::bytes(self.bytes),
            quantity::count(self.characters),
            quantity::count(self.total_length),
            self.unit
        ));
        lines.push(format!("languages: {}", counts(&self.languages)));
        lines.push(format!("licences: {}", counts(&self.licenses)));
        lines.push(format!(
            "duplicates: {} exact, {} near, {} paragraphs",
            self.dedup.exact, self.dedup.near, self.dedup.paragraphs
        ));
        lines.extend(self.cleaning());
        lines.push(format!("\ndocuments by {}", self.unit));
        for bucket in &self.lengths {
            let bar = "█".repeat((bucket.percent as usize * 40).div_ceil(100));
            lines.push(format!("  {:>9}+ {:>8}  {bar}", bucket.from, bucket.documents).trim_end().to_owned());
        }
        for duplicate in self.duplicates.iter().take(5) {
            let Duplicate { kind, kept, dropped, similarity, excerpt } = duplicate;
            let repeats = match kind {
                Kind::Paragraph => format!("a paragraph of {dropped} repeats one of {kept}"),
                _ => format!("{dropped} repeats {kept}"),
            };
            lines.push(format!("\n{repeats} ({:.0} %): {excerpt}", similarity * 100.0));
        }
        lines
    }

    /// What cleaning would do.
    fn cleaning(&self) -> Vec<String> {
        let clean = &self.clean;
        let or_nothing = |text: String| if text.is_empty() { "nothing".into() } else { text };
        let mut lines =
            vec![format!("\ncleaning with its defaults would keep {} of {} documents", clean.kept, clean.given)];
        let mut broken: Vec<_> = clean.broken.iter().collect();
        broken.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
        lines.push(format!("  documents that break a rule:{}", if broken.is_empty() { " none" } else { "" }));
        for (rule, documents) in broken {
            let meaning = meaning(rule).map(|meaning| format!(": {meaning}")).unwrap_or_default();
            lines.push(format!("  {documents:>9}  {rule}{meaning}"));
        }
        if self.to_split > 0 {
            lines.push(format!(
                "  {} of them with headings and more than 100 000 words: `--split-headings 1` takes sections instead",
                self.to_split
            ));
        }
        let lines_cut = [("boilerplate".to_owned(), clean.boilerplate_lines)].into_iter().chain(clean.lines.clone());
        let lines_cut = lines_cut.filter(|(_, count)| *count > 0).collect();
        lines.push(format!("  lines cut: {}", or_nothing(counts(&lines_cut))));
        lines.push(format!("  replaced: {}", or_nothing(counts(&clean.scrubbed))));
        lines.push(format!(
            "  characters: normalised {}, mojibake {}, control {} (documents)",
            clean.normalised, clean.repaired, clean.controls
        ));
        lines
    }
}

fn of_source(source: &SourceSurvey) -> Vec<String> {
    let SourceSurvey { name, files, read, documents, left_out, built } = source;
    let of_files = if built.is_some() { "made by Lore".into() } else { format!("{read} of {files} files read") };
    let mut lines = vec![format!("{name}: {of_files}, {documents} documents")];
    lines.extend(built.iter().flat_map(|built| &built.lines).map(|line| format!("  {line}")));
    lines.extend(left_out.iter().map(|reason| format!("  left out: {reason}")));
    lines
}
