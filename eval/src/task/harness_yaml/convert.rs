//! The keys of a harness task as a [`Task`].

use std::path::Path;

use serde_json::{Map, Value};

use crate::task::{
    Cloze, Data, DataFormat, Generate, Kind, MultipleChoice, Rolling, Shots, Take, Task,
    template::{ID, environment},
};

/// Keys that say nothing about what is asked.
const WITHOUT_MEANING: [&str; 14] = [
    "tag",
    "group",
    "task_alias",
    "group_alias",
    "should_decontaminate",
    "doc_to_decontamination_query",
    "metadata",
    "dataset_kwargs",
    "num_fewshot",
    "repeats",
    "training_split",
    "unsafe_code",
    "test_split",
    "validation_split",
];
/// Metrics that are told here anyway, as the harness counts them; `exact_match` and `f1` compare words as SQuAD does,
/// whatever options the file gives them.
const METRICS: [&str; 9] = [
    "acc",
    "acc_norm",
    "acc_bytes",
    "perplexity",
    "word_perplexity",
    "byte_perplexity",
    "bits_per_byte",
    "exact_match",
    "f1",
];

struct Keys {
    keys: Map<String, Value>,
    problems: Vec<String>,
}

impl Keys {
    fn text(&mut self, key: &str) -> Option<String> {
        match self.keys.remove(key) {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => Some(text),
            Some(other) => {
                self.problems.push(format!("`{key}` is {other}, not a text"));
                None
            }
        }
    }

    fn needed(&mut self, key: &str) -> String {
        if self.keys.get(key).is_none_or(Value::is_null) {
            self.problems.push(format!("`{key}` is missing"));
        }
        self.text(key).unwrap_or_default()
    }

    fn value(&mut self, key: &str) -> Option<Value> {
        self.keys.remove(key).filter(|value| !value.is_null())
    }
}

pub(super) fn task(keys: Map<String, Value>, sha256: String) -> Result<Task, Vec<String>> {
    let mut keys = Keys { keys, problems: Vec::new() };
    let name = keys.needed("task");
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if !name.chars().all(allowed) || name.starts_with('.') {
        keys.problems.push(format!("`task` is \"{name}\", which can name no file"));
    }
    let version = keys.keys.get("metadata").and_then(|metadata| metadata.get("version")).and_then(Value::as_f64);
    let (data, mut shots) = data(&mut keys);
    let description = keys.text("description").unwrap_or_default();
    let delimiter = keys.text("target_delimiter").unwrap_or_else(|| " ".into());
    shots.before_answer = Some(delimiter.clone());
    let kind = kind(&mut keys, &delimiter, &shots.delimiter);
    for metric in keys.value("metric_list").and_then(|list| list.as_array().cloned()).unwrap_or_default() {
        match metric.get("metric").and_then(Value::as_str) {
            Some(known) if METRICS.contains(&known) => {}
            other => keys.problems.push(format!("the metric `{}` is not known here", other.unwrap_or("(none)"))),
        }
    }
    for key in WITHOUT_MEANING {
        keys.keys.remove(key);
    }
    let left: Vec<String> =
        keys.keys.iter().filter(|(_, value)| !value.is_null()).map(|(key, _)| key.clone()).collect();
    for key in left {
        keys.problems.push(format!("`{key}` is not supported"));
    }
    check(&mut keys.problems, "description", &description);
    let Some(kind) = kind.filter(|_| keys.problems.is_empty()) else { return Err(keys.problems) };
    Ok(Task {
        name,
        version: version.map_or(1, |version| (version.max(0.0) as u32).max(1)),
        about: "a task file of lm-evaluation-harness".into(),
        license: None,
        data,
        id: ID.into(),
        subset: String::new(),
        description,
        shots,
        kind,
        sha256,
    })
}

/// Where the items are, and the examples.
fn data(keys: &mut Keys) -> (Data, Shots) {
    let path = keys.needed("dataset_path");
    let config = keys.text("dataset_name");
    let kwargs = keys.value("dataset_kwargs").unwrap_or_default();
    let split = |keys: &Keys, name: &str| keys.keys.get(name).and_then(Value::as_str).map(str::to_owned);
    let asked = split(keys, "test_split").or_else(|| split(keys, "validation_split"));
    let fewshot = keys.value("fewshot_config").unwrap_or_default();
    let examples = keys
        .text("fewshot_split")
        .or_else(|| fewshot.get("split").and_then(Value::as_str).map(str::to_owned))
        .or_else(|| split(keys, "training_split"))
        .or_else(|| split(keys, "validation_split"));
    let take = match fewshot.get("sampler").and_then(Value::as_str) {
        None | Some("default") => Take::Drawn,
        Some("first_n") => Take::First,
        Some(other) => {
            keys.problems.push(format!("the sampler `{other}` is not known"));
            Take::Drawn
        }
    };
    let Some(asked) = asked else {
        keys.problems.push("neither `test_split` nor `validation_split` says what is asked".into());
        return (
            Data { path: String::new(), files: vec![], format: DataFormat::Jsonl, fetched: None },
            Shots::default(),
        );
    };
    let format = match path.as_str() {
        "csv" => DataFormat::Csv,
        "parquet" => DataFormat::Parquet,
        _ => DataFormat::Jsonl,
    };
    let is_local = ["json", "csv", "parquet"].contains(&path.as_str());
    let mut place = |split: &str| {
        let file = if is_local {
            let files = kwargs.get("data_files");
            let file = files.and_then(|files| files.as_str().or_else(|| files.get(split)?.as_str()));
            match file {
                Some(file) => file.to_owned(),
                None => {
                    keys.problems.push(format!("`dataset_kwargs.data_files` names no file for the split `{split}`"));
                    String::new()
                }
            }
        } else {
            let config = config.as_ref().map_or_else(String::new, |config| format!("{config}/"));
            format!("{path}/{config}{split}.jsonl")
        };
        Data { path: file, files: Vec::new(), format, fetched: None }
    };
    let data = place(&asked);
    let other = examples.filter(|split| *split != asked);
    let shots = Shots { data: other.map(|split| place(&split)), take, ..Shots::default() };
    for data in shots.data.iter().chain([&data]) {
        let inside = !Path::new(&data.path).is_absolute() && !data.path.split(['/', '\\']).any(|part| part == "..");
        if !inside {
            keys.problems.push(format!("the data `{}` is not inside the data folder", data.path));
        }
    }
    let delimiter = keys.text("fewshot_delimiter").unwrap_or_else(|| "\n\n".into());
    (data, Shots { delimiter, ..shots })
}

fn kind(keys: &mut Keys, delimiter: &str, fewshot_delimiter: &str) -> Option<Kind> {
    let output = keys.text("output_type").unwrap_or_else(|| "generate_until".into());
    let context = keys.value("doc_to_text");
    let target = keys.value("doc_to_target");
    let choices = keys.value("doc_to_choice");
    let settings = keys.value("generation_kwargs");
    let problems = &mut keys.problems;
    let context = match context {
        Some(Value::String(text)) => template(&text),
        Some(other) => {
            problems.push(format!("`doc_to_text` is {other}: several contexts for one answer are not supported"));
            String::new()
        }
        None => String::new(),
    };
    check(problems, "doc_to_text", &context);
    Some(match output.as_str() {
        "multiple_choice" => {
            let choices = match choices {
                Some(Value::String(text)) => expression(problems, "doc_to_choice", &text),
                Some(list @ Value::Array(_)) => list.to_string(),
                Some(Value::Object(_)) => {
                    problems.push("`doc_to_choice` is a mapping, whose order is not kept here; write a list".into());
                    "[]".into()
                }
                other => {
                    problems.push(format!("`doc_to_choice` is {}", other.unwrap_or_default()));
                    "[]".into()
                }
            };
            let gold = match target {
                Some(Value::Number(place)) => place.to_string(),
                Some(Value::String(text)) if is_name(&text) => expression(problems, "doc_to_target", &text),
                // What a template makes is a text: of digits, it is a place.
                Some(Value::String(text)) => {
                    format!("({}) | answer_place", expression(problems, "doc_to_target", &text))
                }
                other => {
                    problems.push(format!("`doc_to_target` is {}", other.unwrap_or_default()));
                    "0".into()
                }
            };
            Kind::MultipleChoice(MultipleChoice { context, choices, gold, delimiter: delimiter.to_owned() })
        }
        "loglikelihood" => {
            let target = match target {
                Some(Value::String(text)) => template(&text),
                other => {
                    problems.push(format!("`doc_to_target` is {}", other.unwrap_or_default()));
                    String::new()
                }
            };
            check(problems, "doc_to_target", &target);
            Kind::Cloze(Cloze { documents: None, context, target })
        }
        "loglikelihood_rolling" => {
            let text = match target {
                Some(Value::String(text)) => expression(problems, "doc_to_target", &text),
                other => {
                    problems.push(format!("`doc_to_target` is {}", other.unwrap_or_default()));
                    "text".into()
                }
            };
            let whole = "{{ document }}".to_owned();
            Kind::Rolling(Rolling { documents: text, text: whole.clone(), measured: whole, window: None })
        }
        "generate_until" => {
            let answers = match target {
                Some(Value::String(text)) => expression(problems, "doc_to_target", &text),
                other => {
                    problems.push(format!("`doc_to_target` is {}", other.unwrap_or_default()));
                    "[]".into()
                }
            };
            let settings = settings.unwrap_or_default();
            for key in settings.as_object().into_iter().flat_map(Map::keys) {
                if !["until", "max_gen_toks", "do_sample", "temperature"].contains(&key.as_str()) {
                    problems.push(format!("`generation_kwargs.{key}` is not supported"));
                }
            }
            let drawn = settings.get("do_sample").and_then(Value::as_bool) == Some(true);
            if drawn && settings.get("temperature").and_then(Value::as_f64) != Some(0.0) {
                problems.push("`generation_kwargs.do_sample`: only the likeliest text is written here".into());
            }
            let until = match settings.get("until") {
                None | Some(Value::Null) => vec![fewshot_delimiter.to_owned()],
                Some(Value::String(stop)) => vec![stop.clone()],
                Some(list) => {
                    list.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
                }
            };
            let max_tokens = settings.get("max_gen_toks").and_then(Value::as_u64).unwrap_or(256) as usize;
            Kind::Generate(Generate { context, answers, until, max_tokens })
        }
        other => {
            problems.push(format!("`output_type` is `{other}`, which is not known"));
            return None;
        }
    })
}

/// A template, or the name of a column.
fn template(text: &str) -> String {
    if is_name(text) { format!("{{{{ record[\"{text}\"] }}}}") } else { text.to_owned() }
}

/// What stands between the braces of a template that is nothing else, or the name of a column.
fn expression(problems: &mut Vec<String>, key: &str, text: &str) -> String {
    if is_name(text) {
        return format!("record[\"{text}\"]");
    }
    let inner = text.trim().strip_prefix("{{").and_then(|rest| rest.strip_suffix("}}"));
    let found = match inner {
        Some(inner) if !inner.contains("{{") && !inner.contains("}}") => inner.trim().to_owned(),
        // Text around it: joined to one text.
        _ => joined(text),
    };
    if let Err(error) = environment().compile_expression(&found) {
        problems.push(format!("`{key}` cannot be read: {error}"));
    }
    found
}

/// A template as an expression: its texts and values, joined.
fn joined(text: &str) -> String {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        let Some((inner, behind)) = after.split_once("}}") else { break };
        parts.push(Value::from(before).to_string());
        parts.push(format!("({})", inner.trim()));
        rest = behind;
    }
    parts.push(Value::from(rest).to_string());
    parts.join(" ~ ")
}

/// Whether a text is the name of a column rather than a template.
fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.'))
}

fn check(problems: &mut Vec<String>, key: &str, source: &str) {
    if let Err(error) = environment().template_from_str(source) {
        problems.push(format!("`{key}` cannot be read: {error}"));
    }
}
