//! `adapter_config.json` of PEFT, as far as LoRA and DoRA on linear projections go; everything else is refused by name.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::{Map, Value, json};

use crate::Error;
use crate::adapter::LowRank;

/// Ranks and scales of a LoRA module, by PEFT's rules.
#[derive(Debug, Clone, PartialEq)]
pub struct AdapterConfig {
    /// The rank of updates that `rank_pattern` does not name (`r`).
    pub rank: usize,
    /// The numerator of the scale of updates that `alpha_pattern` does not name (`lora_alpha`).
    pub alpha: f64,
    /// Whether the scale is `alpha / √rank` instead of `alpha / rank`.
    pub use_rslora: bool,
    /// Whether updates have magnitudes (DoRA, Liu et al. 2024).
    pub use_dora: bool,
    /// Other ranks by name: a whole name or its last parts, `layers.0.self_attn.q_proj`, or `^` and a whole
    /// name. The first that matches counts.
    pub rank_pattern: Vec<(String, usize)>,
    /// Other alphas by name, as for ranks.
    pub alpha_pattern: Vec<(String, f64)>,
    /// Dropout on the input of updates in training.
    pub dropout: f64,
    /// The base's repository or folder, for people; Lore identifies bases by fingerprint.
    pub base_model_name_or_path: Option<String>,
    /// The revision of that repository.
    pub revision: Option<String>,
}

impl AdapterConfig {
    /// One rank and alpha everywhere, scale `alpha / rank`, no dropout.
    pub fn uniform(rank: usize, alpha: f64) -> Self {
        Self {
            rank,
            alpha,
            use_rslora: false,
            use_dora: false,
            rank_pattern: Vec::new(),
            alpha_pattern: Vec::new(),
            dropout: 0.0,
            base_model_name_or_path: None,
            revision: None,
        }
    }

    /// The configuration in which these updates have the ranks they have: the commonest is the rule, the others
    /// are patterns by whole name. The scale is `alpha / rank`.
    pub(crate) fn of_ranks(updates: &BTreeMap<String, LowRank>, alpha: f64) -> Self {
        let mut counts = BTreeMap::<usize, usize>::new();
        updates.values().for_each(|update| *counts.entry(update.rank).or_default() += 1);
        let commonest = counts.iter().max_by_key(|(rank, count)| (**count, **rank)).map_or(1, |(rank, _)| *rank);
        let mut config = Self::uniform(commonest, alpha);
        let others = updates.iter().filter(|(_, update)| update.rank != commonest);
        config.rank_pattern.extend(others.map(|(path, update)| (path.clone(), update.rank)));
        config
    }

    /// [`AdapterConfig::of_ranks`] with the scale 1 for every update.
    pub(crate) fn of_scale_one(updates: &BTreeMap<String, LowRank>) -> Self {
        let mut config = Self::of_ranks(updates, 0.0);
        config.alpha = config.rank as f64;
        config.alpha_pattern = config.rank_pattern.iter().map(|(path, rank)| (path.clone(), *rank as f64)).collect();
        config
    }

    /// The rank of the update of this projection.
    pub fn rank_of(&self, module: &str) -> usize {
        first_match(&self.rank_pattern, module).unwrap_or(self.rank)
    }

    /// The factor the product of the two matrices is scaled by.
    pub fn scale_of(&self, module: &str) -> f32 {
        let alpha = first_match(&self.alpha_pattern, module).unwrap_or(self.alpha);
        let rank = self.rank_of(module) as f64;
        (if self.use_rslora { alpha / rank.sqrt() } else { alpha / rank }) as f32
    }

    /// Reads the text of an `adapter_config.json`; `path` is only named in errors. Also returns the target
    /// modules, where they are a list of names.
    ///
    /// # Errors
    /// [`Error::Config`] naming every setting that is not LoRA or DoRA on linear projections.
    pub(crate) fn from_json(path: &Path, text: &str) -> Result<(Self, Option<Vec<String>>), Error> {
        let fail = |problems| Error::Config { path: path.to_owned(), problems };
        let not_json = |error: serde_json::Error| fail(vec![format!("not a valid configuration: {error}")]);
        let keys: Map<String, Value> = serde_json::from_str(text).map_err(not_json)?;
        // A second reading, since maps as values lose their order, and the first pattern that matches counts.
        let patterns: Patterns = serde_json::from_str(text).map_err(not_json)?;
        let mut problems = unsupported(&keys);
        let mut wrong =
            |key: &str, expected: &str| problems.push(format!("`{key}` is {}; expected {expected}", keys[key]));
        let present = |key: &str| keys.get(key).filter(|value| !value.is_null());

        let rank = match present("r").map(|value| value.as_u64().filter(|&rank| (1..=65_536).contains(&rank))) {
            None => 8,
            Some(Some(rank)) => rank as usize,
            Some(None) => {
                wrong("r", "a whole number from 1");
                1
            }
        };
        let mut number = |key: &str, default: f64| match present(key).map(Value::as_f64) {
            None => default,
            Some(Some(number)) => number,
            Some(None) => {
                wrong(key, "a number");
                default
            }
        };
        let (alpha, dropout) = (number("lora_alpha", 8.0), number("lora_dropout", 0.0));
        let text_of = |key: &str| present(key).and_then(Value::as_str).map(str::to_owned);
        let targets = present("target_modules").and_then(Value::as_array);
        let targets: Option<Vec<String>> =
            targets.map(|list| list.iter().filter_map(Value::as_str).map(str::to_owned).collect());

        let mut rank_pattern = Vec::new();
        for (name, value) in patterns.rank_pattern.unwrap_or_default().0 {
            if value.fract() == 0.0 && (1.0..=65_536.0).contains(&value) {
                rank_pattern.push((name, value as usize));
            } else {
                problems.push(format!("`rank_pattern` gives `{name}` the rank {value}"));
            }
        }
        let config = Self {
            rank,
            alpha,
            use_rslora: present("use_rslora") == Some(&Value::Bool(true)),
            use_dora: present("use_dora") == Some(&Value::Bool(true)),
            rank_pattern,
            alpha_pattern: patterns.alpha_pattern.unwrap_or_default().0,
            dropout,
            base_model_name_or_path: text_of("base_model_name_or_path"),
            revision: text_of("revision"),
        };
        let names =
            config.rank_pattern.iter().map(|(name, _)| name).chain(config.alpha_pattern.iter().map(|(name, _)| name));
        for name in names.filter(|name| literal(name).is_none()) {
            problems.push(format!("pattern `{name}`: regular expressions are not supported, only names"));
        }
        if problems.is_empty() { Ok((config, targets)) } else { Err(fail(problems)) }
    }

    /// The text of an `adapter_config.json` for updates of these projections: two spaces of indentation and
    /// sorted keys, as PEFT writes it.
    pub(crate) fn to_json<'a>(&self, modules: impl Iterator<Item = &'a str>) -> String {
        let alpha =
            |alpha: f64| if alpha.fract() == 0.0 && alpha.abs() < 1e15 { json!(alpha as i64) } else { json!(alpha) };
        let alphas: BTreeMap<&str, Value> =
            self.alpha_pattern.iter().map(|(name, value)| (name.as_str(), alpha(*value))).collect();
        let ranks: BTreeMap<&str, usize> =
            self.rank_pattern.iter().map(|(name, rank)| (name.as_str(), *rank)).collect();
        let keys = BTreeMap::from([
            ("alpha_pattern", json!(alphas)),
            ("auto_mapping", Value::Null),
            ("base_model_name_or_path", json!(self.base_model_name_or_path)),
            ("bias", json!("none")),
            ("fan_in_fan_out", json!(false)),
            ("inference_mode", json!(true)),
            ("init_lora_weights", json!(true)),
            ("layers_pattern", Value::Null),
            ("layers_to_transform", Value::Null),
            ("lora_alpha", alpha(self.alpha)),
            ("lora_dropout", json!(self.dropout)),
            ("modules_to_save", Value::Null),
            ("peft_type", json!("LORA")),
            ("r", json!(self.rank)),
            ("rank_pattern", json!(ranks)),
            ("revision", json!(self.revision)),
            ("target_modules", json!(target_modules(modules))),
            ("task_type", json!("CAUSAL_LM")),
            ("use_dora", json!(self.use_dora)),
            ("use_rslora", json!(self.use_rslora)),
        ]);
        serde_json::to_string_pretty(&keys).expect("a map with text keys is JSON") + "\n"
    }
}

/// The settings that are not LoRA or DoRA on linear projections, one sentence each.
fn unsupported(keys: &Map<String, Value>) -> Vec<String> {
    /// Settings that are read, or that do not change what a trained module computes.
    const HARMLESS: [&str; 29] = [
        "alpha_pattern",
        "auto_mapping",
        "base_model_name_or_path",
        "bias",
        "corda_config",
        "ensure_weight_tying",
        "eva_config",
        "exclude_modules",
        "inference_mode",
        "init_lora_weights",
        "layers_pattern",
        "layers_to_transform",
        "loftq_config",
        "lora_alpha",
        "lora_dropout",
        "lora_ga_config",
        "megatron_core",
        "peft_type",
        "peft_version",
        "qalora_group_size",
        "r",
        "rank_pattern",
        "revision",
        "runtime_config",
        "target_modules",
        "task_type",
        "use_rslora",
        "use_dora",
        "modules_to_save",
    ];
    let mut problems = Vec::new();
    let is_off = |value: &Value| match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    };
    if keys.get("peft_type").and_then(Value::as_str) != Some("LORA") {
        problems.push(format!(
            "`peft_type` is {}; only \"LORA\" is supported",
            keys.get("peft_type").unwrap_or(&Value::Null)
        ));
    }
    if let Some(saved) = keys.get("modules_to_save").filter(|value| !is_off(value)) {
        problems.push(format!("`modules_to_save` {saved}: fully trained modules are not supported"));
    }
    if let Some(bias) = keys.get("bias").filter(|bias| !bias.is_null() && **bias != "none") {
        problems.push(format!("`bias` {bias}: trained biases are not supported"));
    }
    // PiSSA, OLoRA, CorDA, LoftQ and LoRA-GA change the base's weights before training starts.
    if let Some(Value::String(way)) = keys.get("init_lora_weights")
        && !matches!(way.as_str(), "gaussian" | "eva" | "orthogonal")
    {
        problems.push(format!(
            "`init_lora_weights` \"{way}\" changes the base's weights; convert the module to plain LoRA first"
        ));
    }
    for (key, value) in keys {
        if !HARMLESS.contains(&key.as_str()) && !is_off(value) {
            problems.push(format!("`{key}` {value} is not supported"));
        }
    }
    problems
}

/// The shortest list that selects these projections in PEFT: last names, if every layer up to the last has
/// the same ones, and whole names otherwise.
fn target_modules<'a>(modules: impl Iterator<Item = &'a str>) -> Vec<String> {
    let modules: Vec<&str> = modules.collect();
    let mut layers: BTreeMap<usize, BTreeSet<&str>> = BTreeMap::new();
    for module in &modules {
        let parts = module.strip_prefix("model.layers.").and_then(|rest| rest.split_once('.'));
        let Some((layer, (_, last))) =
            parts.and_then(|(layer, rest)| Some((layer.parse().ok()?, rest.rsplit_once('.')?)))
        else {
            return modules.into_iter().map(str::to_owned).collect();
        };
        layers.entry(layer).or_default().insert(last);
    }
    let mut sets = layers.values();
    let first = sets.next();
    let uniform = layers.keys().copied().eq(0..layers.len()) && sets.all(|set| Some(set) == first);
    match first.filter(|_| uniform) {
        Some(names) => names.iter().map(|name| (*name).to_owned()).collect(),
        None => modules.into_iter().map(str::to_owned).collect(),
    }
}

/// Whether PEFT's list of target modules selects this projection.
pub(crate) fn is_target(targets: &[String], module: &str) -> bool {
    targets.iter().any(|target| ends_with_name(module, target))
}

fn ends_with_name(module: &str, name: &str) -> bool {
    module.strip_suffix(name).is_some_and(|before| before.is_empty() || before.ends_with('.'))
}

fn first_match<T: Copy>(patterns: &[(String, T)], module: &str) -> Option<T> {
    patterns.iter().find(|(pattern, _)| matches(pattern, module)).map(|(_, value)| *value)
}

/// PEFT matches `(.*\.)?(pattern)$` from the start of the name.
fn matches(pattern: &str, module: &str) -> bool {
    match literal(pattern) {
        Some((name, true)) => module == name,
        Some((name, false)) => ends_with_name(module, &name),
        None => false,
    }
}

/// The name a pattern stands for, and whether it is anchored at the start; nothing if it is more than a name.
fn literal(pattern: &str) -> Option<(String, bool)> {
    let (anchored, rest) = pattern.strip_prefix('^').map_or((false, pattern), |rest| (true, rest));
    let name = rest.strip_suffix('$').unwrap_or(rest).replace(r"\.", ".");
    let plain = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || matches!(c, '.' | '_' | '-'));
    plain.then_some((name, anchored))
}

/// The two settings whose order matters.
#[derive(serde::Deserialize)]
struct Patterns {
    rank_pattern: Option<Ordered>,
    alpha_pattern: Option<Ordered>,
}

/// Pairs in the order of the file.
#[derive(Default)]
struct Ordered(Vec<(String, f64)>);

impl<'de> Deserialize<'de> for Ordered {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PairsVisitor;
        impl<'de> Visitor<'de> for PairsVisitor {
            type Value = Ordered;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of numbers")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Ordered, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Ordered(pairs))
            }
        }
        deserializer.deserialize_map(PairsVisitor)
    }
}
