//! Text that a model writes, and how it is compared with answers.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use lore_model::generate::{Generation, generate};
use lore_model::sampling::Sampling;

use crate::engine::Subject;

/// What the model writes after `prompt`, taking the most likely token each time, up to the first of `until`.
///
/// One prompt at a time: beside others a sum could be rounded otherwise, and a near tie turn.
///
/// # Errors
/// A prompt that does not fit the model, or numbers that are none.
pub(crate) fn write(
    subject: &Subject<'_>,
    prompt: Vec<u32>,
    until: &[String],
    max_tokens: usize,
) -> Result<String, lore_model::Error> {
    let settings = Generation { max_tokens, sampling: Sampling::greedy(), seed: 0, stop: subject.stop.to_vec() };
    let decode = |tokens: &[u32]| subject.tokenizer.decode(tokens, true).unwrap_or_default();
    let mut written = Vec::new();
    let tokens = generate(subject.decoder, &[prompt], &settings, |_, token| {
        written.push(token);
        let text = decode(&written);
        if until.iter().any(|stop| text.contains(stop.as_str())) {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    })?;
    let text = decode(&tokens[0]);
    let end = until.iter().filter_map(|stop| text.find(stop.as_str())).min();
    Ok(text[..end.unwrap_or(text.len())].to_owned())
}

/// Words of an answer as SQuAD compares them (Rajpurkar et al. 2016): small letters, without punctuation and articles.
fn words(text: &str) -> Vec<String> {
    let plain: String = text.to_lowercase().chars().filter(|c| !c.is_ascii_punctuation()).collect();
    plain.split_whitespace().filter(|word| !["a", "an", "the"].contains(word)).map(str::to_owned).collect()
}

/// Whether the text is one of the answers.
pub(crate) fn exact_match(text: &str, answers: &[String]) -> bool {
    let text = words(text);
    answers.iter().any(|answer| words(answer) == text)
}

/// Harmonic mean of the shares of words that text and answer have in common, for the best answer.
pub(crate) fn f1(text: &str, answers: &[String]) -> f64 {
    let text = words(text);
    let one = |answer: &String| {
        let answer = words(answer);
        if text.is_empty() || answer.is_empty() {
            return f64::from(u8::from(text == answer));
        }
        let mut left: BTreeMap<&str, usize> = BTreeMap::new();
        for word in &answer {
            *left.entry(word).or_default() += 1;
        }
        let mut common = 0;
        for word in &text {
            if let Some(count) = left.get_mut(word.as_str()).filter(|count| **count > 0) {
                *count -= 1;
                common += 1;
            }
        }
        2.0 * f64::from(common) / (text.len() + answer.len()) as f64
    };
    answers.iter().map(one).fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_compared_by_words() {
        let answers = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        assert!(exact_match(" The Nile.", &answers(&["Amazon", "nile"])));
        assert!(!exact_match("Nile river", &answers(&["nile"])));
        // Two of three words, two of two: 2·2/5.
        assert!((f1("blue nile river", &answers(&["Nile, Blue"])) - 0.8).abs() < 1e-12);
        // A word counts as often as both have it.
        assert!((f1("nile nile", &answers(&["nile"])) - 2.0 / 3.0).abs() < 1e-12);
        assert_eq!(f1("", &answers(&["nile"])), 0.0);
        assert_eq!(f1("the", &answers(&["a"])), 1.0);
    }
}
