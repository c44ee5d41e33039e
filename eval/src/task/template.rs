//! Templates and expressions over a record.

use lore_datasets::extract::FileRecord;
use minijinja::value::{Value, ValueKind, merge_maps};
use minijinja::{AutoEscape, Environment, Expression, Template, UndefinedBehavior, context};

use super::{last_word, python, wikitext};

/// Instructions one rendering may take.
const FUEL: u64 = 20_000_000;

/// Renders as lm-evaluation-harness does: what is missing is an error, a newline at the end stays.
pub(super) fn environment<'a>() -> Environment<'a> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_keep_trailing_newline(true);
    environment.set_fuel(Some(FUEL));
    environment.set_unknown_method_callback(python::method);
    environment.add_filter("answer_place", python::answer_place);
    environment.add_filter("wikitext_articles", |text: String| wikitext::articles(&text));
    environment.add_filter("wikitext_detokenize", |text: String| wikitext::detokenize(&text));
    environment.add_filter("last_word_passages", |text: String| last_word::passages(&text));
    environment.add_filter("before_last_word", |text: String| last_word::before(&text));
    environment.add_filter("last_word", |text: String| last_word::last(&text));
    environment
}

/// The id of an item whose task declares none: whatever fields the record has, it names one record.
pub(super) const ID: &str = "{{ place.file }}#{{ place.number }}";

/// What the templates of a record see: where it stands, its own fields, which win, and `place`, where it stands, which wins.
pub(super) fn variables(record: &FileRecord) -> Value {
    let (folders, last) = record.file.rsplit_once('/').unwrap_or(("", &record.file));
    let place = context! {
        file => record.file,
        stem => last.rsplit_once('.').map_or(last, |(stem, _)| stem),
        folder => folders.rsplit('/').next().unwrap_or_default(),
        number => record.number,
    };
    let named = context! { record => record.value, place => place };
    // The last map that knows a name wins.
    match record.value.kind() {
        ValueKind::Map => merge_maps([place, record.value.clone(), named]),
        _ => merge_maps([place, named]),
    }
}

/// `variables` with one name more.
pub(super) fn with(name: &str, value: Value, variables: &Value) -> Value {
    merge_maps([variables.clone(), Value::from_iter([(name.to_owned(), value)])])
}

/// The text that a template makes of a record.
pub(super) fn text(template: &Template<'_, '_>, variables: &Value) -> Result<String, String> {
    template.render(variables).map_err(|error| one_line(&error))
}

/// The texts that an expression gives: one, or a list.
pub(super) fn texts(expression: &Expression<'_, '_>, variables: &Value) -> Result<Vec<String>, String> {
    let value = value(expression, variables)?;
    let text = |value: &Value| match value.kind() {
        ValueKind::String | ValueKind::Number => Ok(value.to_string()),
        kind => Err(format!("gives {kind} where a text is expected")),
    };
    match value.kind() {
        ValueKind::Seq | ValueKind::Iterable => {
            value.try_iter().map_err(|error| one_line(&error))?.map(|item| text(&item)).collect()
        }
        _ => Ok(vec![text(&value)?]),
    }
}

/// The value of an expression.
pub(super) fn value(expression: &Expression<'_, '_>, variables: &Value) -> Result<Value, String> {
    let value = expression.eval(variables).map_err(|error| one_line(&error))?;
    if value.is_undefined() { Err("gives nothing".into()) } else { Ok(value) }
}

fn one_line(error: &minijinja::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text
}
