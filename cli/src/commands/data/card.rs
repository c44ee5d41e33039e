//! `lore data card`: a dataset card with front matter, and attribution for every source.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::PathBuf;

use lore_datasets::prepare::DataReport;
use lore_datasets::source::SourceUri;
use serde_json::Value;

use super::built;
use super::terminal::report_lines;
use crate::error::{Error, Result};
use crate::recipe::{Recipe, Topic};
use crate::session::Session;
use crate::stages::topic::Tokens;

/// Print a dataset card for a recipe's topics
///
/// Its front matter is that of the Hugging Face hub. With --built, sizes and counts are those of what
/// `lore data build` wrote there.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  lore data card recipes/openstax.toml --built data > README.md")]
pub struct CardArguments {
    /// The recipe
    #[arg(value_name = "RECIPE.toml")]
    recipe: PathBuf,
    /// Folder that `lore data build` wrote
    #[arg(long, value_name = "DIR")]
    built: Option<PathBuf>,
}

/// Prints the card.
///
/// # Errors
/// Recipe problems; a folder without what was built.
pub fn card(arguments: &CardArguments, _session: &Session) -> Result<()> {
    let recipe = Recipe::open_with_topics(&arguments.recipe)?;
    let mut reports = Vec::new();
    if let Some(folder) = &arguments.built {
        for topic in &recipe.topics {
            let folder = folder.join(&topic.name);
            reports.push(built::report(&folder)?.map(|report| (report, built::tokens(&folder))));
        }
        if reports.iter().all(Option::is_none) {
            let names: Vec<&str> = recipe.topics.iter().map(|topic| topic.name.as_str()).collect();
            let message = format!(
                "--built {}: it holds none of {}; run `lore data build` first",
                folder.display(),
                names.join(", ")
            );
            return Err(Error::Usage(message));
        }
    }
    reports.resize(recipe.topics.len(), None);
    let topics: Vec<(&Topic, Option<Built<'_>>)> = recipe
        .topics
        .iter()
        .zip(&reports)
        .map(|(topic, report)| {
            (topic, report.as_ref().map(|(report, tokens)| Built { report, tokens: tokens.as_ref() }))
        })
        .collect();
    print!("{}", dataset_card(&recipe.name, &topics));
    Ok(())
}

/// What was built of a topic.
pub struct Built<'a> {
    /// What every step did.
    pub report: &'a DataReport,
    /// Tokens by split.
    pub tokens: Option<&'a Tokens>,
}

/// A card of one or several topics, Markdown with YAML front matter.
pub fn dataset_card(name: &str, topics: &[(&Topic, Option<Built<'_>>)]) -> String {
    let mut card = front_matter(name, topics);
    write!(card, "\n# {name}\n\n").expect("a String takes all text");
    card.push_str(
        "Texts for training knowledge modules, made with `lore data build`. The column `split` of a table says which \
         documents are for training (`train`) and which are held out (`validation`, `test`).\n",
    );
    for (topic, built) in topics {
        write!(card, "\n## {}\n\n", topic.name).expect("a String takes all text");
        if let Some(Built { report, tokens }) = built {
            for line in report_lines(report, *tokens) {
                writeln!(card, "- {line}").expect("a String takes all text");
            }
            card.push('\n');
        }
        card.push_str(&processing(topic));
    }
    card.push_str("\n## Sources and attribution\n\n");
    for (topic, _) in topics {
        let license = topic.license.as_deref().unwrap_or("licence not stated");
        let attribution = topic.attribution.as_deref().unwrap_or("no attribution stated");
        writeln!(card, "- **{}**: {} — {license}. {attribution}", topic.name, public_name(&topic.source))
            .expect("a String takes all text");
    }
    card
}

fn front_matter(name: &str, topics: &[(&Topic, Option<Built<'_>>)]) -> String {
    let mut text = String::from("---\n");
    let licenses: BTreeSet<String> = topics
        .iter()
        .map(|(topic, _)| topic.license.as_deref().map_or_else(|| "unknown".into(), hub_license))
        .collect();
    let quoted = |value: &str| Value::from(value).to_string();
    let list = |key: &str, values: &BTreeSet<String>, text: &mut String| {
        writeln!(text, "{key}:").expect("a String takes all text");
        for value in values {
            writeln!(text, "- {}", quoted(value)).expect("a String takes all text");
        }
    };
    list("license", &licenses, &mut text);
    // Nothing else finds out which language texts are in.
    if topics.iter().all(|(topic, _)| topic.clean.as_ref().is_some_and(|clean| clean.english)) {
        list("language", &["en".to_owned()].into(), &mut text);
    }
    writeln!(text, "pretty_name: {}", quoted(name)).expect("a String takes all text");
    list("task_categories", &["text-generation".to_owned()].into(), &mut text);
    list("source_datasets", &["original".to_owned()].into(), &mut text);
    let documents: Option<u64> = topics
        .iter()
        .map(|(_, built)| Some(built.as_ref()?.report.splits.iter().map(|s| s.documents).sum::<u64>()))
        .sum();
    if let Some(documents) = documents {
        list("size_categories", &[size_category(documents).to_owned()].into(), &mut text);
    }
    text.push_str("configs:\n");
    for (topic, _) in topics {
        let path =
            if topics.len() == 1 { "documents.parquet".into() } else { format!("{}/documents.parquet", topic.name) };
        writeln!(text, "- config_name: {}\n  data_files: {}", quoted(&topic.name), quoted(&path))
            .expect("a String takes all text");
    }
    text.push_str("---\n");
    text
}

/// The hub's identifier of a licence: SPDX in small letters, `other` for what is no SPDX expression.
fn hub_license(license: &str) -> String {
    match license.strip_prefix("LicenseRef-") {
        Some(_) => "other".into(),
        None => license.to_lowercase(),
    }
}

fn size_category(documents: u64) -> &'static str {
    match documents {
        0..1_000 => "n<1K",
        1_000..10_000 => "1K<n<10K",
        10_000..100_000 => "10K<n<100K",
        100_000..1_000_000 => "100K<n<1M",
        1_000_000..10_000_000 => "1M<n<10M",
        _ => "n>10M",
    }
}

/// What others can use: a path on this machine is none of it but its last part.
fn public_name(source: &SourceUri) -> String {
    match source {
        SourceUri::File(path) => {
            let parts: Vec<_> =
                path.components().rev().take(2).map(|part| part.as_os_str().to_string_lossy()).collect();
            format!("local files `{}`", parts.into_iter().rev().collect::<Vec<_>>().join("/"))
        }
        other => format!("`{other}`"),
    }
}

fn processing(topic: &Topic) -> String {
    let mut steps = vec!["exact duplicates dropped".to_owned()];
    if let Some(clean) = &topic.clean {
        let scrubbed: Vec<&str> = clean.scrub.iter().map(|pattern| pattern.name()).collect();
        steps.push(format!(
            "cleaned (rules of quality: {}; replaced: {})",
            if clean.quality.is_empty() { "none".into() } else { clean.quality.join(", ") },
            if scrubbed.is_empty() { "nothing".into() } else { scrubbed.join(", ") },
        ));
    }
    if let Some(dedup) = &topic.dedup {
        steps.push(format!("near duplicates dropped from a Jaccard similarity of {}", dedup.threshold));
    }
    if !topic.against().is_empty() {
        let names: Vec<&str> = topic.against().iter().map(|against| against.name.as_str()).collect();
        steps.push(format!("kept apart from the evaluation items {}", names.join(", ")));
    }
    format!(
        "Processing: {}. Held out: {} for validation, {} for testing.\n",
        steps.join("; "),
        topic.split.validation,
        topic.split.test
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn licences_and_sizes_are_those_of_the_hub() {
        assert_eq!(hub_license("CC-BY-4.0"), "cc-by-4.0");
        assert_eq!(hub_license("LicenseRef-public-domain"), "other");
        assert_eq!((size_category(0), size_category(1000), size_category(20_000_000)), ("n<1K", "1K<n<10K", "n>10M"));
    }

    #[test]
    fn no_path_of_this_machine_is_published() {
        assert_eq!(
            public_name(&SourceUri::File("/home/me/books/astronomy/text.txt".into())),
            "local files `astronomy/text.txt`"
        );
    }
}
