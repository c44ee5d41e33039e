//! Items out of replies.

use super::Kind;

/// What a reply says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Said {
    /// What to train on.
    pub text: String,
    pub question: Option<String>,
    pub answer: Option<String>,
}

/// The mark for what is left out.
pub(super) const BLANK: &str = "____";

/// Reads a reply that goes on from the beginning its kind asks for; `None` if it is not of that form.
pub(super) fn read(kind: Kind, reply: &str) -> Option<Said> {
    match kind {
        Kind::Question => {
            let (question, answer) = pair(reply, "Answer:")?;
            let text = format!("Question: {question}\nAnswer: {answer}");
            Some(Said { text, question: Some(question), answer: Some(answer) })
        }
        Kind::Cloze => {
            let (sentence, word) = pair(reply, "Word:")?;
            let sentence = one_blank(&sentence)?;
            let text = sentence.replacen(BLANK, &word, 1);
            Some(Said { text, question: Some(sentence), answer: Some(word) })
        }
        Kind::Paraphrase | Kind::Summary => {
            // Models that were not told to stop go on with another passage.
            let first = reply.trim_start().split("\n\n").next().unwrap_or_default();
            let text = folded(first);
            (!text.is_empty()).then_some(Said { text, question: None, answer: None })
        }
    }
}

/// The answer in a reply to a question that was put back.
pub(super) fn answer(reply: &str) -> String {
    folded(reply.trim_start().lines().next().unwrap_or_default())
}

/// What stands before `mark` and what stands in the rest of its line.
fn pair(reply: &str, mark: &str) -> Option<(String, String)> {
    let (first, second) = reply.split_once(mark)?;
    let first = folded(first);
    let second = folded(second.trim_start().lines().next().unwrap_or_default());
    let second = second.trim_matches(['"', '“', '”']).to_owned();
    (!first.is_empty() && !second.is_empty()).then_some((first, second))
}

/// The sentence with its only blank of however many lines written as [`BLANK`].
fn one_blank(sentence: &str) -> Option<String> {
    let start = sentence.find("__")?;
    let length = sentence[start..].bytes().take_while(|byte| *byte == b'_').count();
    let rest = &sentence[start + length..];
    (!rest.contains('_')).then(|| format!("{}{BLANK}{rest}", &sentence[..start]))
}

fn folded(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_read_from_two_lines() {
        let said = read(Kind::Question, " What runs  downhill?\nAnswer: water.\nQuestion: And up?\nAnswer: x");
        let said = said.map(|said| (said.question, said.answer, said.text));
        let expected = "Question: What runs downhill?\nAnswer: water.";
        assert_eq!(said, Some((Some("What runs downhill?".into()), Some("water.".into()), expected.into())));
        assert_eq!(read(Kind::Question, "What runs downhill?"), None);
        assert_eq!(read(Kind::Question, "What?\nAnswer: \n"), None);
    }

    #[test]
    fn a_cloze_has_one_blank() {
        let said = read(Kind::Cloze, " In spring ___ runs downhill.\nWord: \"water\"");
        assert_eq!(said.map(|said| said.text), Some("In spring water runs downhill.".into()));
        for wrong in ["No blank.\nWord: x", "___ and ___.\nWord: x", "___ alone."] {
            assert_eq!(read(Kind::Cloze, wrong), None, "{wrong}");
        }
    }

    #[test]
    fn of_a_text_the_first_paragraph_counts() {
        assert_eq!(read(Kind::Summary, "\n It\nruns.\n\nAnother").map(|said| said.text), Some("It runs.".into()));
        assert_eq!(read(Kind::Paraphrase, " \n"), None);
        assert_eq!(answer(" water \nQuestion: x"), "water");
    }
}
