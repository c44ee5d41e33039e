use super::data::Report;
use super::derived::Retained;
use super::headline::{claim_on_trial, headline};
use super::matrix::{Row, RowKind};
use super::quantity;
use super::tasks::{CONTROLS, TaskColumn};

const WIDTH: usize = 100;
const NAME: usize = 30;
const COLUMN: usize = 17;
const CHANGE: usize = 9;

/// The matrix and the main results as text of at most 100 columns, in colour when asked.
pub fn render_terminal(report: &Report, color: bool) -> String {
    let mut out = Text { lines: String::new(), color };
    out.line(&out.styled(&fit(&clean(&report.name), WIDTH), "1"));
    for sentence in [Some(headline(report)), claim_on_trial(report)].into_iter().flatten() {
        out.wrapped("", 0, &clean(&sentence));
    }
    matrix(report, &mut out);
    kept(report, &mut out);
    tasks(report, &mut out);
    summary(report, &mut out);
    claims(report, &mut out);
    if !report.notes.is_empty() {
        out.line("");
    }
    for note in &report.notes {
        out.wrapped("Note: ", 6, &clean(note));
    }
    out.lines
}

struct Text {
    lines: String,
    color: bool,
}

impl Text {
    fn line(&mut self, text: &str) {
        self.lines.push_str(text.trim_end());
        self.lines.push('\n');
    }

    fn styled(&self, text: &str, code: &str) -> String {
        if self.color { format!("\x1b[{code}m{text}\x1b[0m") } else { text.into() }
    }

    /// Lines of at most [`WIDTH`] columns; all but the first are indented.
    fn wrapped(&mut self, first: &str, indent: usize, text: &str) {
        let mut line = pad_right(first, indent);
        let mut empty = true;
        // A percent sign stays on the line of its number.
        let text = text.replace(" %", "\u{1}%");
        for word in text.split_whitespace() {
            let word = word.replace('\u{1}', " ");
            if !empty && columns(&line) + 1 + columns(&word) > WIDTH {
                self.line(&line);
                line = " ".repeat(indent);
                empty = true;
            }
            if !empty {
                line.push(' ');
            }
            line.push_str(&fit(&word, WIDTH - indent));
            empty = false;
        }
        self.line(&line);
    }
}

fn matrix(report: &Report, out: &mut Text) {
    if report.matrix.columns.is_empty() || report.matrix.rows.is_empty() {
        return;
    }
    out.line("");
    out.line("Bits per byte of held-out text (lower is better) and change against the base");
    // What does not fit beside each other goes below.
    for panel in report.matrix.columns.chunks((WIDTH - NAME) / COLUMN) {
        out.line("");
        let mut heading = pad_right("", NAME);
        for column in panel {
            heading.push_str(&pad_left(&fit(&clean(&column.name), COLUMN - 2), COLUMN));
        }
        out.line(&out.styled(&heading, "2"));
        for row in &report.matrix.rows {
            let name = pad_right(&fit(&clean(&row.name), NAME - 2), NAME);
            let mut line = if row.kind == RowKind::Base { out.styled(&name, "1") } else { name };
            for column in panel {
                line.push_str(&cell(report, row, &column.name, out));
            }
            out.line(&line);
        }
    }
}

fn cell(report: &Report, row: &Row, column: &str, out: &Text) -> String {
    let bits = pad_left(&quantity::bits(report.value(row, column)), COLUMN - CHANGE);
    if row.kind == RowKind::Base {
        return pad_right(&bits, COLUMN);
    }
    let percent = report.change_percent(row, column);
    let change = pad_left(&quantity::change(percent), CHANGE);
    let code = match percent {
        Some(p) if p <= -1.0 => "34",
        Some(p) if p >= 1.0 => "33",
        _ => "2",
    };
    bits + &out.styled(&change, code)
}

fn summary(report: &Report, out: &mut Text) {
    let mut lines: Vec<(String, String)> = Vec::new();
    if let Some(d) = &report.distillation {
        let [untrained, student, teacher] =
            [d.untrained_bits_per_byte, d.student_bits_per_byte, d.teacher_bits_per_byte]
                .map(|bits| quantity::bits(Some(bits)));
        let above = quantity::change(report.above_teacher());
        let text = format!("{untrained} → {student}, teacher {teacher}: {above} against it");
        lines.push(("distillation".into(), text));
    }
    if let Some(accuracy) = report.routing_accuracy() {
        lines.push(("right module or none".into(), format!("{} of passages", quantity::share(Some(accuracy)))));
    }
    for module in &report.modules {
        let load = module.load_ms.map(|ms| format!(", loads in {} ms", quantity::fixed(ms, 0)));
        let text = format!("{}{}", quantity::bytes(module.bytes), load.unwrap_or_default());
        lines.push((format!("module {}", clean(&module.name)), text));
    }
    if !report.stages.is_empty() {
        let ran = report.stages.iter().filter(|stage| !stage.cached);
        let text = quantity::duration(ran.map(|stage| stage.seconds).sum());
        let cached = report.stages.iter().filter(|stage| stage.cached).count();
        let cached = match cached {
            0 => String::new(),
            1 => String::from(", one stage from cache"),
            n => format!(", {n} stages from cache"),
        };
        lines.push(("time".into(), text + &cached));
    }
    if let Some(bytes) = report.peak_memory_bytes {
        lines.push(("peak memory".into(), quantity::bytes(bytes)));
    }
    pairs(lines, out);
}

fn kept(report: &Report, out: &mut Text) {
    let mut lines = Vec::new();
    for row in report.matrix.rows.iter().filter(|row| row.kind.is_combination()) {
        let share = |kept: &Retained| format!("{} {}", clean(&kept.module), quantity::share(Some(kept.share)));
        let shares: Vec<String> = report.retained(row).iter().map(share).collect();
        if !shares.is_empty() {
            lines.push((clean(&row.name), shares.join(", ")));
        }
    }
    if !lines.is_empty() {
        out.line("");
        out.line("Share of each module’s own gain that a combination keeps");
        pairs(lines, out);
    }
}

fn tasks(report: &Report, out: &mut Text) {
    if report.tasks.is_empty() {
        return;
    }
    out.line("");
    out.line("Tasks, and change against the base; * is more than chance, corrected for all of them");
    for panel in report.tasks.chunks((WIDTH - NAME) / COLUMN) {
        out.line("");
        for heading in [TaskColumn::heading, TaskColumn::subheading] {
            let mut line = pad_right("", NAME);
            for column in panel {
                line.push_str(&pad_left(&fit(&clean(&heading(column)), COLUMN - 2), COLUMN));
            }
            out.line(&out.styled(&line, "2"));
        }
        let mut rows: Vec<&str> = Vec::new();
        for cell in panel.iter().flat_map(|column| &column.rows) {
            if !rows.contains(&cell.row.as_str()) {
                rows.push(&cell.row);
            }
        }
        for row in rows {
            let mut line = pad_right(&fit(&clean(row), NAME - 2), NAME);
            for column in panel {
                line.push_str(&task_cell(column, row, out));
            }
            out.line(&line);
        }
        for (control, name) in CONTROLS {
            let figures: Vec<Option<&f64>> = panel.iter().map(|column| column.controls.get(control)).collect();
            if figures.iter().all(Option::is_none) {
                continue;
            }
            let mut line = pad_right(&format!("({name})"), NAME);
            for (column, figure) in panel.iter().zip(figures) {
                let text = figure.map_or_else(String::new, |acc| column.shown(*acc));
                line.push_str(&pad_right(&pad_left(&text, COLUMN - CHANGE), COLUMN));
            }
            out.line(&out.styled(line.trim_end(), "2"));
        }
    }
    for column in report.tasks.iter().filter(|column| column.dirty > 0) {
        let text = format!(
            "{} of {} items of {} stand in the texts that were learnt from; the page and report.json have the figures \
             without them.",
            quantity::grouped(column.dirty),
            quantity::grouped(column.items),
            clean(&column.name)
        );
        out.line("");
        out.wrapped("", 0, &text);
    }
}

fn task_cell(column: &TaskColumn, row: &str, out: &Text) -> String {
    let Some(cell) = column.cell(row) else { return pad_right("", COLUMN) };
    let value = pad_left(&column.shown(cell.value), COLUMN - CHANGE);
    let Some(change) = cell.change else { return pad_right(&value, COLUMN) };
    let text = pad_left(&column.shown_change(change.difference), CHANGE - 1);
    let (code, mark) = match (change.better, change.worse) {
        (true, _) => ("34", "*"),
        (_, true) => ("33", "*"),
        _ => ("2", ""),
    };
    let text = text + mark;
    // Outside what is coloured, so that it can be cut off at the end of a line.
    let rest = " ".repeat(CHANGE.saturating_sub(columns(&text)));
    value + &out.styled(&text, code) + &rest
}

fn pairs(lines: Vec<(String, String)>, out: &mut Text) {
    if !lines.is_empty() {
        out.line("");
    }
    for (name, value) in lines {
        out.wrapped(&fit(&name, NAME - 2), NAME, &value);
    }
}

fn claims(report: &Report, out: &mut Text) {
    if report.claims.is_empty() {
        return;
    }
    let met = report.claims.iter().filter(|claim| claim.met).count();
    out.line("");
    out.line(&format!("{met} of {} targets met", report.claims.len()));
    for claim in &report.claims {
        let mark = if claim.met { "  met      " } else { "  not met  " };
        let text = format!("{}: {} (target {})", clean(&claim.name), clean(&claim.value), clean(&claim.target));
        out.wrapped(mark, columns(mark), &text);
    }
}

/// Without the characters that steer a terminal or turn the direction of writing.
fn clean(text: &str) -> String {
    let steers = |c: char| {
        c.is_control() || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().map(|c| if steers(c) { ' ' } else { c }).collect()
}

/// Terminal columns of a character: East Asian wide characters and emoji take two.
fn char_columns(c: char) -> usize {
    match u32::from(c) {
        0x0300..=0x036f => 0,
        0x1100..=0x115f | 0x2e80..=0xa4cf | 0xac00..=0xd7a3 | 0xf900..=0xfaff | 0xfe30..=0xfe6f => 2,
        0xff00..=0xff60 | 0x1f300..=0x1faff | 0x20000..=0x3fffd => 2,
        _ => 1,
    }
}

fn columns(text: &str) -> usize {
    text.chars().map(char_columns).sum()
}

fn fit(text: &str, width: usize) -> String {
    if columns(text) <= width {
        return text.into();
    }
    let mut used = 1;
    let kept: String = text
        .chars()
        .take_while(|c| {
            used += char_columns(*c);
            used <= width
        })
        .collect();
    format!("{}…", kept.trim_end())
}

fn pad_right(text: &str, width: usize) -> String {
    format!("{text}{}", " ".repeat(width.saturating_sub(columns(text))))
}

fn pad_left(text: &str, width: usize) -> String {
    format!("{}{text}", " ".repeat(width.saturating_sub(columns(text))))
}
