//! What modules must have in common to be composed, and the module made of them.

use std::collections::BTreeMap;

use lore_model::fingerprint::Fingerprint;

use crate::adapter::{Adapter, LowRank};
use crate::config::AdapterConfig;

/// Rows and columns of every projection that some module changes.
pub(super) fn shapes<'a>(
    modules: &[(&'a Adapter, f32)],
    problems: &mut Vec<String>,
) -> BTreeMap<&'a str, (usize, usize)> {
    if modules.is_empty() {
        problems.push("there are no modules".to_owned());
    }
    let mut shapes = BTreeMap::new();
    for (place, (adapter, weight)) in modules.iter().enumerate() {
        if !weight.is_finite() {
            problems.push(format!("the weight of module {} is {weight}; expected a finite number", place + 1));
        }
        problems.extend(adapter.without_base().map(|problem| format!("module {}: {problem}", place + 1)));
        for (path, update) in &adapter.updates {
            let shape = (update.out_features, update.in_features);
            let first = *shapes.entry(path.as_str()).or_insert(shape);
            if shape != first {
                problems.push(format!(
                    "`{path}` maps {} to {} values in module {} and {} to {} in one before it",
                    shape.1,
                    shape.0,
                    place + 1,
                    first.1,
                    first.0
                ));
            }
        }
    }
    shapes
}

/// The base all modules were trained on, if all say so.
pub(super) fn common_base(
    modules: &[(&Adapter, f32)],
    allow_mismatch: bool,
    problems: &mut Vec<String>,
) -> Option<Fingerprint> {
    let mut bases = modules.iter().map(|(adapter, _)| adapter.base);
    let first = bases.next()?;
    let unknown = modules.iter().any(|(adapter, _)| adapter.base.is_none());
    let stated: Vec<Fingerprint> = modules.iter().filter_map(|(adapter, _)| adapter.base).collect();
    if let Some(other) = stated.iter().find(|base| **base != stated[0]) {
        if !allow_mismatch {
            problems.push(format!(
                "the modules were trained on different bases, {} and {other}; what they do together is not known",
                stated[0]
            ));
        }
        return None;
    }
    if unknown { None } else { first }
}

/// The module of these updates, whose scale is 1.
pub(super) fn assemble(
    modules: &[(&Adapter, f32)],
    updates: BTreeMap<String, LowRank>,
    base: Option<Fingerprint>,
) -> Adapter {
    let mut config = AdapterConfig::of_scale_one(&updates);
    let same = |field: fn(&AdapterConfig) -> &Option<String>| {
        let first = field(&modules[0].0.config);
        modules.iter().all(|(adapter, _)| field(&adapter.config) == first).then(|| first.clone()).flatten()
    };
    config.base_model_name_or_path = same(|config| &config.base_model_name_or_path);
    config.revision = same(|config| &config.revision);
    Adapter { config, updates, base, metadata: metadata(modules) }
}

/// Topics, licences and attributions of all modules that take part; what each asks for holds for the whole.
fn metadata(modules: &[(&Adapter, f32)]) -> BTreeMap<String, String> {
    let mut joined = BTreeMap::new();
    for (key, separator) in [("topic", " + "), ("license", " AND "), ("attribution", "; ")] {
        let mut values: Vec<&str> = Vec::new();
        let taking_part = modules.iter().filter(|(_, weight)| *weight != 0.0);
        for value in taking_part.filter_map(|(adapter, _)| adapter.metadata.get(key)) {
            if !values.contains(&value.as_str()) {
                values.push(value);
            }
        }
        // `A OR B` beside another licence.
        let several = values.len() > 1;
        let grouped = |value: &str| {
            if several && key == "license" && value.contains(" OR ") { format!("({value})") } else { value.to_owned() }
        };
        if !values.is_empty() {
            let text = values.into_iter().map(grouped).collect::<Vec<String>>().join(separator);
            joined.insert(key.to_owned(), text);
        }
    }
    joined
}
