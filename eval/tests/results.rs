//! Results: written, read, altered, compared, and laid out as by lm-evaluation-harness.
#![allow(missing_docs, clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use lore_eval::comparison::{Error as NotPaired, Evaluated, Verdict, compare};
use lore_eval::engine::Scored;
use lore_eval::harness::{self, Date, Exported};
use lore_eval::result::{Circumstances, ModelIdentity, TaskResult};
use lore_eval::sample::Sample;
use lore_eval::statistics::Bootstrap;
use lore_eval::task::{Form, Item, Selection, Task};
use lore_eval::verify::{agree, check};
use lore_model::sampling::Random;
use serde_json::Value;

const TASK: &str = "name = \"rivers\"\nversion = 2\ndata = { path = \"a.jsonl\" }\n\
                    [multiple_choice]\ncontext = \"q\"\nchoices = \"c\"\ngold = \"a\"";
const COUNT: usize = 400;

fn task() -> Task {
    Task::parse(TASK, Path::new("task.toml")).unwrap()
}

fn items() -> Vec<Item> {
    let item = |number: usize| Item {
        id: number.to_string(),
        subset: if number.is_multiple_of(2) { "even".into() } else { "odd".into() },
        form: Form::Choice {
            context: format!("q{number}"),
            delimiter: " ".into(),
            choices: vec!["one".into(), "two".into(), "three".into()],
            gold: number % 3,
            pair: false,
        },
        record: serde_json::json!({ "q": format!("q{number}") }),
    };
    (0..COUNT).map(item).collect()
}

/// A model that gives the right choice `skill` nats more than the others, and noise of its own upon noise that
/// belongs to the item.
fn evaluated(name: &str, skill: f64, noise: u64) -> Evaluated {
    let (task, items) = (task(), items());
    let (mut shared, mut own) = (Random::new(1, 0), Random::new(2, noise));
    let samples: Vec<Sample> = items
        .iter()
        .enumerate()
        .map(|(number, item)| {
            let scores = (0..3).map(|place| {
                let right = if place == number % 3 { skill } else { 0.0 };
                let log_likelihood = -5.0 + right + shared.normal() + 0.5 * own.normal();
                Scored { log_likelihood, tokens: 1, greedy: false }
            });
            let mut sample = Sample {
                id: item.id.clone(),
                subset: item.subset.clone(),
                item: item.sha256(),
                gold: Some(number % 3),
                scores: scores.collect(),
                answer_only: vec![],
                text: None,
                truncated: 0,
                figures: Default::default(),
            };
            sample.figures = sample.count(item);
            sample
        })
        .collect();
    let model =
        ModelIdentity { base: name.into(), fingerprint: format!("lore-base-v1:{name}"), blocks: None, modules: vec![] };
    let circumstances =
        Circumstances { model, selection: Selection::default(), answer_only: false, device: "cpu".into() };
    (TaskResult::new(&task, &items, &samples, circumstances), samples)
}

fn bootstrap() -> Bootstrap {
    Bootstrap { resamples: 2000, seed: 1 }
}

#[test]
fn a_result_is_read_as_it_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let (result, samples) = evaluated("base", 0.5, 0);
    let path = result.write(folder.path(), &samples).unwrap();
    assert_eq!(TaskResult::read(&path).unwrap(), (result.clone(), samples.clone()));
    let bytes = fs::read(&path).unwrap();
    result.write(folder.path(), &samples).unwrap();
    assert_eq!(fs::read(&path).unwrap(), bytes);
    let names: Vec<String> =
        fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(names.len(), 2, "nothing half-written is left: {names:?}");
    assert!(result.subsets["odd"].items == COUNT / 2 && result.metrics["acc"].standard_error.is_some());
    assert!(check(&result, &samples, &task(), &items()).is_ok());
}

#[test]
fn what_was_altered_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (result, samples) = evaluated("base", 0.5, 0);
    let path = result.write(folder.path(), &samples).unwrap();
    // A better score in the samples.
    let beside = folder.path().join(&result.samples.file);
    let text = fs::read_to_string(&beside).unwrap();
    fs::write(&beside, text.replacen("\"acc\":0.0", "\"acc\":1.0", 1)).unwrap();
    assert!(TaskResult::read(&path).unwrap_err().to_string().contains("altered"));
    fs::write(&beside, text).unwrap();
    // A better figure in the result.
    let mut lie = result.clone();
    lie.metrics.get_mut("acc").unwrap().value += 0.01;
    let problems = check(&lie, &samples, &task(), &items()).unwrap_err();
    assert_eq!(problems, ["the metrics do not follow from the samples"]);
    // Better figures in both, consistently.
    let mut raised = samples.clone();
    raised.iter_mut().for_each(|sample| *sample.figures.get_mut("acc").unwrap() = 1.0);
    let problems = check(&result, &raised, &task(), &items()).unwrap_err();
    assert!(problems.iter().any(|p| p.contains("figures do not follow")), "{problems:?}");
    // Easier items.
    let mut easier = items();
    if let Form::Choice { context, .. } = &mut easier[3].form {
        context.push_str(" Hint: one.");
    }
    let problems = check(&result, &samples, &task(), &easier).unwrap_err();
    assert!(problems.iter().any(|p| p.contains("other items")), "{problems:?}");
    // Something else than a result.
    fs::write(&path, "{}").unwrap();
    assert!(TaskResult::read(&path).unwrap_err().to_string().contains("not a result of `lore eval`"));
}

#[test]
fn a_score_that_was_made_up_does_not_agree() {
    let (_, samples) = evaluated("base", 0.5, 0);
    let mut anew = samples[0].clone();
    anew.scores[1].log_likelihood *= 1.0 + 1e-6;
    assert_eq!(agree(&samples[0], &anew), Ok(()));
    anew.scores[1].log_likelihood += 0.01;
    let problem = agree(&samples[0], &anew).unwrap_err();
    assert!(problem.contains("item `even/0`") && problem.contains("claimed"), "{problem}");
    anew.scores[1].log_likelihood = f64::NAN;
    assert!(agree(&samples[0], &anew).is_err());
}

#[test]
fn the_better_model_wins_and_a_copy_ties() {
    let (base, better) = (evaluated("base", 0.4, 1), evaluated("better", 1.2, 2));
    let (copy, noise) = (evaluated("base", 0.4, 1), evaluated("noise", 0.4, 3));
    let verdicts = |a: &Evaluated, b: &Evaluated| -> Vec<(String, Verdict)> {
        compare(&[(a, b)], &bootstrap()).unwrap().into_iter().map(|row| (row.metric, row.verdict)).collect()
    };
    let all = |verdict| vec![("acc".to_owned(), verdict), ("margin".to_owned(), verdict)];
    assert_eq!(verdicts(&base, &better), all(Verdict::B));
    assert_eq!(verdicts(&better, &base), all(Verdict::A));
    assert_eq!(verdicts(&base, &copy), all(Verdict::Tie));
    assert_eq!(verdicts(&base, &noise), all(Verdict::Tie));
}

#[test]
fn a_comparison_is_paired_by_item_not_by_line() {
    let (a, b) = (evaluated("a", 0.4, 1), evaluated("b", 0.6, 2));
    let mut turned = b.clone();
    turned.1.reverse();
    let rows = compare(&[(&a, &b)], &bootstrap()).unwrap();
    assert_eq!(rows[1].paired, compare(&[(&a, &turned)], &bootstrap()).unwrap()[1].paired);
    // Noise that both share does not count.
    let unpaired = (a.0.metrics["margin"].standard_error.unwrap().powi(2)
        + b.0.metrics["margin"].standard_error.unwrap().powi(2))
    .sqrt();
    assert!(rows[1].paired.standard_error.unwrap() < 0.7 * unpaired);
    let mut fewer = b.clone();
    fewer.1.pop();
    let refused = compare(&[(&a, &fewer)], &bootstrap()).unwrap_err();
    assert_eq!(refused, NotPaired::NotPaired { task: "rivers".into(), what: "items".into() });
    let mut other = b;
    other.0.task.sha256 = "0".repeat(64);
    assert!(compare(&[(&a, &other)], &bootstrap()).unwrap_err().to_string().contains("version of the task"));
}

#[test]
fn the_harness_finds_its_layout() {
    let folder = tempfile::tempdir().unwrap();
    let (result, samples) = evaluated("base", 0.5, 0);
    let items = items();
    let exported = [Exported { result: &result, items: &items, samples: &samples }];
    let date = Date { seconds: 1.5, name: "2026-01-31T12-00-00.000000".into() };
    let path = harness::write(folder.path(), &exported, &date).unwrap();
    assert_eq!(path.file_name().unwrap(), "results_2026-01-31T12-00-00.000000.json");
    let results: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    let odd = &results["results"]["rivers_odd"];
    assert_eq!(odd["acc,none"].as_f64(), Some(result.subsets["odd"].metrics["acc"].value));
    assert_eq!(odd["acc_stderr,none"].as_f64(), result.subsets["odd"].metrics["acc"].standard_error);
    assert_eq!(results["n-samples"]["rivers_odd"]["effective"], COUNT / 2);
    assert_eq!(results["higher_is_better"]["rivers_odd"]["acc"], true);
    let lines = fs::read_to_string(folder.path().join("samples_rivers_odd_2026-01-31T12-00-00.000000.jsonl")).unwrap();
    let first: Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    assert_eq!(lines.lines().count(), COUNT / 2);
    assert_eq!(first["arguments"]["gen_args_0"], serde_json::json!({ "arg_0": "q1", "arg_1": " one" }));
    assert_eq!((&first["target"], &first["doc"]["q"]), (&Value::from("1"), &Value::from("q1")));
    let said = samples[1].scores[0].log_likelihood;
    assert_eq!(first["filtered_resps"][0], serde_json::json!([said.to_string(), "False"]));
    assert_eq!(first["prompt_hash"].as_str().unwrap().len(), 64);
}
