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
    for key in ["topic", "license", "attribution"] {
        let taking_part = modules.iter().filter(|(_, weight)| *weight != 0.0);
        let said = taking_part.filter_map(|(adapter, _)| adapter.metadata.get(key)).map(String::as_str);
        if let Some(text) = said_together(key, said) {
            joined.insert(key.to_owned(), text);
        }
    }
    joined
}

/// What several modules or topics say under a key of their metadata, as one text in which each stands once: licences as an
/// SPDX expression that asks for all of them, anything else as a list. Nothing if none says anything.
pub fn said_together<'a>(key: &str, values: impl Iterator<Item = &'a str>) -> Option<String> {
    let separator = match key {
        "license" => " AND ",
        "topic" => " + ",
        _ => "; ",
    };
    let mut all: Vec<&str> = Vec::new();
    for value in values {
        if !all.contains(&value) {
            all.push(value);
        }
    }
    // `A OR B` beside another licence.
    let several = all.len() > 1;
    let grouped = |value: &str| {
        if several && key == "license" && value.contains(" OR ") { format!("({value})") } else { value.to_owned() }
    };
    (!all.is_empty()).then(|| all.into_iter().map(grouped).collect::<Vec<String>>().join(separator))
}

#[cfg(test)]
mod tests {
    use super::said_together;

    #[test]
    fn each_stands_once_and_alternatives_in_brackets() {
        let of = |key, values: &[&'static str]| said_together(key, values.iter().copied());
        assert_eq!(of("license", &[]), None);
        assert_eq!(of("license", &["MIT OR Apache-2.0"; 2]).as_deref(), Some("MIT OR Apache-2.0"));
        let three = of("license", &["CC0-1.0", "MIT OR Apache-2.0", "CC0-1.0"]);
        assert_eq!(three.as_deref(), Some("CC0-1.0 AND (MIT OR Apache-2.0)"));
        assert_eq!(of("attribution", &["A OR B", "C", "A OR B"]).as_deref(), Some("A OR B; C"));
        assert_eq!(of("topic", &["rivers", "hills"]).as_deref(), Some("rivers + hills"));
    }
}
