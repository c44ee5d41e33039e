//! Records from JSON files and JSON lines.

use std::io::BufRead;

use minijinja::Value;
use serde_json::Value as Json;

use super::lines::Lines;
use super::record::{Record, Sink, utf8};

/// Gives every value that `path` leads to: a JSON pointer in which `*` means every entry.
pub(super) fn read(bytes: &[u8], path: &str, sink: &mut Sink<'_>) -> Result<(), String> {
    let root: Json = serde_json::from_str(utf8(bytes)?).map_err(|e| format!("it is not JSON: {e}"))?;
    let steps: Vec<String> = path.split('/').skip(1).map(|step| step.replace("~1", "/").replace("~0", "~")).collect();
    let shared = Value::from_serialize(&root);
    walk(&root, &steps, "", &mut |value, key| {
        sink(Ok(Record { value: Value::from_serialize(value), root: shared.clone(), key: key.to_owned() }));
    });
    Ok(())
}

fn walk(value: &Json, steps: &[String], key: &str, found: &mut dyn FnMut(&Json, &str)) {
    let Some((step, rest)) = steps.split_first() else {
        return found(value, key);
    };
    match value {
        Json::Object(map) if step == "*" => map.iter().for_each(|(key, value)| walk(value, rest, key, found)),
        Json::Array(items) if step == "*" => {
            items.iter().enumerate().for_each(|(i, value)| walk(value, rest, &i.to_string(), found));
        }
        Json::Object(map) => {
            if let Some(value) = map.get(step) {
                walk(value, rest, step, found);
            }
        }
        Json::Array(items) => {
            if let Some(value) = step.parse::<usize>().ok().and_then(|i| items.get(i)) {
                walk(value, rest, step, found);
            }
        }
        _ => {}
    }
}

/// Gives the value of every line that is not blank. A line of more than `most` bytes is passed over.
pub(super) fn read_lines(reader: impl BufRead, most: u64, sink: &mut Sink<'_>) -> Result<(), String> {
    let mut lines = Lines::new(reader, most);
    while let Some(line) = lines.next()? {
        let number = line.number;
        let Some(line) = line.text else {
            sink(Err(format!("line {}: more than {most} bytes", number + 1)));
            continue;
        };
        if line.trim().is_empty() {
            continue;
        }
        sink(match serde_json::from_str::<Json>(line) {
            Ok(value) => {
                Ok(Record { value: Value::from_serialize(&value), root: Value::UNDEFINED, key: number.to_string() })
            }
            Err(e) => Err(format!("line {}: not JSON: {e}", number + 1)),
        });
    }
    Ok(())
}
