//! The few methods of Python's texts and lists that templates of lm-evaluation-harness call.

use minijinja::value::{Value, ValueKind, from_args};
use minijinja::{Error, ErrorKind, State};

/// Called where a template calls a method that is none of the value's own.
pub(super) fn method(_: &State<'_, '_>, value: &Value, method: &str, arguments: &[Value]) -> Result<Value, Error> {
    match (value.as_str(), value.kind()) {
        (Some(text), _) => of_text(text, method, arguments),
        (None, ValueKind::Seq) if method == "index" => {
            let (wanted,): (Value,) = from_args(arguments)?;
            let place = value.try_iter()?.position(|item| item == wanted);
            place.map(Value::from).ok_or_else(|| wrong(format!("{wanted} is not in the list")))
        }
        (None, ValueKind::Map) if method == "get" => {
            let (key, otherwise): (Value, Option<Value>) = from_args(arguments)?;
            let found = value.get_item(&key).ok().filter(|found| !found.is_undefined());
            Ok(found.or(otherwise).unwrap_or(Value::from(())))
        }
        _ => Err(Error::from(ErrorKind::UnknownMethod)),
    }
}

fn of_text(text: &str, method: &str, arguments: &[Value]) -> Result<Value, Error> {
    let strip = |trim: fn(&str, &[char]) -> String| -> Result<Value, Error> {
        let (characters,): (Option<&str>,) = from_args(arguments)?;
        let characters: Vec<char> = characters.map_or_else(
            || (0..=0x3000).filter_map(char::from_u32).filter(|c| is_space(*c)).collect(),
            |characters| characters.chars().collect(),
        );
        Ok(trim(text, &characters).into())
    };
    match method {
        "strip" => strip(|text, c| text.trim_matches(c).to_owned()),
        "lstrip" => strip(|text, c| text.trim_start_matches(c).to_owned()),
        "rstrip" => strip(|text, c| text.trim_end_matches(c).to_owned()),
        "lower" => from_args(arguments).map(|()| text.to_lowercase().into()),
        "upper" => from_args(arguments).map(|()| text.to_uppercase().into()),
        "capitalize" => {
            from_args::<()>(arguments)?;
            let mut characters = text.chars();
            let first: String = characters.next().into_iter().flat_map(char::to_uppercase).collect();
            Ok((first + &characters.as_str().to_lowercase()).into())
        }
        "replace" => {
            let (from, to): (&str, &str) = from_args(arguments)?;
            Ok(text.replace(from, to).into())
        }
        "split" => {
            let (separator,): (Option<&str>,) = from_args(arguments)?;
            Ok(match separator {
                Some("") => return Err(wrong("an empty separator".into())),
                Some(separator) => text.split(separator).map(Value::from).collect::<Vec<Value>>().into(),
                None => {
                    let parts = text.split(is_space).filter(|part| !part.is_empty());
                    parts.map(Value::from).collect::<Vec<Value>>().into()
                }
            })
        }
        "startswith" => from_args(arguments).map(|(part,): (&str,)| text.starts_with(part).into()),
        "endswith" => from_args(arguments).map(|(part,): (&str,)| text.ends_with(part).into()),
        "join" => {
            let (parts,): (Vec<String>,) = from_args(arguments)?;
            Ok(parts.join(text).into())
        }
        _ => Err(Error::from(ErrorKind::UnknownMethod)),
    }
}

/// The place that a target names: a number, or a text of digits.
pub(super) fn answer_place(target: Value) -> Value {
    match target.as_str().filter(|text| !text.is_empty() && text.chars().all(|c| c.is_ascii_digit())) {
        Some(digits) => digits.parse::<u64>().map_or(target.clone(), Value::from),
        None => target,
    }
}

fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

fn wrong(problem: String) -> Error {
    Error::new(ErrorKind::InvalidOperation, problem)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use crate::task::template::environment;
    use minijinja::context;

    /// Expected: what Python gives.
    #[test]
    fn methods_are_those_of_python() {
        let cases = [
            ("{{ ' a b '.strip() }}|", "a b|"),
            ("{{ 'xxaxx'.lstrip('x') }}", "axx"),
            ("{{ 'a b c'.split(' ')[:-1] | join(' ') }}", "a b"),
            ("{{ ' a  b '.split() | length }}", "2"),
            ("{{ ', '.join(['a', 'b']) }}", "a, b"),
            ("{{ 'aBC'.capitalize() }}{{ 'ab'.upper() }}", "AbcAB"),
            ("{{ ['A', 'B'].index('B') }}", "1"),
            ("{{ {'a': 1}.get('b', 2) }}", "2"),
            ("{{ '3' | answer_place + 1 }}", "4"),
            ("{{ 'a.b'.replace('.', '-').endswith('b') }}", "True"),
        ];
        for (template, expected) in cases {
            let found =
                environment().render_str(template, context! {}).map_err(|e| format!("{template}: {e}")).unwrap();
            assert_eq!(found, expected, "{template}");
        }
        assert!(environment().render_str("{{ ['A'].index('B') }}", context! {}).is_err());
        assert!(environment().render_str("{{ 'a'.nonsense() }}", context! {}).is_err());
    }
}
