//! Values that no task can have, whatever their type.

use lore_settings::Problem;
use lore_settings::syntax::{Node, line_and_column, steps};

use super::Kind;
use super::template::environment;

pub(super) struct Check<'a> {
    tree: &'a Node,
    text: &'a str,
    problems: Vec<Problem>,
}

impl<'a> Check<'a> {
    pub(super) fn new(tree: &'a Node, text: &'a str) -> Self {
        Self { tree, text, problems: Vec::new() }
    }

    pub(super) fn problems(self) -> Vec<Problem> {
        self.problems
    }

    /// Reports `message` about the dotted `key` unless `good`.
    pub(super) fn that(&mut self, good: bool, key: &str, message: &str) {
        if !good {
            let (line, column) = line_and_column(self.text, self.tree.nearest(&steps(key)).place.start);
            self.problems.push(Problem { line, column, key: key.into(), message: message.into(), hint: None });
        }
    }

    /// Names become names of files.
    pub(super) fn name(&mut self, key: &str, name: &str) {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        let good = !name.is_empty() && name.chars().all(allowed) && !name.starts_with('.');
        self.that(good, key, "must be made of letters, digits, `_`, `-` and `.`, not starting with `.`");
    }

    pub(super) fn path(&mut self, key: &str, path: &str) {
        if super::hub::is_on_hub(path) {
            let problem = super::hub::problem(path);
            return self.that(problem.is_none(), key, &problem.unwrap_or_default());
        }
        let inside = !path.is_empty() && !path.starts_with('/') && !path.split(['/', '\\']).any(|part| part == "..");
        self.that(
            inside,
            key,
            "must be a path inside the data folder: relative, without `..`; or hf:datasets/OWNER/SET",
        );
    }

    pub(super) fn template(&mut self, key: &str, source: &str) {
        if let Err(error) = environment().template_from_str(source) {
            self.that(false, key, &format!("is not a template: {error}"));
        }
    }

    fn expression(&mut self, key: &str, source: &str) {
        if let Err(error) = environment().compile_expression(source) {
            self.that(false, key, &format!("is not an expression: {error}"));
        }
    }

    pub(super) fn kind(&mut self, kind: &Kind) {
        let name = kind.name();
        let at = |key: &str| format!("{name}.{key}");
        match kind {
            Kind::Rolling(rolling) => {
                self.expression(&at("documents"), &rolling.documents);
                self.template(&at("text"), &rolling.text);
                self.template(&at("measured"), &rolling.measured);
                self.that(rolling.window != Some(0), &at("window"), "must be at least 1");
            }
            Kind::MultipleChoice(choice) => {
                self.template(&at("context"), &choice.context);
                self.expression(&at("choices"), &choice.choices);
                self.expression(&at("gold"), &choice.gold);
            }
            Kind::MinimalPairs(pairs) => {
                self.template(&at("context"), &pairs.context);
                self.template(&at("good"), &pairs.good);
                self.template(&at("bad"), &pairs.bad);
            }
            Kind::Cloze(cloze) => {
                if let Some(documents) = &cloze.documents {
                    self.expression(&at("documents"), documents);
                }
                self.template(&at("context"), &cloze.context);
                self.template(&at("target"), &cloze.target);
            }
            Kind::Generate(generate) => {
                self.template(&at("context"), &generate.context);
                self.expression(&at("answers"), &generate.answers);
                self.that(generate.max_tokens > 0, &at("max_tokens"), "must be at least 1");
                let stops = !generate.until.iter().any(String::is_empty);
                self.that(stops, &at("until"), "holds an empty text, which would stop everything at once");
            }
            Kind::Glossary(glossary) => {
                self.template(&at("term"), &glossary.term);
                self.template(&at("meaning"), &glossary.meaning);
                self.template(&at("context"), &glossary.context);
                self.that(glossary.distractors > 0, &at("distractors"), "must be at least 1");
            }
        }
    }
}
