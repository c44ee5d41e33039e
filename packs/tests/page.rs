//! The page of a pack: the facts, in a form that does nothing but show them.

#![allow(clippy::unwrap_used)]

mod workshop;

use std::fs;

use lore_packs::{Layout, page, publish, sign, verify_file};
use workshop::Workshop;

#[test]
fn the_page_holds_the_facts_and_loads_nothing() {
    let workshop = Workshop::new();
    let pack = workshop.pack("a.lorepack", |_| {});
    let html = page(&verify_file(&pack, None).unwrap()).unwrap();
    for part in [
        "<h1>Where rivers run</h1>",
        "-25.0 % ± 1.0",
        "<td>its own topic: gain</td>",
        "sum of rivers, hills",
        "It makes the base worse on hills by 5.0 %.",
        "<p>runs</p>",
        "lore pack install rivers-0.1.0.lorepack",
        "PeftModel.from_pretrained",
        "<p>Not signed.</p>",
        "lore-base-v1:0011",
        "prefers-color-scheme: dark",
    ] {
        assert!(html.contains(part), "`{part}` is not in:\n{html}");
    }
    // Only what the author measured and declared; prose of the author's is on the model card.
    assert!(!html.contains("Made with care."));
    for loading in ["<script", "src=", "url(", "@import", "<link", "<img", "http://", "https://"] {
        assert!(!html.contains(loading), "`{loading}` is in the page");
    }
    sign(&pack, &workshop.key("key")).unwrap();
    let signed = page(&verify_file(&pack, None).unwrap()).unwrap();
    assert!(signed.contains("Signed by the key <code>RW"), "{signed}");
}

#[test]
fn whatever_a_pack_says_is_text() {
    const EVIL: &str = "<script>alert(1)</script>\"'&<b>";
    let workshop = Workshop::new();
    let pack = workshop.pack("a.lorepack", |draft| {
        draft.summary = EVIL.into();
        draft.authors = vec![EVIL.into()];
        draft.program = "<i>lore</i>".into();
        let evaluation = draft.evaluation.as_mut().unwrap();
        evaluation.protocol = EVIL.into();
        evaluation.samples[0].module = EVIL.into();
        evaluation.samples[0].prompt = EVIL.into();
        evaluation.texts[1].name = "<hr>".into();
        for model in &mut evaluation.models {
            let score = model.scores.remove("hills").unwrap();
            model.scores.insert("<hr>".into(), score);
        }
        evaluation.models[2].modules[1] = EVIL.into();
        let corpus = draft.corpus.as_mut().unwrap();
        corpus.texts[0].source = EVIL.into();
    });
    let html = page(&verify_file(&pack, None).unwrap()).unwrap();
    for tag in ["<script", "<b>", "<i>", "<hr>"] {
        assert!(!html.contains(tag), "`{tag}` is in the page");
    }
    assert!(html.matches("&lt;script&gt;alert(1)").count() >= 7, "{html}");
}

#[test]
fn a_published_folder_has_the_page_of_the_newest_version() {
    let workshop = Workshop::new();
    let (old, new) = (
        workshop.pack("old.lorepack", |_| {}),
        workshop.pack("new.lorepack", |draft| draft.version = Some("0.2.0".parse().unwrap())),
    );
    for (layout, page) in [(Layout::Shelf, "shelf/rivers/card.html"), (Layout::Repository, "repository/card.html")] {
        let folder = workshop.path(page.split('/').next().unwrap());
        publish(&new, &folder, layout).unwrap();
        publish(&old, &folder, layout).unwrap();
        let html = fs::read_to_string(workshop.path(page)).unwrap();
        assert!(html.contains("<span>0.2.0</span>"), "{html}");
    }
}
