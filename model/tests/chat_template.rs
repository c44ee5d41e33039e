//! Chat templates against Jinja2 (`scripts/fixtures/chat_templates.py`).
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;

use lore_model::chat::{ChatTemplate, Message};
use lore_model::files::ModelFiles;
use lore_model::tokenizer::TokenizerSettings;
use serde::Deserialize;

#[derive(Deserialize)]
struct Fixture {
    templates: BTreeMap<String, String>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    template: String,
    messages: Vec<Message>,
    add_generation_prompt: bool,
    text: Option<String>,
    error: Option<String>,
}

fn settings(template: &str) -> TokenizerSettings {
    TokenizerSettings {
        bos_token: Some("<s>".into()),
        eos_token: Some("</s>".into()),
        chat_template: Some(template.into()),
        ..TokenizerSettings::default()
    }
}

fn fixture(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

#[test]
fn conversations_are_laid_out_as_jinja_does() {
    let text = std::fs::read_to_string(fixture("chat_templates.json")).unwrap();
    let fixture: Fixture = serde_json::from_str(&text).unwrap();
    assert_eq!(fixture.cases.len(), 24);
    for case in &fixture.cases {
        let chat = ChatTemplate::new(&settings(&fixture.templates[&case.template])).unwrap();
        let found = chat.render(&case.messages, case.add_generation_prompt);
        match (&case.text, &case.error) {
            (Some(text), _) => assert_eq!(&found.unwrap(), text, "{} {:?}", case.template, case.messages),
            (None, Some(error)) => assert!(found.unwrap_err().to_string().contains(error), "{error}"),
            (None, None) => panic!("a case without result"),
        }
    }
}

#[test]
fn a_template_from_a_gguf_file_is_the_one_that_is_used() {
    let files = ModelFiles::open(&fixture("tiny-qwen2.gguf")).unwrap();
    let text =
        ChatTemplate::new(&files.tokenizer_settings).unwrap().render(&[Message::new("user", "Hi")], true).unwrap();
    assert!(text.contains("\"Hi\""), "its template is `{{{{ messages }}}}`: {text}");
}

#[test]
fn what_cannot_be_laid_out_says_why() {
    let none = ChatTemplate::new(&TokenizerSettings::default()).unwrap_err().to_string();
    assert!(none.contains("the model has none"), "{none}");
    let broken = ChatTemplate::new(&settings("{% for %}")).unwrap_err().to_string();
    assert!(broken.starts_with("chat template: "), "{broken}");
    let endless = "{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}";
    let error = ChatTemplate::new(&settings(endless)).unwrap().render(&[], false).unwrap_err().to_string();
    assert!(error.contains("fuel"), "{error}");
}
