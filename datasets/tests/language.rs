//! How often English books are taken for another language, paragraph by paragraph.
#![allow(clippy::unwrap_used)]

mod shared;

use lore_datasets::clean::{Language, identify};
use shared::shared;

#[test]
fn english_paragraphs_are_hardly_ever_taken_for_another_language() {
    let (mut judged, mut foreign, mut unclear) = (0u32, Vec::new(), 0u32);
    for book in ["anatomy_physiology", "astronomy", "chemistry", "economics", "psychology", "us_history"] {
        let Some(path) = shared(&format!("openstax/{book}/text.txt")) else { return };
        let text = std::fs::read_to_string(path).unwrap();
        for paragraph in text.split('\n').filter(|paragraph| paragraph.len() >= 200) {
            match identify(paragraph) {
                Language::Known(code) if code == "eng" => judged += 1,
                Language::Known(code) => foreign.push((code, paragraph.chars().take(80).collect::<String>())),
                Language::Unclear => unclear += 1,
            }
        }
    }
    eprintln!(
        "{judged} English, {unclear} unclear, {} foreign: {:?}",
        foreign.len(),
        foreign.iter().take(5).collect::<Vec<_>>()
    );
    assert!(judged > 10_000, "{judged}");
    assert!((foreign.len() as f64) < 0.002 * f64::from(judged), "{} of {judged}", foreign.len());
}
