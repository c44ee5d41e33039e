//! How modules are trained: values that are impossible.

use std::collections::BTreeSet;

use lore_finetune::{Init, LoraConfig, pattern};
use lore_settings::nearest;

use super::Check;
use crate::recipe::{ModuleConfig, Recipe, Topic};

/// The projections a decoder block has.
const PROJECTIONS: [&str; 7] = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];

/// The same by their names inside a block.
const INSIDE_BLOCKS: [&str; 7] = [
    "self_attn.q_proj",
    "self_attn.k_proj",
    "self_attn.v_proj",
    "self_attn.o_proj",
    "mlp.gate_proj",
    "mlp.up_proj",
    "mlp.down_proj",
];

/// How many blocks the model is taken to have when patterns are judged; it is not known yet.
const MOST_BLOCKS: usize = 128;

impl Check<'_> {
    /// Modules of several topics; `names` are taken.
    pub(super) fn joint<'a>(&mut self, recipe: &'a Recipe, names: &mut BTreeSet<&'a str>) {
        for (index, joint) in recipe.joint.iter().enumerate() {
            let at = |key: &str| format!("joint.{index}.{key}");
            self.name(&at("name"), &joint.name);
            let message = format!("is `{}`, as that of a topic or an earlier module: names must differ", joint.name);
            self.that(names.insert(joint.name.as_str()), &at("name"), &message);
            for (place, name) in joint.topics.iter().enumerate() {
                let known = recipe.topics.iter().any(|topic| topic.name == *name);
                let hint = nearest(name, recipe.topics.iter().map(|topic| topic.name.as_str()));
                let hint = hint.map(|near| format!("did you mean `{near}`?"));
                self.hinted(known, &at(&format!("topics.{place}")), &format!("is `{name}`, which is no topic"), hint);
            }
            let count = joint.topics_of(recipe).len();
            self.that(!recipe.topics.is_empty(), &at("topics"), "are none: the recipe has no `[[topic]]`");
            self.that(count > 1 || recipe.topics.len() < 2, &at("topics"), "must be several");
            self.module(&at("module"), &joint.module);
            self.patterns(&at("module.lora"), &joint.module.lora);
            for topic in joint.topics_of(recipe) {
                let place = recipe.topics.iter().position(|other| other.name == topic.name).unwrap_or_default();
                self.validation(&format!("topic.{place}.split.validation"), &joint.module, topic);
            }
        }
    }

    pub(super) fn module(&mut self, path: &str, module: &ModuleConfig) {
        let replay = (0.0..1.0).contains(&module.replay);
        self.that(replay, &format!("{path}.replay"), "must be at least 0 and less than 1");
        let counted = module.rehearse_weight.is_finite() && module.rehearse_weight > 0.0;
        self.that(counted, &format!("{path}.rehearse_weight"), "must be more than 0");
        if let Some(context) = &module.context {
            let passage = context.passage > 0.0 && context.passage < 1.0;
            self.that(passage, &format!("{path}.context.passage"), "must be more than 0 and less than 1");
            let labels = (0.0..1.0).contains(&context.labels);
            self.that(labels, &format!("{path}.context.labels"), "must be at least 0 and less than 1");
        }
        if let Some(stopping) = &module.stopping {
            self.positive(&format!("{path}.stopping.every"), stopping.every);
            self.positive(&format!("{path}.stopping.patience"), stopping.patience);
        }
        if let Some(sweep) = &module.sweep {
            let at = format!("{path}.sweep.lr");
            self.that(!sweep.lr.is_empty(), &at, "must hold at least one learning rate");
            let usable = sweep.lr.iter().all(|rate| rate.is_finite() && *rate > 0.0);
            self.that(usable, &at, "must be numbers more than 0");
            let repeated = sweep.lr.iter().enumerate().any(|(place, rate)| sweep.lr[..place].contains(rate));
            self.that(!repeated, &at, "names a learning rate a second time");
        }
        self.positive(&format!("{path}.validation_tokens"), module.validation_tokens);
        self.lora(&format!("{path}.lora"), &module.lora);
        self.train(&format!("{path}.train"), &module.train);
    }

    /// What decides by validation text needs some.
    pub(super) fn validation(&mut self, path: &str, module: &ModuleConfig, topic: &Topic) {
        let enough = !module.validates() || topic.split.validation > 0.0;
        self.that(enough, path, "must be more than 0: `stopping` and `sweep` decide by this share");
    }

    /// Patterns must name what is trained. A topic may change the targets of `[modules]`, so that only what it comes to is
    /// judged.
    pub(super) fn patterns(&mut self, path: &str, lora: &LoraConfig) {
        let inside = |layer: usize| INSIDE_BLOCKS.map(|inside| format!("model.layers.{layer}.{inside}"));
        let trained: Vec<String> = (0..MOST_BLOCKS).flat_map(inside).filter(|path| lora.selects(path)).collect();
        let rank_patterns: Vec<&String> = lora.rank_pattern.keys().collect();
        let alpha_patterns: Vec<&String> = lora.alpha_pattern.keys().collect();
        for (key, patterns) in [("rank_pattern", rank_patterns), ("alpha_pattern", alpha_patterns)] {
            let unused = |name: &&String| !trained.iter().any(|path| pattern::matches(name, path));
            let unused: Vec<String> = patterns.into_iter().filter(unused).map(|name| format!("`{name}`")).collect();
            // Where no target is known, that is told already.
            let fine = unused.is_empty() || trained.is_empty();
            let message = format!("names {}, which is no projection among `targets`", unused.join(", "));
            self.that(fine, &format!("{path}.{key}"), &message);
        }
    }

    fn lora(&mut self, path: &str, lora: &LoraConfig) {
        self.positive(&format!("{path}.rank"), lora.rank as u64);
        let alpha = lora.alpha.is_finite() && lora.alpha > 0.0;
        self.that(alpha, &format!("{path}.alpha"), "must be more than 0");
        self.that(!lora.targets.is_empty(), &format!("{path}.targets"), "must name at least one projection");
        self.that(!lora.weights.is_empty(), &format!("{path}.weights"), "must hold at least one weight, such as 1.0");
        let usable = lora.weights.iter().all(|weight| weight.is_finite() && *weight > 0.0);
        self.that(usable, &format!("{path}.weights"), "must be numbers more than 0");
        let mut seen = BTreeSet::new();
        for (index, target) in lora.targets.iter().enumerate() {
            let path = format!("{path}.targets.{index}");
            let hint = match nearest(target, PROJECTIONS) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("known: {}", PROJECTIONS.join(", ")),
            };
            let known = (0..MOST_BLOCKS).any(|layer| {
                let mut paths = INSIDE_BLOCKS.iter().map(|inside| format!("model.layers.{layer}.{inside}"));
                paths.any(|path| pattern::matches(target, &path))
            });
            self.hinted(known, &path, &format!("is `{target}`, which is not a projection"), Some(hint));
            self.that(seen.insert(target), &path, &format!("names `{target}` a second time"));
        }
        let ranks = lora.rank_pattern.values().all(|rank| *rank > 0);
        self.that(ranks, &format!("{path}.rank_pattern"), "must give ranks of at least 1");
        let alphas = lora.alpha_pattern.values().all(|alpha| alpha.is_finite() && *alpha > 0.0);
        self.that(alphas, &format!("{path}.alpha_pattern"), "must give alphas of more than 0");
        self.that((0.0..1.0).contains(&lora.dropout), &format!("{path}.dropout"), "must be at least 0 and less than 1");
        let ratio = lora.b_rate_ratio.is_finite() && lora.b_rate_ratio > 0.0;
        self.that(ratio, &format!("{path}.b_rate_ratio"), "must be more than 0");
        let alone = !(lora.dora && lora.init == Init::Pissa);
        self.that(alone, &format!("{path}.init"), "cannot be `pissa` with `dora = true`");
    }
}
