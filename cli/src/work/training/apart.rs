//! How far what was computed again is from what is claimed: weights and facts.

use std::path::Path;

use lore_model::weights::WeightFile;
use lore_model::weights::safetensors::SafetensorsFiles;
use serde_json::Value;

use crate::error::Result;

/// How far a tensor may be from the one found, in norm, relative to it.
const TENSOR: f64 = 1e-2;
/// How far a measurement of what was trained, relative to it.
const FIGURE: f64 = 2e-2;

/// How two files of weights differ, beyond rounding.
pub(super) fn tensors_apart(claimed: &Path, found: &Path) -> Result<Vec<String>> {
    let open = |path: &Path| SafetensorsFiles::open_with_limit(path, 1 << 26);
    let (claimed, found) = match (open(claimed), open(found)?) {
        (Ok(claimed), found) => (claimed, found),
        (Err(error), _) => return Ok(vec![error.to_string()]),
    };
    if !claimed.tensors().keys().eq(found.tensors().keys()) || claimed.metadata() != found.metadata() {
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

/// Numbers must be close and everything else the same; how long something took is the machine's own affair, and the curve
/// was compared step by step.
pub(super) fn different_fact(claimed: &Value, found: &Value, path: &str, problems: &mut Vec<String>) {
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
            let close = (said - is).abs() <= FIGURE * is.abs().max(0.05);
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
        for (name, value) in
            [("seconds", json!("long")), ("list", json!([1, "b"])), ("none", json!(1)), ("more", json!(1))]
        {
            assert_eq!(problems(&|facts| facts[name] = value.clone()).len(), 1, "{name}");
        }
    }
}
