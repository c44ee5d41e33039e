//! Values of `[evaluate]` that are impossible.

use std::collections::BTreeSet;

use super::Check;
use crate::recipe::Recipe;

impl Check<'_> {
    pub(super) fn evaluate(&mut self, recipe: &Recipe) {
        let evaluate = &recipe.evaluate;
        self.positive("evaluate.tokens_per_text", evaluate.tokens_per_text);
        self.positive("evaluate.passage_tokens", evaluate.passage_tokens as u64);
        self.positive("evaluate.probe_tokens", evaluate.probe_tokens as u64);
        self.that(
            evaluate.probe_tokens < evaluate.passage_tokens.max(2),
            "evaluate.probe_tokens",
            "must be less than `passage_tokens`",
        );
        self.that(
            evaluate.passage_tokens as u64 <= evaluate.tokens_per_text.max(1),
            "evaluate.passage_tokens",
            "must not be more than `tokens_per_text`",
        );
        let finite = evaluate.weights.iter().all(|weight| weight.is_finite());
        self.that(finite, "evaluate.weights", "must be finite numbers");
        let magnitudes = recipe.topics.iter().any(|topic| topic.module.lora.dora);
        let message = "is not for modules with `dora = true`: what they change depends on their base's weights";
        self.that(evaluate.composed.is_empty() || !magnitudes, "evaluate.composed", message);
        let mut labels = BTreeSet::new();
        for (index, composed) in evaluate.composed.iter().enumerate() {
            let at = |key: &str| format!("evaluate.composed.{index}.{key}");
            let exact = composed.method.is_exact();
            self.that(!exact, &at("method"), "makes the exact sum, which `sum` in `combine` compares");
            self.that(composed.rank != Some(0), &at("rank"), "must be at least 1");
            let share = composed.density.is_none_or(|density| density > 0.0 && density <= 1.0);
            self.that(share, &at("density"), "must be more than 0 and at most 1");
            let leaves_out = exact || composed.density.is_none() || composed.method.leaves_out();
            self.that(leaves_out, &at("density"), "is not for `svd`, which leaves no value out");
            let new = labels.insert(composed.label());
            self.that(new, &format!("evaluate.composed.{index}"), "says the same as an earlier one");
        }
    }
}
