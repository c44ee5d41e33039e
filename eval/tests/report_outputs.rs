//! What a reader of a report sees, and that its files hold what was measured.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "report_outputs/fixture.rs"]
mod fixture;

use fixture::report;
use lore_eval::report::{
    Cell, HeatScale, Matrix, Report, ReportError, Row, RowKind, SCHEMA_VERSION, Stage, claim_on_trial, headline,
    read_json, render_html, render_terminal, write, write_json,
};

fn cell(bits_per_byte: f64) -> Cell {
    Cell { bits_per_byte, ..Cell::default() }
}

/// Two topics with values whose consequences are easy to work out by hand.
fn by_hand() -> Report {
    let mut report = report(2);
    let mut rows: Vec<Row> = report.matrix.rows.clone();
    let values = [
        [2.0, 1.0, 1.0],  // base
        [1.5, 1.1, 1.02], // geography
        [2.0, 0.8, 0.99], // cybersecurity
        [1.75, 0.9, 1.1], // summed
        [1.9, 1.05, 1.0], // averaged
        [1.5, 0.8, 1.0],  // chosen
        [1.0, 0.6, 0.8],  // teacher
    ];
    for (row, [geography, cybersecurity, general]) in rows.iter_mut().zip(values) {
        row.cells.insert("geography".into(), cell(geography));
        row.cells.insert("cybersecurity".into(), cell(cybersecurity));
        row.cells.insert("general".into(), cell(general));
    }
    report.matrix.rows = rows;
    report
}

#[test]
fn consequences_equal_those_worked_out_by_hand() {
    let derived = by_hand().derived();
    let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-9, "{a} is not {b}");
    near(derived.gap_closed.unwrap(), (2.7 - 1.45) / (2.7 - 1.195));
    near(derived.above_teacher.unwrap(), 100.0 * (1.45 / 1.195 - 1.0));
    near(derived.own_gains[0].percent, 25.0);
    near(derived.own_gains[1].bits_per_byte, 0.2);
    let kept = |row: &str, module: &str| {
        derived.retained.iter().find(|kept| kept.row == row && kept.module == module).unwrap().share
    };
    near(kept("all, summed", "geography"), 0.5);
    near(kept("all, summed", "cybersecurity"), 0.5);
    near(kept("all, averaged", "cybersecurity"), -0.25);
    near(kept("all, chosen per passage", "geography"), 1.0);
    let interference: Vec<(&str, &str)> =
        derived.interference.iter().map(|c| (c.row.as_str(), c.column.as_str())).collect();
    assert_eq!(interference, [("base + geography", "cybersecurity"), ("base + cybersecurity", "geography")]);
    near(derived.interference[0].percent, 10.0);
    assert_eq!(derived.forgetting.len(), 5);
    near(derived.forgetting[0].percent, 2.0);
    assert_eq!(derived.quality.len(), 6);
    assert_eq!(derived.quality[1].kind, RowKind::Module);
    near(derived.quality[1].bits_per_byte, (1.5 + 0.8) / 2.0);
    assert_eq!(derived.quality[1].resident_bytes, 330_410_000);
    near(derived.routing_accuracy.unwrap(), (118.0 + 113.0) / 240.0);
}

#[test]
fn the_headline_is_in_plain_words() {
    let report = by_hand();
    assert_eq!(
        headline(&report),
        "The base is 61 % of the teacher’s size. Adding the module a topic needs makes unseen text on it \
         22.5 % cheaper to predict, averaged over 2 topics."
    );
    let alone = Report { modules: Vec::new(), ..by_hand() };
    assert_eq!(
        headline(&alone),
        "The base is 61 % of the teacher’s size. For general English it needs 21.3 % more bits than the teacher."
    );
    // From base 1.5 to teacher 0.8, the modules reach 1.15.
    assert_eq!(
        claim_on_trial(&report).unwrap(),
        "With 61 % of the teacher’s memory, the base with the one module needed goes 50 % of the way from the base to \
         the teacher (1.150 bits per byte against 0.800)."
    );
}

#[test]
fn tasks_are_told_with_what_needs_no_knowledge() {
    let report = report(2);
    let text = render_terminal(&report, false);
    let line = |begin: &str| text.lines().rfind(|line| line.starts_with(begin)).unwrap().to_owned();
    // 26.2 % and 6 steps of 1.1 points; beyond chance, which a star says.
    let teacher = line("teacher");
    for part in ["32.8 %", "+6.6*", "1.240", "+0.036*"] {
        assert!(teacher.contains(part), "{part}: {teacher}");
    }
    assert!(line("(the longest answer)").ends_with("31.2 %           31.2 %"), "{text}");
    assert!(text.contains("4 of 1,350 items of mmlu/astronomy stand in the texts"), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    let page = render_html(&report).unwrap();
    for part in [
        "What each of them answers",
        "acc · 1,350 items, 4 of them seen in training",
        "bits per byte, lower is better · 62 items",
        "<span class=\"met\">+6.6 better</span>",
        "<span class=\"missed\">+0.036 worse</span>",
        "<small>clean 32.6\u{a0}%</small>",
        "<th scope=\"row\">the longest answer</th>",
    ] {
        assert!(page.contains(part), "{part}");
    }
    assert!(!render_html(&Report { tasks: Vec::new(), ..report }).unwrap().contains("What each of them answers"));
}

#[test]
fn the_terminal_table_looks_like_this() {
    insta::assert_snapshot!("terminal", render_terminal(&report(3), false));
}

#[test]
fn the_terminal_table_fits_and_colours_only_when_asked() {
    for topics in [0, 1, 3, 10] {
        let mut report = report(topics);
        report.name = "長い名前".repeat(40);
        let plain = render_terminal(&report, false);
        assert!(!plain.contains('\u{1b}'));
        for line in plain.lines().skip(1) {
            assert!(line.chars().count() <= 100, "{} columns: {line}", line.chars().count());
        }
        assert_eq!(strip_colors(&render_terminal(&report, true)), plain);
    }
    assert!(render_terminal(&report(3), true).contains("\u{1b}[34m"));
}

fn strip_colors(text: &str) -> String {
    let mut parts = text.split("\u{1b}[");
    let first = parts.next().unwrap().to_owned();
    parts.fold(first, |all, part| all + part.split_once('m').unwrap().1)
}

#[test]
fn names_cannot_steer_the_terminal() {
    let mut report = report(1);
    report.matrix.rows[1].name = "evil\u{1b}]0;title\u{7}\r\n\u{202e}row".into();
    report.claims[0].value = "\u{1b}[2J".into();
    let text = render_terminal(&report, false);
    assert!(text.chars().all(|c| c == '\n' || (!c.is_control() && c != '\u{202e}')));
}

#[test]
fn json_comes_back_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    for topics in [0, 1, 10] {
        let report = report(topics);
        let written = write(folder.path(), &report).unwrap();
        assert_eq!(read_json(&written.json).unwrap(), report);
        let first = std::fs::read(&written.json).unwrap();
        write_json(&written.json, &report).unwrap();
        assert_eq!(std::fs::read(&written.json).unwrap(), first);
    }
    // Only the two reports: no temporary file stays behind.
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    let bare = Report { schema_version: SCHEMA_VERSION, ..Report::default() };
    write(folder.path(), &bare).unwrap();
    assert_eq!(read_json(&folder.path().join("report.json")).unwrap(), bare);
}

#[test]
fn numbers_that_are_not_finite_are_all_named_and_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let mut report = report(1);
    report.matrix.rows[1].cells.insert("geography".into(), cell(f64::NAN));
    report.modules[0].load_ms = Some(f64::INFINITY);
    let error = write(folder.path(), &report).unwrap_err();
    let ReportError::NotFinite { fields } = &error else { panic!("{error}") };
    assert_eq!(fields, &["matrix.rows[1].cells.geography.bits_per_byte", "modules[0].load_ms"]);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    // Shown all the same, as a dash.
    assert!(render_html(&report).unwrap().contains("<b>–</b>"));
    assert!(render_terminal(&report, false).contains('–'));
}

#[test]
fn other_files_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("report.json");
    assert!(read_json(&path).unwrap_err().to_string().contains("report.json"));
    std::fs::write(&path, "{\"schema_version\": 9}").unwrap();
    let error = read_json(&path).unwrap_err().to_string();
    assert!(error.contains("schema 9") && error.contains("reads 1"), "{error}");
    std::fs::write(&path, "{\"schema_version\": 1, \"name\": ").unwrap();
    assert!(matches!(read_json(&path), Err(ReportError::Json { .. })));
}

#[test]
fn the_page_holds_every_row_and_column() {
    for topics in [1, 10] {
        let report = report(topics);
        let page = render_html(&report).unwrap();
        for row in &report.matrix.rows {
            assert!(page.contains(&format!("<th scope=\"row\">{}</th>", row.name)), "{}", row.name);
            for column in &report.matrix.columns {
                let bits = format!("<b>{:.3}</b>", row.cells[&column.name].bits_per_byte);
                assert!(page.contains(&bits), "{} on {}", row.name, column.name);
            }
        }
        for text in report.claims.iter().map(|claim| &claim.value).chain(report.data.iter().map(|d| &d.license)) {
            assert!(page.contains(text));
        }
        for part in ["or by the teacher.", "A &lt;b&gt;small", "lies in a valley."] {
            assert!(page.contains(part), "{part}");
        }
        assert_eq!(page.matches("<table").count(), page.matches("<caption><span>").count());
    }
}

#[test]
fn the_page_loads_nothing() {
    let mut report = report(3);
    report.data[0].source = "https://example.org/texts".into();
    let page = render_html(&report).unwrap();
    assert!(page.contains("https:&#x2f;&#x2f;example.org&#x2f;texts") || page.contains("https://example.org/texts"));
    for load in ["src=", "url(", "@import", "<script", "<link", "<img", "<iframe", "href=\"http"] {
        assert!(!page.contains(load), "{load}");
    }
}

#[test]
fn hostile_text_stays_text() {
    let attack = "</title></style><script>alert(1)</script><img src=x onerror='a'>\"'><svg/onload=x>";
    let mut report = report(2);
    report.name = attack.into();
    report.date = attack.into();
    report.recipe = attack.into();
    report.notes.push(attack.into());
    report.samples[0].module_text = attack.into();
    report.commands[0].command = attack.into();
    report.claims[0].name = attack.into();
    report.data[0].attribution = attack.into();
    report.stages.push(Stage { name: attack.into(), seconds: 1.0, cached: true });
    report.modules[0].name = attack.into();
    report.matrix.columns[0].name = attack.into();
    for row in &mut report.matrix.rows {
        row.name = format!("{attack}{}", row.name);
        let value = row.cells["geography"];
        row.cells.insert(attack.into(), value);
    }
    let page = render_html(&report).unwrap();
    for tag in ["<script", "<img", "<svg/onload", "onerror='a'>"] {
        assert!(!page.contains(tag), "{tag}");
    }
    assert_eq!(page.matches("</style>").count(), 1);
    assert_eq!(page.matches("</title></style>").count(), 0);
}

#[test]
fn a_report_with_next_to_nothing_is_still_a_page() {
    let page = render_html(&Report::default()).unwrap();
    assert!(page.contains("<h1>") && !page.contains("<svg") && !page.contains("NaN"));
    let mut report = report(3);
    report.matrix = Matrix::default();
    report.distillation = None;
    report.teacher = None;
    assert!(!render_html(&report).unwrap().contains("NaN"));
    assert!(render_terminal(&report, false).contains("synthetic"));
}

#[test]
fn heat_map_text_can_be_read() {
    let luminance = |color: [u8; 3]| {
        let linear = color.map(|c| {
            let c = f64::from(c) / 255.0;
            if c <= 0.04045 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) }
        });
        0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    };
    let contrast = |a: [u8; 3], b: [u8; 3]| {
        let (a, b) = (luminance(a), luminance(b));
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    };
    // The page's ink on light and on dark.
    let (light_ink, dark_ink) = ([0x17, 0x19, 0x1d], [0xec, 0xee, 0xf1]);
    let scale = HeatScale::new(15.0);
    for tenths in -300..=300 {
        let color = scale.color(Some(f64::from(tenths) / 10.0));
        assert!(contrast(color.light, light_ink) >= 4.5 && contrast(color.dark, dark_ink) >= 4.5, "{color:?}");
    }
    assert_eq!(scale.color(None), scale.color(Some(0.0)));
    assert_eq!(scale.color(Some(-15.0)), scale.color(Some(-90.0)));
    assert_ne!(scale.color(Some(-5.0)).light, scale.color(Some(5.0)).light);
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(48))]

    #[test]
    fn no_number_breaks_a_rendering(
        bits in proptest::num::f64::ANY,
        seconds in proptest::num::f64::ANY,
        resident in proptest::num::u64::ANY,
        topics in 0usize..=10,
    ) {
        let mut report = report(topics);
        for row in &mut report.matrix.rows {
            for cell in row.cells.values_mut().step_by(2) {
                cell.bits_per_byte = bits;
            }
        }
        report.matrix.rows[0].resident_bytes = Some(resident);
        report.stages[1].seconds = seconds;
        let curve = &mut report.distillation.as_mut().unwrap().curve;
        curve[3].loss = bits;
        curve[4].tokens = resident;
        for text in [render_html(&report).unwrap(), render_terminal(&report, false)] {
            proptest::prop_assert!(!text.contains("NaN") && !text.contains("inf "));
        }
    }
}
