//! Rules that cut single lines, after C4 (Raffel et al. 2020, section 2.2).

use super::measures::ends_sentence;

/// A rule with its name.
#[derive(Debug)]
pub struct LineRule {
    /// `set.rule`.
    pub name: &'static str,
    /// The lines that it cuts.
    pub cut: &'static str,
    /// Whether the name of the set stands for it.
    pub(super) in_set: bool,
    cuts: fn(&str) -> bool,
}

impl LineRule {
    /// Whether a line, which is not blank, is to be cut.
    pub fn cuts(&self, line: &str) -> bool {
        (self.cuts)(line)
    }
}

/// Phrases of cookie and privacy notices.
const POLICY: [&str; 6] =
    ["terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies"];

/// Every rule that cuts lines.
pub const LINE_RULES: &[LineRule] = &[
    LineRule {
        name: "c4.javascript_lines",
        cut: "`javascript` in it",
        in_set: true,
        cuts: |line| contains(line, "javascript"),
    },
    LineRule {
        name: "c4.policy_lines",
        cut: "a phrase of cookie and privacy notices in it",
        in_set: true,
        cuts: |line| POLICY.iter().any(|p| contains(line, p)),
    },
    LineRule {
        name: "c4.line_ends",
        cut: "no punctuation at its end",
        in_set: false,
        cuts: |line| !ends_sentence(line.trim()),
    },
    LineRule {
        name: "c4.line_words",
        cut: "fewer than three words",
        in_set: false,
        cuts: |line| line.split_whitespace().take(3).count() < 3,
    },
];

/// Whether `line` contains `phrase`, which is in small letters.
fn contains(line: &str, phrase: &str) -> bool {
    line.as_bytes().windows(phrase.len()).any(|window| window.eq_ignore_ascii_case(phrase.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rule_cuts_its_lines_only() {
        let cut = |line: &str| -> Vec<&str> {
            LINE_RULES.iter().filter(|rule| rule.cuts(line)).map(|rule| rule.name).collect()
        };
        assert_eq!(cut("Please enable JavaScript to go on."), ["c4.javascript_lines"]);
        assert_eq!(cut("This site Uses Cookies to serve you."), ["c4.policy_lines"]);
        assert_eq!(cut("A heading without end"), ["c4.line_ends"]);
        assert_eq!(cut("Too short."), ["c4.line_words"]);
        assert_eq!(cut("“The line is good enough.”"), [""; 0]);
    }
}
