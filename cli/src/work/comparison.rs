//! What a result claims beside what was found by computing it again: the same, to rounding.

use std::path::Path;

use lore_model::weights::WeightFile;
use lore_model::weights::safetensors::SafetensorsFiles;
use lore_train::StepMetrics;
use serde_json::Value;

use crate::error::Result;

/// How far a loss may be from the one found, relative to it.
const LOSS: f64 = 1e-3;
/// How far a gradient's norm, which rounding moves more.
const NORM: f64 = 2e-2;
/// How far a tensor may be from the one found, in norm, relative to it.
const TENSOR: f64 = 1e-2;
/// How far a measurement of what was trained, relative to it.
const FIGURE: f64 = 2e-2;

/// How far the loss of a step is from the one found, relative to it.
///
/// # Errors
/// Figures that differ by more than rounding, in a sentence.
pub fn step_apart(claimed: &StepMetrics, found: &StepMetrics) -> Result<f64, String> {
    let apart = |claimed: f64, found: f64| (claimed - found).abs() / found.abs().max(1e-6);
    let loss = apart(claimed.loss, found.loss);
    let exact =
        (claimed.step, claimed.tokens) == (found.step, found.tokens) && claimed.learning_rate == found.learning_rate;
    // Not close either where one of them is no number.
    let close = loss <= LOSS
        && apart(claimed.gradient_norm, found.gradient_norm) <= NORM
        && (claimed.target_entropy - found.target_entropy).abs() <= LOSS * found.target_entropy.abs().max(1.0)
        && (claimed.agreement - found.agreement).abs() <= NORM;
    if !(exact && close) {
        return Err(format!(
            "step {} computed again has loss {} and gradient norm {}; {} and {} are claimed",
            found.step, found.loss, found.gradient_norm, claimed.loss, claimed.gradient_norm
        ));
    }
    let measured = match (claimed.held_out, found.held_out) {
        (Some(claimed), Some(found)) => apart(claimed, found) <= FIGURE,
        (claimed, found) => claimed == found,
    };
    if !measured {
        return Err(format!("what was measured after step {} is another number computed again", found.step));
    }
    Ok(loss)
}

/// How two files of weights differ, beyond rounding.
///
/// # Errors
/// A file found here that cannot be read.
pub fn tensors_apart(claimed: &Path, found: &Path) -> Result<Vec<String>> {
    let open = |path: &Path| SafetensorsFiles::open_with_limit(path, 1 << 26);
    let (claimed, found) = match (open(claimed), open(found)?) {
        (Ok(claimed), found) => (claimed, found),
        (Err(error), _) => return Ok(vec![error.to_string()]),
    };
    // Names, shapes and types.
    if claimed.tensors() != found.tensors() || claimed.metadata() != found.metadata() {
        return Ok(vec!["it has other tensors or another header than computed again".into()]);
    }
    let mut problems = Vec::new();
    for name in found.tensors().keys() {
        let (claimed, found) = (claimed.read_f32(name)?, found.read_f32(name)?);
        let length = |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>().sqrt();
        let apart = length(&mut claimed.iter().zip(&found).map(|(a, b)| f64::from(*a) - f64::from(*b)));
        let whole = length(&mut found.iter().map(|&x| f64::from(x)));
        let close = apart <= TENSOR * whole;
        if claimed.len() != found.len() || !close {
            let share = 100.0 * apart / whole;
            problems.push(format!("tensor `{name}` is {share:.3} % away from what was computed again"));
        }
    }
    Ok(problems)
}

/// Numbers with a fraction must be close and everything else the same; how long something took is the machine's own affair,
/// and the curve was compared step by step.
pub fn different_fact(claimed: &Value, found: &Value, path: &str, problems: &mut Vec<String>) {
    match (claimed, found) {
        (Value::Object(claimed), Value::Object(found)) if claimed.keys().eq(found.keys()) => {
            for (name, found) in found.iter().filter(|(name, _)| *name != "curve") {
                let inner = format!("{path}.{name}");
                if matches!(name.as_str(), "seconds" | "training_seconds") {
                    if !claimed[name].as_f64().is_some_and(|seconds| seconds.is_finite() && seconds >= 0.0) {
                        problems.push(format!("`{inner}` is no time"));
                    }
                    continue;
                }
                different_fact(&claimed[name], found, &inner, problems);
            }
        }
        (Value::Array(claimed), Value::Array(found)) if claimed.len() == found.len() => {
            for (place, (claimed, found)) in claimed.iter().zip(found).enumerate() {
                different_fact(claimed, found, &format!("{path}[{place}]"), problems);
            }
        }
        (Value::Number(claimed), Value::Number(found)) => {
            let [said, is] = [claimed, found].map(|number| number.as_f64().unwrap_or(f64::NAN));
            let fractions = claimed.is_f64() && found.is_f64();
            let close = fractions && (said - is).abs() <= FIGURE * is.abs().max(0.05);
            if claimed != found && !close {
                problems.push(format!("`{path}` is {found} computed again, {claimed} is claimed"));
            }
        }
        _ if claimed == found => {}
        _ => problems.push(format!("`{path}` is not what was computed again")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn facts_are_the_same_to_rounding_and_times_are_free() {
        let found =
            json!({"parameters": 100, "seconds": 3.0, "bits": 1.25, "list": [1, "a"], "curve": [1], "none": null});
        let problems = |edit: &dyn Fn(&mut Value)| {
            let mut claimed = found.clone();
            edit(&mut claimed);
            let mut problems = Vec::new();
            different_fact(&claimed, &found, "facts", &mut problems);
            problems
        };
        assert!(problems(&|_| {}).is_empty());
        assert!(problems(&|facts| facts["seconds"] = json!(99)).is_empty());
        assert!(problems(&|facts| facts["bits"] = json!(1.2501)).is_empty());
        assert_eq!(
            problems(&|facts| facts["bits"] = json!(1.2)),
            ["`facts.bits` is 1.25 computed again, 1.2 is claimed"]
        );
        for (name, value) in [
            ("parameters", json!(101)),
            ("parameters", json!(100.5)),
            ("seconds", json!("long")),
            ("list", json!([1, "b"])),
            ("none", json!(1)),
            ("more", json!(1)),
        ] {
            assert_eq!(problems(&|facts| facts[name] = value.clone()).len(), 1, "{name}");
        }
    }

    #[test]
    fn every_figure_of_a_step_must_be_what_was_found() {
        let found = StepMetrics {
            step: 7,
            tokens: 70,
            loss: 2.0,
            target_entropy: 0.5,
            agreement: 0.25,
            gradient_norm: 1.5,
            learning_rate: 1e-3,
            held_out: Some(1.25),
            seconds: 0.1,
        };
        let apart = |change: &dyn Fn(&mut StepMetrics)| {
            let mut claimed = found.clone();
            change(&mut claimed);
            step_apart(&claimed, &found)
        };
        assert_eq!(apart(&|claimed| claimed.seconds = 9.0), Ok(0.0));
        assert!(apart(&|claimed| claimed.loss = 2.0001).is_ok_and(|loss| loss > 0.0));
        assert!(apart(&|claimed| claimed.held_out = Some(1.2501)).is_ok());
        let changes: [&dyn Fn(&mut StepMetrics); 9] = [
            &|claimed| claimed.tokens = 71,
            &|claimed| claimed.loss = 1.99,
            &|claimed| claimed.loss = f64::NAN,
            &|claimed| claimed.target_entropy = 0.4,
            &|claimed| claimed.agreement = 0.3,
            &|claimed| claimed.gradient_norm = 1.6,
            &|claimed| claimed.learning_rate = 2e-3,
            &|claimed| claimed.held_out = Some(1.0),
            &|claimed| claimed.held_out = None,
        ];
        for (place, change) in changes.into_iter().enumerate() {
            assert!(apart(change).is_err(), "{place}");
        }
    }
}
