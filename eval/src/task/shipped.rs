//! Tasks that come with the program.

use std::path::Path;

use super::{Error, Task};

macro_rules! files {
    ($($name:literal),+ $(,)?) => {
        &[$(($name, include_str!(concat!("../../tasks/", $name, ".toml")))),+]
    };
}

const FILES: &[(&str, &str)] = files![
    "arc_easy",
    "arc_easy_hub",
    "blimp",
    "blimp_hub",
    "factbook_capitals",
    "lambada",
    "last_word",
    "mmlu",
    "mmlu_continuation",
    "mmlu_hub",
    "openstax_glossary",
    "openstax_review",
    "piqa",
    "piqa_hub",
    "trivia",
    "trivia_open",
    "wikitext",
];

/// Names of the tasks that come with the program, in alphabetical order.
pub fn names() -> impl Iterator<Item = &'static str> {
    FILES.iter().map(|(name, _)| *name)
}

/// The file of the task of this name.
pub fn shipped_text(name: &str) -> Option<&'static str> {
    FILES.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}

/// The task of this name.
///
/// # Errors
/// When there is none; the error says what was probably meant.
pub fn shipped(name: &str) -> Result<Task, Error> {
    match FILES.iter().find(|(known, _)| *known == name) {
        Some((name, text)) => Task::parse(text, Path::new(&format!("{name}.toml"))),
        None => {
            let hint = match lore_settings::nearest(name, names()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("known: {}", names().collect::<Vec<_>>().join(", ")),
            };
            Err(Error::Unknown { name: name.to_owned(), hint })
        }
    }
}

/// The task that is meant by a name or the path of a task file, each with `/SUBSET` behind it where only that is
/// wanted.
///
/// # Errors
/// When there is no such task, and everything that is wrong with its file.
pub fn subset_of(argument: &str) -> Result<(Task, Option<String>), Error> {
    if Path::new(argument).is_file() {
        return Ok((Task::open(Path::new(argument))?, None));
    }
    match argument.rsplit_once('/') {
        Some((file, subset)) if Path::new(file).is_file() => {
            Ok((Task::open(Path::new(file))?, Some(subset.to_owned())))
        }
        Some((name, subset)) if !name.contains('/') => Ok((shipped(name)?, Some(subset.to_owned()))),
        _ => Ok((shipped(argument)?, None)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_file_is_a_task_of_its_name() {
        for name in names() {
            let task = shipped(name).unwrap();
            assert_eq!(task.name, name);
            assert!(!task.about.is_empty() && task.license.is_some(), "{name}");
        }
        let folder = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tasks")).unwrap();
        assert_eq!(folder.count(), FILES.len(), "every file of the folder is listed");
    }

    #[test]
    fn a_subset_stands_behind_the_name() {
        let (task, subset) = subset_of("mmlu/anatomy").unwrap();
        assert_eq!((task.name.as_str(), subset.as_deref()), ("mmlu", Some("anatomy")));
        assert!(subset_of("piqqa").unwrap_err().to_string().contains("did you mean `piqa`?"));
    }
}
