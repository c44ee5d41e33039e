//! Values that no recipe can have, whatever their type.

use std::collections::BTreeSet;

use lore_datasets::clean::CleanSpec;
use lore_datasets::dedup::DedupSpec;
use lore_datasets::extract::{self, ExtractSpec};
use lore_datasets::source::SourceUri;
use lore_distill::{DistilConfig, Loss, TeacherSource};
use lore_settings::Problem;
use lore_settings::syntax::{Node, Value, dotted, line_and_column, steps};
use lore_train::TrainConfig;

use super::{General, Recipe, Shape, Split, Topic};

mod evaluate;
mod module;

/// Adds every impossible value of `recipe`. What was reported while reading is not judged again. Files of topics must
/// exist only if they are needed.
pub fn validate(recipe: &Recipe, tree: &Node, text: &str, needs_topics: bool, problems: &mut Vec<Problem>) {
    let mut check = Check { tree, text, needs_topics, problems };
    check.name("name", &recipe.name);
    let teacher = &recipe.teacher;
    check.source("teacher", &teacher.source, teacher.sha256.as_ref(), &teacher.pip_args);
    check.license("teacher.license", teacher.license.as_deref());
    for size in teacher.shape.iter().flat_map(Shape::zeros) {
        check.that(false, &format!("teacher.shape.{size}"), "must be at least 1");
    }
    check.general(&recipe.general);
    check.name("base.name", &recipe.base.name);
    let depth = &recipe.base.depth;
    check.that(depth.blocks() > 0, "base.depth", "keeps no block: give `first` and `last`, or `keep`");
    let both = depth.keep.is_some() && depth.first + depth.last > 0;
    check.that(!both, "base.depth", "has `keep`, which chooses the blocks, beside `first` or `last`, which name them");
    check.distil(&recipe.base.distil);
    let distil = &recipe.base.distil;
    let enough = distil.hidden == 0.0 || distil.hidden_blocks <= depth.blocks();
    check.that(enough, "base.distil.hidden_blocks", "is more than the blocks of the student");
    check.train("base.train", &recipe.base.train);
    check.module("modules", &recipe.modules);

    let mut names = BTreeSet::new();
    for (index, topic) in recipe.topics.iter().enumerate() {
        let at = |key: &str| format!("topic.{index}.{key}");
        check.name(&at("name"), &topic.name);
        check.that(
            names.insert(topic.name.as_str()),
            &at("name"),
            &format!("is `{}`, as that of an earlier topic: names must differ", topic.name),
        );
        let reserved = ["general", "teacher"].contains(&topic.name.as_str());
        check.that(!reserved, &at("name"), &format!("cannot be `{}`, which names another part of the run", topic.name));
        check.source(&format!("topic.{index}"), &topic.source, topic.sha256.as_ref(), &topic.pip_args);
        check.license(&at("license"), topic.license.as_deref());
        check.that(
            !topic.extract.is_empty(),
            &at("extract"),
            "is missing: a rule that makes documents of the source, such as `[topic.extract]` with `format = \"text\"`",
        );
        check.rules(&at("extract"), &topic.name, &topic.extract);
        check.declared(&at("clean"), topic.clean.as_ref().map(CleanSpec::validate));
        check.declared(&at("dedup"), topic.dedup.as_ref().map(DedupSpec::validate));
        check.decontaminate(&at("decontaminate"), topic);
        check.split(&at("split"), &topic.split);
        check.module(&at("module"), &topic.module);
        check.patterns(&at("module.lora"), &topic.module.lora);
        check.validation(&at("split.validation"), &topic.module, topic);
    }
    check.joint(recipe, &mut names);

    check.evaluate(recipe);
}

struct Check<'a> {
    tree: &'a Node,
    text: &'a str,
    needs_topics: bool,
    problems: &'a mut Vec<Problem>,
}

impl Check<'_> {
    /// Reports `message` about `path` unless `good`.
    fn that(&mut self, good: bool, path: &str, message: &str) {
        self.hinted(good, path, message, None);
    }

    fn hinted(&mut self, good: bool, path: &str, message: &str, hint: Option<String>) {
        let path = steps(path);
        let node = self.tree.nearest(&path);
        let key = dotted(&path);
        if good || matches!(node.value, Value::Placeholder) || self.problems.iter().any(|problem| problem.covers(&key))
        {
            return;
        }
        let (line, column) = line_and_column(self.text, node.place.start);
        self.problems.push(Problem { line, column, key, message: message.into(), hint });
    }

    fn name(&mut self, path: &str, name: &str) {
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        let good = name.starts_with(|c: char| c.is_ascii_alphanumeric())
            && name.chars().all(plain)
            && !name.ends_with('.')
            && name.len() <= 64;
        self.that(
            good,
            path,
            "must be a file name: letters, digits, `-`, `_` and `.`, starting with a letter or digit, at most 64",
        );
    }

    /// Found out here, and not when a pack is made of what was trained.
    fn license(&mut self, path: &str, license: Option<&str>) {
        if let Some(license) = license
            && let Err(problem) = lore_packs::license::check(license)
        {
            let message = format!("is `{license}`, which {problem}; `LicenseRef-name` stands for any other");
            self.that(false, path, &message);
        }
    }

    fn positive(&mut self, path: &str, value: u64) {
        self.that(value > 0, path, "must be at least 1");
    }

    fn source(&mut self, owner: &str, uri: &SourceUri, sha256: Option<&String>, pip_args: &[String]) {
        let hash = sha256.is_none_or(|hash| hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_hexdigit()));
        self.that(hash, &format!("{owner}.sha256"), "must be 64 hexadecimal digits");
        let pip = pip_args.is_empty() || matches!(uri, SourceUri::Pypi { .. });
        self.that(pip, &format!("{owner}.pip_args"), "is only for a `pypi:` source");
        let needed = self.needs_topics || !owner.starts_with("topic.");
        if let SourceUri::File(path) = uri
            && needed
        {
            let pattern = path.to_string_lossy().contains(['*', '?', '[']);
            let message = format!("names {}, which does not exist", path.display());
            self.that(pattern || path.exists(), &format!("{owner}.source"), &message);
        }
    }

    /// What a step says of its own table.
    fn declared(&mut self, path: &str, outcome: Option<lore_datasets::Result<()>>) {
        let Some(Err(error)) = outcome else { return };
        let problems = match error {
            lore_datasets::Error::Declaration { problems, .. } => problems,
            other => vec![other.to_string()],
        };
        for problem in problems {
            self.that(false, path, &format!("is wrong: {problem}"));
        }
    }

    fn decontaminate(&mut self, path: &str, topic: &Topic) {
        let Some(declared) = &topic.decontaminate else { return };
        let message = "is missing: the evaluation items, as `[[topic.decontaminate.against]]`";
        self.that(!declared.against.is_empty(), &format!("{path}.against"), message);
        let mut names = BTreeSet::new();
        for (index, against) in declared.against.iter().enumerate() {
            let owner = format!("{path}.against.{index}");
            self.name(&format!("{owner}.name"), &against.name);
            let message = format!("is `{}`, as that of earlier items: names must differ", against.name);
            self.that(names.insert(against.name.as_str()), &format!("{owner}.name"), &message);
            self.source(&owner, &against.source, against.sha256.as_ref(), &against.pip_args);
            let ngram = against.ngram.is_none_or(|n| (3..=50).contains(&n));
            self.that(ngram, &format!("{owner}.ngram"), "must be 3 to 50 words");
            let message = "is missing: a rule that makes items of the source, such as `{ format = \"jsonl\", text = \"{{ record.question }}\" }`";
            self.that(!against.extract.is_empty(), &format!("{owner}.extract"), message);
            self.rules(&format!("{owner}.extract"), &against.name, &against.extract);
        }
    }

    /// Patterns, templates and queries; that there are rules at all is judged elsewhere.
    fn rules(&mut self, path: &str, corpus: &str, rules: &[ExtractSpec]) {
        if rules.is_empty() {
            return;
        }
        match extract::validate(corpus, rules) {
            Ok(()) => {}
            Err(lore_datasets::Error::Declaration { problems, .. }) => {
                for problem in problems {
                    self.that(false, path, &format!("is wrong in {problem}"));
                }
            }
            Err(other) => self.that(false, path, &format!("is wrong: {other}")),
        }
    }

    fn general(&mut self, general: &General) {
        self.positive("general.tokens", general.tokens);
        self.that(general.sequence_length > 1, "general.sequence_length", "must be at least 2");
        self.split("general.split", &general.split);
        if let Some(sample) = &general.sample {
            let openings = !sample.openings.is_empty() && sample.openings.iter().all(|o| !o.trim().is_empty());
            self.that(openings, "general.sample.openings", "must hold at least one opening, and none that is empty");
            self.positive("general.sample.batch", sample.batch as u64);
            self.that(sample.temperature > 0.0, "general.sample.temperature", "must be more than 0");
            self.that(
                sample.top_p > 0.0 && sample.top_p <= 1.0,
                "general.sample.top_p",
                "must be more than 0 and at most 1",
            );
            self.that(sample.top_k != Some(0), "general.sample.top_k", "must be at least 1");
        }
        if let Some(corpus) = &general.corpus {
            self.source("general.corpus", &corpus.source, corpus.sha256.as_ref(), &corpus.pip_args);
            self.that(!corpus.extract.is_empty(), "general.corpus.extract", "is missing");
            self.rules("general.corpus.extract", "general", &corpus.extract);
        }
        let mentioned = |key: &str| self.tree.get("general").is_some_and(|g| g.get(key).is_some());
        let (sample, corpus) = (mentioned("sample"), mentioned("corpus"));
        self.that(
            sample != corpus,
            "general",
            "needs exactly one of `[general.sample]` (the teacher writes) and `[general.corpus]` (text that is fetched)",
        );
    }

    fn split(&mut self, path: &str, split: &Split) {
        let share = |value: f64| (0.0..1.0).contains(&value);
        let message = "must be at least 0 and less than 1";
        self.that(share(split.validation), &format!("{path}.validation"), message);
        self.that(share(split.test), &format!("{path}.test"), message);
        if share(split.validation) && share(split.test) {
            let rest = split.validation + split.test < 1.0;
            self.that(rest, path, "leaves nothing to train on: `validation` + `test` must be less than 1");
            self.that(split.test > 0.0, &format!("{path}.test"), "must be more than 0: the report scores this share");
        }
    }

    fn distil(&mut self, distil: &DistilConfig) {
        let at = |key: &str| format!("base.distil.{key}");
        let inside = distil.beta > 0.0 && distil.beta < 1.0;
        self.that(inside, &at("beta"), "must be more than 0 and less than 1");
        self.that((0.0..1.0).contains(&distil.alpha), &at("alpha"), "must be at least 0 and less than 1");
        let warm = distil.temperature.is_finite() && distil.temperature > 0.0;
        self.that(warm, &at("temperature"), "must be more than 0");
        self.that((0.0..=1.0).contains(&distil.labels), &at("labels"), "must be between 0 and 1");
        self.that((0.0..=1.0).contains(&distil.on_policy), &at("on_policy"), "must be between 0 and 1");
        self.that((1..=255).contains(&distil.samples), &at("samples"), "must be between 1 and 255");
        let finite = distil.hidden.is_finite() && distil.hidden >= 0.0;
        self.that(finite, &at("hidden"), "must be at least 0");
        self.that(distil.hidden_blocks > 0, &at("hidden_blocks"), "must be at least 1");
        self.that(distil.stream_tokens != Some(0), &at("stream_tokens"), "must be at least 1");
        let streams = distil.stream_tokens.is_none() || distil.teacher == TeacherSource::Cached;
        self.that(streams, &at("stream_tokens"), "is only for `teacher = \"cached\"`");
        if distil.teacher == TeacherSource::Cached {
            let drawn = "is not possible with `teacher = \"cached\"`:";
            let forward = distil.loss == Loss::ForwardKl;
            let message = format!("{drawn} what was drawn from the teacher gives `forward-kl` only");
            self.that(forward, &at("loss"), &message);
            let message = format!("{drawn} what was drawn from the teacher is for temperature 1");
            self.that(distil.temperature == 1.0, &at("temperature"), &message);
            let message = format!("{drawn} only distributions were drawn, no hidden states");
            self.that(distil.hidden == 0.0, &at("hidden"), &message);
            let message = format!("{drawn} the teacher has not read what the student will write");
            self.that(distil.on_policy == 0.0, &at("on_policy"), &message);
        }
    }

    fn train(&mut self, path: &str, train: &TrainConfig) {
        let at = |key: &str| format!("{path}.{key}");
        self.positive(&at("steps"), train.steps);
        self.positive(&at("batch_sequences"), train.batch_sequences as u64);
        self.that(train.sequence_length > 1, &at("sequence_length"), "must be at least 2");
        self.positive(&at("accumulate"), train.accumulate as u64);
        self.that(
            train.accumulate <= train.batch_sequences.max(1),
            &at("accumulate"),
            "must not be more than `batch_sequences`",
        );
        self.positive(&at("checkpoint_every"), train.checkpoint_every);
        let positive = |value: f64| value.is_finite() && value > 0.0;
        self.that(positive(train.learning_rate), &at("learning_rate"), "must be more than 0");
        self.that(positive(train.eps), &at("eps"), "must be more than 0");
        self.that(
            train.clip_norm.is_none_or(positive),
            &at("clip_norm"),
            "must be more than 0; leave it out for no clipping",
        );
        let decay = train.weight_decay.is_finite() && train.weight_decay >= 0.0;
        self.that(decay, &at("weight_decay"), "must not be negative");
        let fraction = (0.0..=1.0).contains(&train.final_fraction);
        self.that(fraction, &at("final_fraction"), "must be between 0 and 1");
        for (key, beta) in [("beta1", train.beta1), ("beta2", train.beta2)] {
            self.that((0.0..1.0).contains(&beta), &at(key), "must be at least 0 and less than 1");
        }
        self.that(
            train.warmup_steps < train.steps.max(1),
            &at("warmup_steps"),
            &format!("is {}, but must be less than `steps` ({})", train.warmup_steps, train.steps),
        );
    }
}
