//! Which language a text is in.

use serde::{Deserialize, Serialize};
use whatlang::{Detector, Lang};

use crate::boundary;

/// Letters below which a text is not judged: trigrams of less say little.
const FEWEST_LETTERS: usize = 80;
/// Letters that are looked at of a long text, in three places.
const MOST_BYTES: usize = 4096;

/// What a text is judged to be written in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Language {
    /// An ISO 639-3 code, such as `eng`.
    Known(String),
    /// Too few letters, or no language is clearly the nearest.
    Unclear,
}

impl Language {
    /// The code, or `unclear`.
    pub fn code(&self) -> &str {
        match self {
            Self::Known(code) => code,
            Self::Unclear => "unclear",
        }
    }
}

/// Words that are frequent in English and rare or unknown in its neighbours.
const ENGLISH: [&str; 8] = ["the", "and", "of", "that", "with", "was", "for", "which"];
/// Share of words from which on a text is English whatever its trigrams are like.
const ENGLISH_SHARE: f64 = 0.1;

/// Identifies the language of a text: English by its most frequent words where they are frequent, else by
/// trigrams and alphabet (whatlang). Texts with few letters, and those whose nearest two languages are about
/// as near, are [`Language::Unclear`].
pub fn identify(text: &str) -> Language {
    let sample = sample(text);
    if sample.chars().filter(|c| c.is_alphabetic()).take(FEWEST_LETTERS).count() < FEWEST_LETTERS {
        return Language::Unclear;
    }
    let (words, english) = sample.split_whitespace().fold((0u32, 0u32), |(words, english), word| {
        let word = word.trim_matches(|c: char| !c.is_alphabetic());
        (words + 1, english + u32::from(ENGLISH.iter().any(|frequent| word.eq_ignore_ascii_case(frequent))))
    });
    if f64::from(english) >= ENGLISH_SHARE * f64::from(words) {
        return Language::Known(Lang::Eng.code().to_owned());
    }
    match Detector::new().detect(&sample) {
        Some(info) if info.is_reliable() => Language::Known(info.lang().code().to_owned()),
        _ => Language::Unclear,
    }
}

/// Whether a text is in another language than English, as far as that can be told.
pub fn is_foreign(text: &str) -> bool {
    matches!(identify(text), Language::Known(code) if code != Lang::Eng.code())
}

/// All of a short text; beginning, middle and end of a long one.
fn sample(text: &str) -> std::borrow::Cow<'_, str> {
    if text.len() <= MOST_BYTES {
        return text.into();
    }
    let part = MOST_BYTES / 3;
    let at = |offset: usize| boundary::ceil(text, offset);
    let middle = text.len() / 2;
    let parts = [&text[..at(part)], &text[at(middle)..at(middle + part)], &text[at(text.len() - part)..]];
    parts.join(" ").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn languages_are_told_apart() {
        let english = "The river runs through the valley, and in the spring the farmers watch it closely because the \
            snow of the mountains melts within a few days.";
        let german = "Der Fluss fließt durch das Tal, und im Frühling beobachten ihn die Bauern genau, weil der \
            Schnee der Berge innerhalb weniger Tage schmilzt.";
        let french = "La rivière traverse la vallée, et au printemps les paysans la surveillent de près parce que la \
            neige des montagnes fond en quelques jours.";
        let spanish = "El río atraviesa el valle, y en primavera los campesinos lo vigilan de cerca porque la nieve de \
            las montañas se derrite en pocos días.";
        let russian = "Река протекает через долину, и весной крестьяне внимательно следят за ней, потому что снег в \
            горах тает за несколько дней.";
        assert_eq!(identify(english), Language::Known("eng".into()));
        for foreign in [german, french, spanish, russian] {
            assert!(is_foreign(foreign), "{foreign}: {:?}", identify(foreign));
            assert!(is_foreign(&format!("{foreign} ").repeat(100)), "long: {foreign}");
        }
        assert!(!is_foreign(english));
    }

    #[test]
    fn little_text_is_not_judged() {
        assert_eq!(identify("Der Fluss."), Language::Unclear);
        assert_eq!(identify("1 2 3 4 5 6 7 8 9 10 11 12 ".repeat(50).as_str()), Language::Unclear);
        assert!(!is_foreign(""));
    }
}
