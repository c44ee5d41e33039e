//! `extends = "other.toml"`: a recipe that sets only what differs from another.

use std::ops::Range;
use std::path::{Path, PathBuf};

use lore_datasets::source::SourceUri;
use lore_settings::syntax::{Node, Value, line_and_column};
use lore_settings::{Problem, Problems};

use super::environment;
use crate::error::Error;

/// The key.
const EXTENDS: &str = "extends";
/// What every recipe has of its own.
const OWN: [&str; 3] = ["name", "topic", "joint"];
/// Recipes one over the other, at most.
const DEEPEST: usize = 8;

/// Reads a recipe as a tree, laid over the one that it extends. What comes from there is placed at the key `extends`.
/// Returns its text too.
///
/// # Errors
/// A file that cannot be read or is no TOML.
pub fn read(path: &Path) -> Result<(String, Node), Error> {
    read_over(path, DEEPEST)
}

fn read_over(path: &Path, deeper: usize) -> Result<(String, Node), Error> {
    let unreadable = |problem: String| Error::Usage(format!("the recipe {}: {problem}", path.display()));
    let bytes = std::fs::read(path).map_err(|error| unreadable(error.to_string()))?;
    let text = String::from_utf8(bytes)
        .map_err(|error| unreadable(format!("not UTF-8 text at byte {}", error.utf8_error().valid_up_to())))?;
    let mut tree = Node::parse(&text).map_err(|problems| Problems::new(path, problems))?;
    let Some((place, value)) = taken(&mut tree) else { return Ok((text, tree)) };
    let refused = |message: String| {
        let (line, column) = line_and_column(&text, place.start);
        Problems::new(path, vec![Problem { line, column, key: EXTENDS.into(), message, hint: None }])
    };
    let Value::Text(name) = value else {
        return Err(refused("must be a text: the path of a recipe, relative to this one".into()).into());
    };
    if deeper == 0 {
        return Err(refused(format!("goes round, or over more than {DEEPEST} recipes")).into());
    }
    let other = folder_of(path).join(&name);
    if !other.is_file() {
        return Err(refused(format!("names {}, which does not exist", other.display())).into());
    }
    let (other_text, mut under) = read_over(&other, deeper - 1)?;
    if let Value::Table(entries) = &mut under.value {
        entries.retain(|(key, _)| !OWN.contains(&key.as_str()));
    }
    let mut problems = Vec::new();
    environment::expand_sources(&mut under, &other_text, &mut problems, &|name| std::env::var(name).ok());
    if !problems.is_empty() {
        return Err(Problems::new(&other, problems).into());
    }
    settle(&mut under, &place, Path::new(&name).parent().unwrap_or(Path::new("")));
    under.overlay(tree);
    Ok((text, under))
}

/// Takes the key out of a recipe.
fn taken(tree: &mut Node) -> Option<(Range<usize>, Value)> {
    let Value::Table(entries) = &mut tree.value else { return None };
    let index = entries.iter().position(|(key, _)| key == EXTENDS)?;
    let (_, node) = entries.remove(index);
    Some((node.place, node.value))
}

fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Places everything at `place`, and makes sources relative to the folder from which theirs is `folder`.
fn settle(node: &mut Node, place: &Range<usize>, folder: &Path) {
    node.place = place.clone();
    match &mut node.value {
        Value::Table(entries) => {
            for (key, child) in entries {
                settle(child, place, folder);
                if key == "source"
                    && let Value::Text(source) = &mut child.value
                    && let Ok(uri) = source.parse::<SourceUri>()
                {
                    *source = uri.resolve_relative_to(folder).to_string();
                }
            }
        }
        Value::List(items) => items.iter_mut().for_each(|item| settle(item, place, folder)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs;

    use lore_settings::syntax::steps;

    use super::*;

    fn text_at(tree: &Node, path: &str) -> String {
        match &tree.at(&steps(path)).unwrap().value {
            Value::Text(text) => text.clone(),
            other => panic!("{path} is {other:?}"),
        }
    }

    #[test]
    fn what_a_recipe_does_not_set_is_that_of_the_other() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            path
        };
        write(
            "far/first.toml",
            "name = \"first\"\nseed = 1\n[teacher]\nsource = \"file:model\"\n[[topic]]\nname = \"t\"\n",
        );
        write("second.toml", "extends = \"far/first.toml\"\nname = \"second\"\n[base]\nname = \"b\"\n");
        let path = write("third.toml", "# A line.\nextends = \"second.toml\"\nseed = 3\n[base]\nname = \"c\"\n");
        let (text, tree) = read(&path).unwrap();
        assert!(text.starts_with("# A line."));
        assert_eq!(text_at(&tree, "base.name"), "c");
        assert!(matches!(tree.get("seed").unwrap().value, Value::Integer(3)));
        assert!(["name", "topic", "extends"].iter().all(|key| tree.get(key).is_none()));
        assert_eq!(text_at(&tree, "teacher.source"), "file:far/model");
        let place = |path: &str| line_and_column(&text, tree.at(&steps(path)).unwrap().place.start);
        assert_eq!((place("teacher.source"), place("base.name")), ((2, 1), (5, 1)));
    }

    #[test]
    fn what_cannot_be_extended_is_told_with_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.toml");
        let refused = |text: &str| {
            fs::write(&path, text).unwrap();
            read(&path).unwrap_err().to_string()
        };
        assert!(refused("\nextends = 3").contains("a.toml:2:1: `extends` must be a text"));
        assert!(refused("extends = \"b.toml\"").contains("b.toml, which does not exist"));
        assert!(refused("extends = \"a.toml\"").contains("goes round"));
        fs::write(folder.path().join("b.toml"), "x = ").unwrap();
        assert!(refused("extends = \"b.toml\"").contains("b.toml:1"));
    }
}
