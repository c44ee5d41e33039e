//! From records to items.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use lore_datasets::extract::{FileRecord, records};
use minijinja::value::Value;
use minijinja::{Environment, Expression, Template};
use sha2::{Digest, Sha256};

use super::template::{environment, text, texts, value, variables, with};
use super::{Error, Form, Glossary, Item, Kind, MultipleChoice, Rolling, Selection, Task, glossary, wikitext};

/// Problems that are quoted before the rest is only counted.
const QUOTED: usize = 5;

impl Task {
    /// The items of the task, in the order of files and records: all, or only those of one `subset`, and of each
    /// subset the first `limit`.
    ///
    /// # Errors
    /// As [`Self::select`].
    pub fn items(&self, data: &Path, subset: Option<&str>, limit: Option<usize>) -> Result<Vec<Item>, Error> {
        self.select(data, &Selection { subset: subset.map(str::to_owned), limit, ..Selection::default() })
    }

    /// The items that are selected, in the order of files and records, each after its examples.
    ///
    /// # Errors
    /// Data that cannot be read; every record of which no item can be made; two items with one id; too few examples.
    pub fn select(&self, data: &Path, selection: &Selection) -> Result<Vec<Item>, Error> {
        let Selection { subset, limit, .. } = selection;
        let path = match self.data.place(data) {
            Ok(path) => path,
            Err(problem) => return Err(Error::Items { task: self.name.clone(), problem }),
        };
        let found = records(&self.name, &path, &self.data.files, &self.data.format.format())
            .map_err(|source| Error::Data { task: self.name.clone(), path, source: Box::new(source) })?;
        let glossary = match &self.kind {
            Kind::Glossary(spec) => Some(Glossary { seed: selection.seed.unwrap_or(spec.seed), ..spec.clone() }),
            _ => None,
        };
        let environment = environment();
        let maker = Maker::new(self, &environment)?;
        let (mut items, mut problems) = (Vec::new(), Vec::new());
        let made = match &glossary {
            Some(glossary) => self.glossary_items(glossary, &found, &environment, &maker)?,
            None => found
                .iter()
                .map(|record| maker.items(record).map_err(|problem| (record.file.clone(), record.number, problem)))
                .collect(),
        };
        for outcome in made {
            match outcome {
                Ok(made) => items.extend(made),
                Err((file, number, problem)) => problems.push(format!("{file}, record {}: {problem}", number + 1)),
            }
        }
        let mut seen = HashSet::new();
        for item in &items {
            if !seen.insert((item.subset.as_str(), item.id.as_str())) {
                problems.push(format!("two items of subset `{}` have the id `{}`; see `id`", item.subset, item.id));
            }
        }
        if items.is_empty() && problems.is_empty() {
            problems.push("there is no record".into());
        }
        self.refuse(problems)?;
        // Examples are drawn for each subset apart: those of the others need none.
        if let Some(subset) = subset.as_deref() {
            let mut names: Vec<String> = items.iter().map(|item| item.subset.clone()).collect();
            names.dedup();
            items.retain(|item| item.subset == subset);
            if items.is_empty() {
                let hint = match lore_settings::nearest(subset, names.iter().map(String::as_str)) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("it has {}", names.join(", ")),
                };
                self.refuse(vec![format!("there is no subset `{subset}`; {hint}")])?;
            }
        }
        let described = self.described(&environment, &items)?;
        let examples = match selection.shots {
            0 => None,
            _ => Some(self.examples(data, &items)?),
        };
        let items = self.with_examples(items, &described, examples.as_deref(), selection)?;
        Ok(match (limit, selection.seed) {
            (None, _) => items,
            (Some(limit), None) => first(items, *limit),
            (Some(limit), Some(seed)) => drawn(items, *limit, seed),
        })
    }

    pub(super) fn refuse(&self, mut problems: Vec<String>) -> Result<(), Error> {
        if problems.is_empty() {
            return Ok(());
        }
        let more = problems.len().saturating_sub(QUOTED);
        problems.truncate(QUOTED);
        let more = if more > 0 { format!("; and {more} more") } else { String::new() };
        Err(Error::Items { task: self.name.clone(), problem: format!("{}{more}", problems.join("; ")) })
    }

    fn glossary_items(
        &self,
        spec: &Glossary,
        found: &[FileRecord],
        environment: &Environment<'_>,
        maker: &Maker<'_>,
    ) -> Result<Vec<Made>, Error> {
        let template = |source| environment.template_from_str(source).map_err(|error| self.unusable(&error));
        let (term, meaning, context) = (template(&spec.term)?, template(&spec.meaning)?, template(&spec.context)?);
        let entry = |record: &FileRecord| {
            let variables = variables(record);
            let meaning = text(&meaning, &variables)?;
            Ok::<_, String>(glossary::Entry {
                subset: text(&maker.subset, &variables)?,
                term: text(&term, &variables)?.trim().to_owned(),
                context: text(&context, &with("meaning", Value::from(meaning.trim()), &variables))?,
                meaning: meaning.trim().to_owned(),
                record: json(&record.value),
            })
        };
        let mut made = Vec::new();
        let mut entries = Vec::new();
        for record in found {
            match entry(record) {
                Ok(entry) => entries.push(entry),
                Err(problem) => made.push(Err((record.file.clone(), record.number, problem))),
            }
        }
        made.push(Ok(glossary::items(spec, &entries)));
        Ok(made)
    }

    pub(super) fn unusable(&self, error: &minijinja::Error) -> Error {
        Error::Items { task: self.name.clone(), problem: error.to_string() }
    }
}

/// The first `limit` of each subset.
fn first(mut items: Vec<Item>, limit: usize) -> Vec<Item> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    items.retain(|item| {
        let count = counts.entry(item.subset.clone()).or_default();
        *count += 1;
        *count <= limit
    });
    items
}

/// Of each subset the `limit` items that draw the smallest numbers, in their order: what is added to the data or
/// left out of it changes little.
fn drawn(items: Vec<Item>, limit: usize, seed: u64) -> Vec<Item> {
    let mut subsets: BTreeMap<&str, Vec<([u8; 32], usize)>> = BTreeMap::new();
    for (place, item) in items.iter().enumerate() {
        let number = Sha256::digest([&seed.to_string(), item.subset.as_str(), &item.id].join("\0"));
        subsets.entry(&item.subset).or_default().push((number.into(), place));
    }
    let mut kept = HashSet::new();
    for numbers in subsets.values_mut() {
        numbers.sort_unstable();
        kept.extend(numbers.iter().take(limit).map(|(_, place)| *place));
    }
    let items = items.into_iter().enumerate();
    items.filter(|(place, _)| kept.contains(place)).map(|(_, item)| item).collect()
}

/// The items of one record, or its file, number and what is wrong with it.
type Made = Result<Vec<Item>, (String, u64, String)>;

fn json(value: &Value) -> serde_json::Value {
    serde_json::to_value(value).unwrap_or_default()
}

struct Maker<'a> {
    id: Template<'a, 'a>,
    subset: Template<'a, 'a>,
    form: Compiled<'a>,
}

enum Compiled<'a> {
    Rolling(&'a Rolling, Expression<'a, 'a>, Template<'a, 'a>, Template<'a, 'a>),
    MultipleChoice(&'a MultipleChoice, Template<'a, 'a>, Expression<'a, 'a>, Expression<'a, 'a>),
    MinimalPairs(&'a str, Template<'a, 'a>, [Template<'a, 'a>; 2]),
    Cloze(Option<Expression<'a, 'a>>, Template<'a, 'a>, Template<'a, 'a>),
    Generate(&'a super::Generate, Template<'a, 'a>, Expression<'a, 'a>),
    Glossary,
}

impl<'a> Maker<'a> {
    fn new(task: &'a Task, environment: &'a Environment<'a>) -> Result<Self, Error> {
        let unusable = |error| task.unusable(&error);
        let template = |source: &'a str| environment.template_from_str(source).map_err(unusable);
        let expression = |source: &'a str| environment.compile_expression(source).map_err(unusable);
        let form = match &task.kind {
            Kind::Rolling(r) => {
                Compiled::Rolling(r, expression(&r.documents)?, template(&r.text)?, template(&r.measured)?)
            }
            Kind::MultipleChoice(m) => {
                Compiled::MultipleChoice(m, template(&m.context)?, expression(&m.choices)?, expression(&m.gold)?)
            }
            Kind::MinimalPairs(p) => {
                Compiled::MinimalPairs(&p.delimiter, template(&p.context)?, [template(&p.good)?, template(&p.bad)?])
            }
            Kind::Cloze(c) => {
                let documents = c.documents.as_deref().map(expression).transpose()?;
                Compiled::Cloze(documents, template(&c.context)?, template(&c.target)?)
            }
            Kind::Generate(g) => Compiled::Generate(g, template(&g.context)?, expression(&g.answers)?),
            Kind::Glossary(_) => Compiled::Glossary,
        };
        Ok(Self { id: template(&task.id)?, subset: template(&task.subset)?, form })
    }

    fn items(&self, record: &FileRecord) -> Result<Vec<Item>, String> {
        let variables = variables(record);
        let item = |id: String, form| -> Result<Item, String> {
            Ok(Item { id, subset: text(&self.subset, &variables)?, form, record: json(&record.value) })
        };
        if let Compiled::Rolling(spec, documents, template, measured) = &self.form {
            let documents = texts(documents, &variables).map_err(in_key("documents"))?;
            let several = documents.len() > 1;
            let one = |(number, document): (usize, String)| {
                let inner = with("document", Value::from(document), &variables);
                let id = text(&self.id, &inner).map_err(in_key("id"))?;
                let measured = text(measured, &inner).map_err(in_key("measured"))?;
                let form = Form::Rolling {
                    text: text(template, &inner).map_err(in_key("text"))?,
                    bytes: measured.len(),
                    words: wikitext::words(&measured),
                    window: spec.window,
                };
                if measured.is_empty() {
                    return Err("`measured` is empty".to_owned());
                }
                item(if several { format!("{id}/{number}") } else { id }, form)
            };
            return documents.into_iter().enumerate().map(one).collect();
        }
        if let Compiled::Cloze(Some(documents), ..) = &self.form {
            let documents = texts(documents, &variables).map_err(in_key("documents"))?;
            let one = |(number, document): (usize, String)| {
                let inner = with("document", Value::from(document), &variables);
                let id = text(&self.id, &inner).map_err(in_key("id"))?;
                item(format!("{id}/{number}"), self.form(&inner)?)
            };
            return documents.into_iter().enumerate().map(one).collect();
        }
        let id = text(&self.id, &variables).map_err(in_key("id"))?;
        Ok(vec![item(id, self.form(&variables)?)?])
    }

    fn form(&self, variables: &Value) -> Result<Form, String> {
        match &self.form {
            Compiled::MultipleChoice(spec, context, choices, gold) => {
                let choices = texts(choices, variables).map_err(in_key("choices"))?;
                let gold = value(gold, variables).map_err(in_key("gold"))?;
                let place = match gold.as_i64() {
                    Some(place) => usize::try_from(place).ok(),
                    None => gold.as_str().and_then(|text| choices.iter().position(|choice| choice == text)),
                };
                let place = place.filter(|&place| place < choices.len());
                let gold = place.ok_or_else(|| format!("`gold` is {gold}, none of {} choices", choices.len()))?;
                let context = text(context, variables).map_err(in_key("context"))?;
                choice(context, &spec.delimiter, choices, gold, false)
            }
            Compiled::MinimalPairs(delimiter, context, [good, bad]) => {
                let sentences =
                    vec![text(good, variables).map_err(in_key("good"))?, text(bad, variables).map_err(in_key("bad"))?];
                choice(text(context, variables).map_err(in_key("context"))?, delimiter, sentences, 0, true)
            }
            Compiled::Cloze(_, context, target) => {
                let context = text(context, variables).map_err(in_key("context"))?;
                let target = text(target, variables).map_err(in_key("target"))?;
                if target.trim().is_empty() {
                    return Err("`target` is empty".into());
                }
                Ok(Form::Cloze { context, target })
            }
            Compiled::Generate(spec, context, answers) => {
                let answers = texts(answers, variables).map_err(in_key("answers"))?;
                if answers.is_empty() {
                    return Err("`answers` is an empty list".into());
                }
                let context = text(context, variables).map_err(in_key("context"))?;
                Ok(Form::Generate { context, answers, until: spec.until.clone(), max_tokens: spec.max_tokens })
            }
            Compiled::Rolling(..) | Compiled::Glossary => unreachable!("made elsewhere"),
        }
    }
}

fn in_key(key: &'static str) -> impl Fn(String) -> String {
    move |problem| format!("`{key}`: {problem}")
}

fn choice(context: String, delimiter: &str, choices: Vec<String>, gold: usize, pair: bool) -> Result<Form, String> {
    if choices.len() < 2 {
        return Err(format!("{} choice is none", choices.len()));
    }
    if choices.iter().any(String::is_empty) {
        return Err("a choice is empty".into());
    }
    Ok(Form::Choice { context, delimiter: delimiter.to_owned(), choices, gold, pair })
}
