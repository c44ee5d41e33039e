//! Values of `[evaluate]` that are impossible.

use std::collections::BTreeSet;

use lore_datasets::source::SourceUri;
use lore_eval::task::subset_of;

use super::Check;
use crate::recipe::{Recipe, Tasks};

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
        if let Some(tasks) = &evaluate.tasks {
            self.tasks(tasks);
        }
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

    fn tasks(&mut self, tasks: &Tasks) {
        self.that(!tasks.ask.is_empty(), "evaluate.tasks.ask", "names no task; leave `[evaluate.tasks]` out then");
        self.that(tasks.items != Some(0), "evaluate.tasks.items", "must be at least 1");
        let mut names = BTreeSet::new();
        let mut folder = false;
        for (index, argument) in tasks.ask.iter().enumerate() {
            let at = format!("evaluate.tasks.ask.{index}");
            match subset_of(argument) {
                Ok((task, subset)) => {
                    folder |= task.needs_folder();
                    self.that(names.insert((task.name, subset)), &at, "is named twice");
                }
                Err(error) => self.that(false, &at, &error.to_string()),
            }
        }
        match &tasks.source {
            Some(SourceUri::File(path)) => {
                let message = format!("is {}, which is no folder", path.display());
                self.that(!self.needs_topics || path.is_dir(), "evaluate.tasks.source", &message);
            }
            Some(_) => self.that(false, "evaluate.tasks.source", "must be a folder: file:PATH"),
            None => self.that(!folder, "evaluate.tasks", "needs `source`, the folder of its tasks' data: file:PATH"),
        }
    }
}
