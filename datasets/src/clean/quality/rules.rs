//! Rules that drop whole documents.

use super::measures::Measures;

/// A rule with its name.
#[derive(Debug)]
pub struct Rule {
    /// `set.rule`.
    pub name: &'static str,
    /// The documents that it drops.
    pub drops: &'static str,
    /// The measure that breaks the rule, or `None` where it holds.
    check: fn(&Measures) -> Option<f64>,
}

impl Rule {
    /// The measure that breaks the rule; `None` where the document is good.
    pub fn broken_by(&self, measures: &Measures) -> Option<f64> {
        (self.check)(measures)
    }
}

fn above(value: f64, most: f64) -> Option<f64> {
    (value > most).then_some(value)
}

fn outside(value: f64, least: f64, most: f64) -> Option<f64> {
    (value < least || value > most).then_some(value)
}

fn present(found: bool) -> Option<f64> {
    found.then_some(1.0)
}

/// Every rule that drops documents; thresholds are those of the papers (see [`super`]).
pub const RULES: &[Rule] = &[
    Rule {
        name: "gopher.words",
        drops: "fewer than 50 or more than 100 000 words",
        check: |m| outside(m.words as f64, 50.0, 100_000.0),
    },
    Rule {
        name: "gopher.word_length",
        drops: "words of fewer than 3 or more than 10 characters on average",
        check: |m| outside(m.word_length, 3.0, 10.0),
    },
    Rule {
        name: "gopher.symbols",
        drops: "more than one `#` or ellipsis for ten words",
        check: |m| above(m.hashes.max(m.ellipses), 0.1),
    },
    Rule {
        name: "gopher.bullets",
        drops: "more than 90 % of lines starting with a bullet",
        check: |m| above(m.bullets, 0.9),
    },
    Rule {
        name: "gopher.ellipsis_lines",
        drops: "more than 30 % of lines ending with an ellipsis",
        check: |m| above(m.ellipsis_lines, 0.3),
    },
    Rule {
        name: "gopher.alphabetic",
        drops: "less than 80 % of words holding a letter",
        check: |m| (m.alphabetic < 0.8).then_some(m.alphabetic),
    },
    Rule {
        name: "gopher.stop_words",
        drops: "fewer than two of the, be, to, of, and, that, have, with",
        check: |m| (m.stop_words < 2).then_some(m.stop_words as f64),
    },
    Rule {
        name: "gopher.repeated_lines",
        drops: "more than 30 % repeated lines, or 20 % of characters in them",
        check: |m| above(m.repetition.lines, 0.3).or(above(m.repetition.line_characters, 0.2)),
    },
    Rule {
        name: "gopher.repeated_paragraphs",
        drops: "more than 30 % repeated paragraphs, or 20 % of characters in them",
        check: |m| above(m.repetition.paragraphs, 0.3).or(above(m.repetition.paragraph_characters, 0.2)),
    },
    Rule {
        name: "gopher.repeated_words",
        drops: "the most frequent 2-, 3- or 4-gram holding 20, 18 or 16 % of characters, or repeated 5- to 10-grams 15, 14, 13, 12, 11 or 10 %",
        check: |m| {
            let measured = m.repetition.top.iter().chain(&m.repetition.repeated);
            let most = [0.2, 0.18, 0.16, 0.15, 0.14, 0.13, 0.12, 0.11, 0.1];
            measured.zip(most).find_map(|(value, most)| above(*value, most))
        },
    },
    Rule {
        name: "c4.sentences",
        drops: "fewer than 5 sentences",
        check: |m| (m.sentences < 5).then_some(m.sentences as f64),
    },
    Rule { name: "c4.lorem_ipsum", drops: "`lorem ipsum`", check: |m| present(m.lorem_ipsum) },
    Rule { name: "c4.curly_bracket", drops: "a curly bracket", check: |m| present(m.curly_bracket) },
    Rule {
        name: "fineweb.line_ends",
        drops: "at most 12 % of lines ending with punctuation",
        check: |m| (m.ended_lines <= 0.12).then_some(m.ended_lines),
    },
    Rule {
        name: "fineweb.repeated_characters",
        drops: "at least 10 % of characters in repeated lines",
        check: |m| (m.repetition.line_characters >= 0.1).then_some(m.repetition.line_characters),
    },
    Rule {
        name: "fineweb.short_lines",
        drops: "at least 67 % of lines shorter than 30 characters",
        check: |m| (m.short_lines >= 0.67).then_some(m.short_lines),
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "The river runs to the sea, and the people who live with it know that.\n\
        In spring the snow of the hills melts; the water rises and covers the fields near the mill.\n\
        By summer it is low again. Children cross it on flat stones to reach the other side.\n\
        Old maps show three bridges. Only one of them has been repaired since the great flood.\n\
        A ferry used to carry carts, horses and travellers for a small fee. It is long gone.";

    fn broken(text: &str) -> Vec<&'static str> {
        let measures = Measures::of(text);
        RULES.iter().filter(|rule| rule.broken_by(&measures).is_some()).map(|rule| rule.name).collect()
    }

    #[test]
    fn good_text_breaks_no_rule() {
        assert_eq!(broken(GOOD), [""; 0]);
    }

    #[test]
    fn each_rule_finds_what_it_is_for() {
        let lines =
            |line: &str, count: usize| (0..count).map(|i| line.replace('N', &i.to_string())).collect::<String>();
        let cases: Vec<(&str, String)> = vec![
            ("gopher.words", "The sea and the river.".into()),
            ("gopher.words", "word ".repeat(100_001)),
            ("gopher.word_length", "a b ".repeat(40)),
            ("gopher.word_length", lines("incomprehensibilitiesN ", 60)),
            ("gopher.symbols", format!("{GOOD} {}", "# ".repeat(12))),
            ("gopher.bullets", lines("- the thing N of it\n", 20)),
            ("gopher.ellipsis_lines", lines("The rest of it is on page N and with...\n", 20)),
            ("gopher.alphabetic", format!("{GOOD} {}", "12 34 ".repeat(20))),
            ("gopher.stop_words", lines("Sentence N says nothing. ", 30)),
            ("gopher.repeated_lines", format!("{GOOD}\n{}", "This line again and again.\n".repeat(9))),
            ("gopher.repeated_paragraphs", format!("{GOOD}\n\n{}", "This part again and again.\n\n".repeat(3))),
            ("gopher.repeated_words", format!("{GOOD} {}", "buy now ".repeat(20))),
            ("c4.sentences", lines("the word N of it and ", 30)),
            ("c4.lorem_ipsum", format!("{GOOD} Lorem ipsum dolor.")),
            ("c4.curly_bracket", format!("{GOOD} if (x) {{ y }}")),
            ("fineweb.line_ends", lines("the line N has no end and goes on\n", 20)),
            ("fineweb.repeated_characters", format!("{GOOD}\n{GOOD}")),
            ("fineweb.short_lines", lines("Short line N.\n", 20)),
        ];
        for (rule, text) in &cases {
            assert!(broken(text).contains(rule), "{rule} is not among {:?} of {text:.80}", broken(text));
        }
        assert!(RULES.iter().all(|rule| cases.iter().any(|(name, _)| *name == rule.name)), "every rule has a case");
    }
}
