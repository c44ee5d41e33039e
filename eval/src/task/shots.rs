//! Solved examples before each question, laid out and drawn as lm-evaluation-harness does: the description once,
//! then examples and question, `\n\n` between them.

use std::collections::BTreeMap;
use std::path::Path;

use minijinja::{Environment, context};
use serde::Deserialize;

use super::python_random::PythonRandom;
use super::template::text;
use super::{Data, Error, Form, Item, Selection, Task};

/// lm-evaluation-harness's `fewshot_random_seed`.
const HARNESS_SEED: u64 = 1234;

/// `[shots]`: where examples come from. Without the table they are drawn from the items themselves.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Shots {
    /// Records of the same shape that are not asked; by default the items are each other's examples.
    #[serde(default)]
    pub data: Option<Data>,
    /// Which of them.
    #[serde(default)]
    pub take: Take,
    /// Stands before the answer of an example; by default what stands there in the question asked, or a space where
    /// the model writes.
    #[serde(default)]
    pub before_answer: Option<String>,
    /// Stands between examples, and before the question.
    #[serde(default = "empty_line")]
    pub delimiter: String,
}

/// Which examples a question gets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Take {
    /// Each question its own, drawn as Python's `random.sample` does.
    #[default]
    Drawn,
    /// Always the first ones.
    First,
}

impl Default for Shots {
    fn default() -> Self {
        Self { data: None, take: Take::default(), before_answer: None, delimiter: empty_line() }
    }
}

fn empty_line() -> String {
    "\n\n".into()
}

impl Task {
    /// What stands before everything, by subset.
    pub(super) fn described(
        &self,
        environment: &Environment<'_>,
        items: &[Item],
    ) -> Result<BTreeMap<String, String>, Error> {
        let template = environment.template_from_str(&self.description).map_err(|error| self.unusable(&error))?;
        let mut described = BTreeMap::new();
        for item in items {
            if !described.contains_key(&item.subset) {
                let variables = context! { subset => item.subset };
                let made = text(&template, &variables).map_err(|problem| Error::Items {
                    task: self.name.clone(),
                    problem: format!("`description`: {problem}"),
                })?;
                described.insert(item.subset.clone(), made);
            }
        }
        Ok(described)
    }

    /// The examples that `[shots]` names, or the items themselves.
    pub(super) fn examples(&self, data: &Path, items: &[Item]) -> Result<Vec<Item>, Error> {
        match &self.shots.data {
            None => Ok(items.to_vec()),
            Some(other) => {
                let plain = Self { data: other.clone(), description: String::new(), ..self.clone() };
                plain.select(data, &Selection::default())
            }
        }
    }

    /// Each item after the description of its subset and, if wanted, its examples.
    pub(super) fn with_examples(
        &self,
        mut items: Vec<Item>,
        described: &BTreeMap<String, String>,
        examples: Option<&[Item]>,
        selection: &Selection,
    ) -> Result<Vec<Item>, Error> {
        let mut pools: BTreeMap<&str, (Vec<&Item>, PythonRandom)> = BTreeMap::new();
        for example in examples.into_iter().flatten() {
            let seed = selection.seed.unwrap_or(HARNESS_SEED);
            let pool = pools.entry(&example.subset).or_insert_with(|| (Vec::new(), PythonRandom::new(seed)));
            pool.0.push(example);
        }
        let own = self.shots.data.is_none();
        let mut problems = Vec::new();
        for item in &mut items {
            let mut before = described.get(&item.subset).cloned().unwrap_or_default();
            if examples.is_some() {
                let wanted = selection.shots + usize::from(own);
                let chosen = match pools.get_mut(item.subset.as_str()) {
                    Some((pool, random)) if pool.len() >= wanted => match self.shots.take {
                        Take::First => pool[..wanted].to_vec(),
                        Take::Drawn => random.sample(pool.len(), wanted).into_iter().map(|place| pool[place]).collect(),
                    },
                    pool => {
                        let found = pool.map_or(0, |(pool, _)| pool.len());
                        problems.push(format!(
                            "item `{}`: {wanted} examples are needed, and subset `{}` has {found}",
                            item.id, item.subset
                        ));
                        continue;
                    }
                };
                // No question is its own example.
                for example in chosen.into_iter().filter(|one| !own || one.id != item.id).take(selection.shots) {
                    match solved(&example.form, self.shots.before_answer.as_deref()) {
                        Some(text) => before += &(text + &self.shots.delimiter),
                        None => {
                            problems.push(format!("`{}` items have no answer to show", self.kind.name()));
                            break;
                        }
                    }
                }
            }
            if !before.is_empty() {
                match &mut item.form {
                    Form::Choice { context, .. } | Form::Cloze { context, .. } | Form::Generate { context, .. } => {
                        context.insert_str(0, &before);
                    }
                    Form::Rolling { .. } => problems.push("texts that are scored whole take no description".into()),
                }
            }
        }
        problems.dedup();
        self.refuse(problems)?;
        Ok(items)
    }
}

/// A question with its answer; nothing for what is scored as a whole.
fn solved(form: &Form, before: Option<&str>) -> Option<String> {
    match form {
        Form::Choice { context, delimiter, choices, gold, pair: false } => {
            Some(format!("{context}{}{}", before.unwrap_or(delimiter), choices[*gold]))
        }
        Form::Cloze { context, target } => Some(format!("{context}{}{target}", before.unwrap_or_default())),
        Form::Generate { context, answers, .. } => Some(format!("{context}{}{}", before.unwrap_or(" "), answers[0])),
        Form::Choice { pair: true, .. } | Form::Rolling { .. } => None,
    }
}
