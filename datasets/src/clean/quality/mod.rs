//! Rules of quality after published filters, each with a name.
//!
//! | set | after |
//! |---|---|
//! | `gopher` | Rae et al. 2021, appendix A.1 |
//! | `c4` | Raffel et al. 2020, section 2.2 |
//! | `fineweb` | Penedo et al. 2024, section 3.6 |
//!
//! What a rule of documents drops it says itself ([`Rule::drops`]). Four rules cut lines instead ([`LineRule::cut`]); two
//! of them, `c4.line_ends` and `c4.line_words`, only where named in full, because they cost much good text.

mod lines;
mod measures;
mod repetition;
mod rules;

pub use lines::{LINE_RULES, LineRule};
pub use measures::Measures;
pub(crate) use repetition::AsIs;
pub use repetition::Repetition;
pub use rules::{RULES, Rule};

/// Names that stand for several rules.
pub const SETS: [&str; 3] = ["gopher", "c4", "fineweb"];

/// The rules that a list of names and sets stands for, in the order of [`RULES`] and [`LINE_RULES`].
///
/// # Errors
/// Every name that is none, with the known ones.
pub fn select(names: &[String]) -> Result<(Vec<&'static Rule>, Vec<&'static LineRule>), Vec<String>> {
    let known = |name: &str| {
        SETS.contains(&name)
            || RULES.iter().any(|rule| rule.name == name)
            || LINE_RULES.iter().any(|rule| rule.name == name)
    };
    let unknown: Vec<String> = names
        .iter()
        .filter(|name| !known(name))
        .map(|name| {
            let all: Vec<&str> = RULES.iter().map(|r| r.name).chain(LINE_RULES.iter().map(|r| r.name)).collect();
            format!("`{name}` is no rule of quality; sets: {}; rules: {}", SETS.join(", "), all.join(", "))
        })
        .collect();
    if !unknown.is_empty() {
        return Err(unknown);
    }
    let named = |rule: &str| names.iter().any(|name| name == rule);
    let in_set = |rule: &str| rule.split_once('.').is_some_and(|(set, _)| named(set));
    let rules = RULES.iter().filter(|rule| named(rule.name) || in_set(rule.name)).collect();
    let lines = LINE_RULES.iter().filter(|rule| named(rule.name) || rule.in_set && in_set(rule.name)).collect();
    Ok((rules, lines))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn sets_and_names_select_rules() {
        let (rules, lines) = select(&names(&["c4", "gopher.words"])).unwrap();
        let rules: Vec<&str> = rules.iter().map(|rule| rule.name).collect();
        assert_eq!(rules, ["gopher.words", "c4.sentences", "c4.lorem_ipsum", "c4.curly_bracket"]);
        let lines: Vec<&str> = lines.iter().map(|rule| rule.name).collect();
        assert_eq!(lines, ["c4.javascript_lines", "c4.policy_lines"]);
        assert_eq!(select(&names(&["c4.line_words"])).unwrap().1.len(), 1);
        let problems = select(&names(&["gofer", "c4.lines", "c4"])).unwrap_err();
        assert_eq!(problems.len(), 2);
        assert!(problems[0].contains("`gofer`") && problems[0].contains("gopher.words"));
    }
}
