//! Text that was UTF-8, read as Windows-1252 or Latin-1, and saved again.

/// Characters of Windows-1252 for the bytes 0x80 to 0x9f; the five bytes it leaves undefined are the C1
/// controls, as browsers read them (WHATWG Encoding Standard, index windows-1252).
const HIGH: [char; 32] = [
    '\u{20ac}', '\u{81}', '\u{201a}', '\u{192}', '\u{201e}', '\u{2026}', '\u{2020}', '\u{2021}', '\u{2c6}', '\u{2030}',
    '\u{160}', '\u{2039}', '\u{152}', '\u{8d}', '\u{17d}', '\u{8f}', '\u{90}', '\u{2018}', '\u{2019}', '\u{201c}',
    '\u{201d}', '\u{2022}', '\u{2013}', '\u{2014}', '\u{2dc}', '\u{2122}', '\u{161}', '\u{203a}', '\u{153}', '\u{9d}',
    '\u{17e}', '\u{178}',
];

/// How often text is read wrongly in a row; more than twice is not seen in practice.
const MOST_ROUNDS: usize = 3;

/// Repairs `text`, or `None` where nothing is broken.
///
/// Each run of characters beyond ASCII is taken as bytes of Windows-1252 (or Latin-1, whose bytes 0x80 to
/// 0x9f are control characters). It is replaced only if those bytes are exactly UTF-8, so that every
/// replacement encodes back to the run that it replaces, and if the run is not what people write: an
/// accented letter before a closing quotation mark or a dash, as in `CAFÉ”—`, stays.
///
/// ```
/// use lore_datasets::clean::repair_mojibake;
///
/// assert_eq!(repair_mojibake("Itâ€™s a cafÃ©.").as_deref(), Some("It’s a café."));
/// assert_eq!(repair_mojibake("Châteaux, Ångström, “quoted”."), None);
/// ```
pub fn repair_mojibake(text: &str) -> Option<String> {
    let mut repaired = once(text)?;
    for _ in 1..MOST_ROUNDS {
        match once(&repaired) {
            Some(further) => repaired = further,
            None => break,
        }
    }
    Some(repaired)
}

fn once(text: &str) -> Option<String> {
    // Broken text has the lead byte of a sequence, which is a letter from Â to ô.
    if !text.chars().any(|c| ('\u{c2}'..='\u{f4}').contains(&c)) {
        return None;
    }
    let mut repaired = String::with_capacity(text.len());
    let mut changed = false;
    let mut rest = text;
    while let Some(start) = rest.find(|c: char| !c.is_ascii()) {
        let (before, run) = rest.split_at(start);
        let (run, after) = run.split_at(run.find(|c: char| c.is_ascii()).unwrap_or(run.len()));
        repaired.push_str(before);
        match decode(run).filter(|_| !could_be_meant(run, before)) {
            Some(decoded) => {
                repaired.push_str(&decoded);
                changed = true;
            }
            None => repaired.push_str(run),
        }
        rest = after;
    }
    repaired.push_str(rest);
    changed.then_some(repaired)
}

fn decode(run: &str) -> Option<String> {
    let bytes: Vec<u8> = run.chars().map(byte).collect::<Option<_>>()?;
    String::from_utf8(bytes).ok()
}

/// Whether a person may have written `run` after `before`: letters with what may follow a word.
fn could_be_meant(run: &str, before: &str) -> bool {
    const FOLLOWS_A_WORD: &str = "’”“‘–—…»›•™®©°ªº";
    let capitals = before.ends_with(|c: char| c.is_ascii_uppercase());
    let usual = run.chars().all(|c| c.is_alphabetic() && !matches!(c, 'ƒ' | 'ˆ') || FOLLOWS_A_WORD.contains(c));
    usual && (capitals || !run.starts_with(['Â', 'Ã']))
}

fn byte(c: char) -> Option<u8> {
    match c {
        '\u{80}'..='\u{ff}' => Some(c as u8),
        _ => HIGH.iter().position(|high| *high == c).map(|at| 0x80 + at as u8),
    }
}

/// What reading the UTF-8 of `text` as Windows-1252 makes of it; the reverse of the repair.
#[cfg(test)]
fn break_text(text: &str) -> String {
    let read = |byte: u8| match byte {
        0x80..=0x9f => HIGH[usize::from(byte - 0x80)],
        _ => char::from(byte),
    };
    text.bytes().map(read).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_damage_is_repaired() {
        for (broken, whole) in [
            ("donâ€™t", "don’t"),
            ("â€œWordsâ€\u{9d}", "“Words”"),
            ("1095â€“1291", "1095–1291"),
            ("naÃ¯ve façade", "naïve façade"),
            ("Ã¢â‚¬â„¢", "’"),
            ("\u{e2}\u{80}\u{99}", "’"),
            ("Â©2024", "©2024"),
        ] {
            assert_eq!(repair_mojibake(broken).as_deref(), Some(whole), "{broken}");
        }
    }

    #[test]
    fn text_that_is_meant_stays() {
        for text in [
            "",
            "plain",
            "café",
            "Å",
            "â",
            "Tromsø—Ålesund",
            "“Ça va?”",
            "“the café”—he",
            "CAFÉ”",
            "IRMÃ”",
            "Straß…",
            "Ελληνικά",
            "日本語",
            "São Tomé",
            "€5",
        ] {
            assert_eq!(repair_mojibake(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_was_broken_is_restored(text in "[a-z ]{0,5}([é’—ü°東]{1,3}[a-z ,.]{1,5}){1,5}") {
            prop_assert_eq!(repair_mojibake(&break_text(&text)), Some(text));
        }

        #[test]
        fn every_repair_encodes_back(text in "\\PC{0,30}") {
            if let Some(repaired) = once(&text) {
                // Two to four characters become one.
                prop_assert!(repaired.chars().count() < text.chars().count());
            }
        }
    }
}
