//! `${NAME}` and `${NAME:-otherwise}` in `file:` sources: where data lies differs between machines.

use lore_settings::Problem;
use lore_settings::syntax::{Node, Step, Value, dotted, line_and_column};

/// Replaces environment variables in every `source` that is a `file:` source; others are left as they are.
/// One that is not set and has no default is a problem.
pub fn expand_sources(
    tree: &mut Node,
    text: &str,
    problems: &mut Vec<Problem>,
    lookup: &dyn Fn(&str) -> Option<String>,
) {
    visit(tree, &mut Vec::new(), &mut |path, node| {
        let Value::Text(source) = &mut node.value else { return };
        if !source.starts_with("file:") {
            return;
        }
        match expand(source, lookup) {
            Ok(expanded) => *source = expanded,
            Err(message) => {
                let (line, column) = line_and_column(text, node.place.start);
                problems.push(Problem { line, column, key: dotted(path), message, hint: None });
                node.value = Value::Placeholder;
            }
        }
    });
}

fn visit(node: &mut Node, path: &mut Vec<Step>, found: &mut dyn FnMut(&[Step], &mut Node)) {
    match &mut node.value {
        Value::Table(entries) => {
            for (key, child) in entries {
                path.push(Step::Key(key.clone()));
                if key == "source" {
                    found(path, child);
                }
                visit(child, path, found);
                path.pop();
            }
        }
        Value::List(items) => {
            for (index, child) in items.iter_mut().enumerate() {
                path.push(Step::Index(index));
                visit(child, path, found);
                path.pop();
            }
        }
        _ => {}
    }
}

fn expand(source: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let (mut expanded, mut rest) = (String::new(), source);
    while let Some((before, after)) = rest.split_once("${") {
        let Some((inside, behind)) = after.split_once('}') else {
            return Err(format!("has a `${{` without `}}`: {source}"));
        };
        let (name, otherwise) = match inside.split_once(":-") {
            Some((name, otherwise)) => (name, Some(otherwise)),
            None => (inside, None),
        };
        let set = lookup(name).filter(|value| !value.is_empty());
        let value = set.or(otherwise.map(str::to_owned)).ok_or_else(|| {
            format!("needs the environment variable `{name}`, which is not set; set it, or write `${{{name}:-path}}`")
        })?;
        expanded.push_str(before);
        expanded.push_str(&value);
        rest = behind;
    }
    expanded.push_str(rest);
    Ok(expanded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_and_defaults_are_replaced() {
        let lookup = |name: &str| (name == "DATA").then(|| "/data".to_owned());
        let read = |source: &str| expand(source, &lookup);
        assert_eq!(read("file:${DATA}/a/${DATA}"), Ok("file:/data/a//data".into()));
        assert_eq!(read("file:${DATA:-x}/a"), Ok("file:/data/a".into()));
        assert_eq!(read("file:${NONE:-../x}/a"), Ok("file:../x/a".into()));
        assert_eq!(read("file:plain"), Ok("file:plain".into()));
        assert!(read("file:${NONE}/a").is_err_and(|problem| problem.contains("`NONE`, which is not set")));
        assert!(read("file:${DATA").is_err_and(|problem| problem.contains("without `}`")));
    }
}
