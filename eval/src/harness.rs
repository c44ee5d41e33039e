//! The same results as lm-evaluation-harness lays them out, for tools that read its files.
//!
//! `results_DATE.json` and one `samples_TASK_DATE.jsonl` a task; a subset of a task is a task there, such as
//! `blimp_adjunct_island` or `mmlu_anatomy`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::metrics::metrics;
use crate::result::{Error, ModelIdentity, TaskResult, write_whole};
use crate::sample::Sample;
use crate::statistics::Estimate;
use crate::task::{Form, Item, hex};

/// A task's result with what it was made of.
pub struct Exported<'a> {
    /// The result.
    pub result: &'a TaskResult,
    /// Its items.
    pub items: &'a [Item],
    /// Its samples.
    pub samples: &'a [Sample],
}

/// When an evaluation was made, as the harness writes it.
#[derive(Clone, Debug, PartialEq)]
pub struct Date {
    /// Seconds since 1970.
    pub seconds: f64,
    /// `2026-01-31T12-00-00.000000`, a part of file names.
    pub name: String,
}

/// Writes all files into `folder`, which is made if need be; returns the path of the results.
///
/// # Errors
/// A file that cannot be written.
pub fn write(folder: &Path, tasks: &[Exported<'_>], date: &Date) -> Result<PathBuf, Error> {
    fs::create_dir_all(folder).map_err(|source| Error::Io { path: folder.to_owned(), source })?;
    let mut sections: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    let mut model = None;
    for Exported { result, items, samples } in tasks {
        model = Some(&result.model);
        let mut parts: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (place, sample) in samples.iter().enumerate() {
            let name = match sample.subset.as_str() {
                "" => result.task.name.clone(),
                subset => format!("{}_{subset}", result.task.name),
            };
            parts.entry(name).or_default().push(place);
        }
        for (name, places) in &parts {
            let lines: Vec<Value> =
                (0..).zip(places).map(|(id, &place)| line(id, &items[place], &samples[place])).collect();
            let mut text = Vec::new();
            for line in &lines {
                text.extend_from_slice(line.to_string().as_bytes());
                text.push(b'\n');
            }
            let file = name.replace(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '_' | '-' | '.'), "-");
            write_whole(&folder.join(format!("samples_{file}_{}.jsonl", date.name)), &text)?;
            let of = |key: &str, line: &Value| line[key].as_str().unwrap_or_default().to_owned();
            let hashes: String = lines
                .iter()
                .map(|line| of("doc_hash", line) + &of("prompt_hash", line) + &of("target_hash", line))
                .collect();
            let chosen: Vec<&Sample> = places.iter().map(|&place| &samples[place]).collect();
            let mut add = |section: &'static str, value: Value| {
                sections.entry(section).or_default().insert(name.clone(), value);
            };
            add("results", figures(name, result, &chosen));
            add("versions", json!(f64::from(result.task.version)));
            add("n-shot", json!(result.items.shots));
            add("n-samples", json!({ "original": places.len(), "effective": places.len() }));
            add("task_hashes", json!(hash(&hashes)));
            add(
                "configs",
                json!({ "task": name, "num_fewshot": result.items.shots, "metadata": { "version": f64::from(result.task.version) } }),
            );
            let better = metrics(&result.task.kind).iter().map(|metric| (metric.name, metric.higher_is_better));
            add("higher_is_better", json!(better.collect::<BTreeMap<_, _>>()));
            add("group_subtasks", json!([]));
        }
    }
    let mut all: Map<String, Value> =
        sections.into_iter().map(|(name, section)| (name.into(), section.into())).collect();
    let arguments = model.map_or_else(String::new, arguments);
    let name = model.map_or("lore", |model| &model.base);
    all.insert("config".into(), json!({ "model": "lore", "model_args": arguments, "batch_size": 1, "limit": null }));
    all.insert("model_source".into(), json!("lore"));
    all.insert("model_name".into(), json!(name));
    all.insert("model_name_sanitized".into(), json!(name));
    all.insert("date".into(), json!(date.seconds));
    let path = folder.join(format!("results_{}.json", date.name));
    write_whole(&path, &serde_json::to_vec_pretty(&Value::Object(all)).expect("a value is JSON"))?;
    Ok(path)
}

fn arguments(model: &ModelIdentity) -> String {
    let modules = model.modules.iter().map(|module| format!(",module={}*{}", module.sha256, module.weight));
    format!("fingerprint={}{}", model.fingerprint, modules.collect::<String>())
}

fn figures(name: &str, result: &TaskResult, samples: &[&Sample]) -> Value {
    let mut made = Map::new();
    made.insert("alias".into(), json!(name));
    made.insert("sample_len".into(), json!(samples.len()));
    for metric in metrics(&result.task.kind) {
        if let Some(Estimate { value, standard_error }) = metric.estimate(samples.iter().copied()) {
            made.insert(format!("{},none", metric.name), json!(value));
            let error = standard_error.map_or_else(|| json!("N/A"), |error| json!(error));
            made.insert(format!("{}_stderr,none", metric.name), error);
        }
    }
    made.into()
}

fn hash(text: &str) -> String {
    hex(&Sha256::digest(text))
}

fn line(doc_id: usize, item: &Item, sample: &Sample) -> Value {
    let (arguments, target): (Vec<[String; 2]>, String) = match &item.form {
        Form::Choice { context, delimiter, choices, gold, .. } => {
            (choices.iter().map(|choice| [context.clone(), format!("{delimiter}{choice}")]).collect(), gold.to_string())
        }
        Form::Cloze { context, target } => (vec![[context.clone(), target.clone()]], target.clone()),
        Form::Rolling { text, .. } => (vec![[text.clone(), String::new()]], text.clone()),
        Form::Generate { context, answers, until, max_tokens } => {
            let settings =
                json!({ "until": until, "max_gen_toks": max_tokens, "do_sample": false, "temperature": 0.0 });
            (vec![[context.clone(), settings.to_string()]], answers.join("; "))
        }
    };
    // Everything is text there.
    let answers: Vec<Value> = match (&item.form, &sample.text) {
        (_, Some(text)) => vec![json!(text)],
        (Form::Rolling { .. }, None) => {
            vec![json!(sample.scores.iter().map(|score| score.log_likelihood).sum::<f64>().to_string())]
        }
        _ => {
            let pair = |greedy: bool| if greedy { "True" } else { "False" };
            sample.scores.iter().map(|s| json!([s.log_likelihood.to_string(), pair(s.greedy)])).collect()
        }
    };
    let prompt = arguments.first().map_or("", |[context, _]| context).to_owned();
    let named: Map<String, Value> = arguments
        .iter()
        .enumerate()
        .map(|(i, [context, continuation])| {
            (format!("gen_args_{i}"), json!({ "arg_0": context, "arg_1": continuation }))
        })
        .collect();
    let document = serde_json::to_string_pretty(&item.record).expect("a record is JSON");
    let mut line = json!({
        "doc_id": doc_id,
        "doc": item.record,
        "target": target,
        "arguments": named,
        "resps": answers.iter().map(|answer| json!([answer])).collect::<Vec<_>>(),
        "filtered_resps": answers,
        "filter": "none",
        "metrics": sample.figures.keys().collect::<Vec<_>>(),
        "doc_hash": hash(&document),
        "prompt_hash": hash(&prompt),
        "target_hash": hash(&target),
    });
    for (name, value) in &sample.figures {
        line[name] = json!(value);
    }
    line
}
