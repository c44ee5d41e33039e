//! Tokenizers rebuilt from GGUF against the `tokenizers` package's ids.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use lore_model::files::ModelFiles;
use lore_model::tokenizer::{self, TokenizerSettings, from_gguf};
use lore_model::weights::gguf::GgufFile;
use serde::Deserialize;
use tokenizers::Tokenizer;

#[derive(Deserialize)]
struct Line {
    text: String,
    ids: Vec<u32>,
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn lines(name: &str) -> Vec<Line> {
    let lines: Vec<Line> = serde_json::from_str(&std::fs::read_to_string(fixture(name)).unwrap()).unwrap();
    assert!(lines.len() >= 300, "the fixture is complete");
    lines
}

fn assert_ids(tokenizer: &Tokenizer, lines: &[Line]) {
    for line in lines {
        let encoding = tokenizer.encode(line.text.as_str(), true).unwrap();
        assert_eq!(encoding.get_ids(), line.ids, "{:?}", line.text);
        assert_eq!(tokenizer.decode(&line.ids, false).unwrap(), line.text);
    }
}

#[test]
fn a_tokenizer_rebuilt_from_gguf_gives_the_reference_ids() {
    let (tokenizer, settings) = from_gguf(&GgufFile::open(&fixture("tiny-llama.gguf")).unwrap()).unwrap();
    assert_ids(&tokenizer, &lines("tokens.json"));
    assert_eq!(settings.eos_token.as_deref(), Some("<|im_end|>"));
    assert_eq!(tokenizer.decode(&[1, 2], true).unwrap(), "");
}

#[test]
fn qwens_and_llama_3s_ways_of_cutting_give_the_reference_ids() {
    for name in ["tiny-qwen2.gguf", "tiny-qwen3.gguf"] {
        let (tokenizer, _) = from_gguf(&GgufFile::open(&fixture(name)).unwrap()).unwrap();
        for line in lines("tokens-qwen2.json") {
            assert_eq!(tokenizer.encode(line.text.as_str(), true).unwrap().get_ids(), line.ids, "{:?}", line.text);
        }
    }
    let mut bytes = std::fs::read(fixture("tiny-qwen2.gguf")).unwrap();
    replace_text(&mut bytes, "qwen2", "llama-bpe");
    // Four bytes shorter, so that what follows the metadata stays where it was.
    replace_text(&mut bytes, "{{ messages }}", "{{ mess }}");
    let (tokenizer, _) = from_gguf(&opened(&bytes)).unwrap();
    assert_ids(&tokenizer, &lines("tokens-llama-bpe.json"));
}

/// Replaces the last text of a GGUF file that is exactly `from`.
fn replace_text(bytes: &mut Vec<u8>, from: &str, to: &str) {
    let stored = |text: &str| [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat();
    let found = stored(from);
    let at = bytes.windows(found.len()).rposition(|window| window == found).expect("the text is in the file");
    bytes.splice(at..at + found.len(), stored(to));
}

fn opened(bytes: &[u8]) -> GgufFile {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.gguf");
    std::fs::write(&path, bytes).unwrap();
    GgufFile::open(&path).unwrap()
}

#[test]
fn a_saved_tokenizer_gives_the_same_ids() {
    let files = ModelFiles::open(&fixture("tiny-llama.gguf")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    tokenizer::save(folder.path(), &files.tokenizer, &files.tokenizer_settings, &files.config).unwrap();
    assert_ids(&tokenizer::load(&folder.path().join("tokenizer.json")).unwrap(), &lines("tokens.json"));
    assert_eq!(tokenizer::load_settings(folder.path()).unwrap(), files.tokenizer_settings);
}

/// The quickstart's teacher, with ids of `tokenizers` for its published settings, which llama.cpp confirms.
#[test]
fn the_teachers_tokenizer_gives_the_reference_ids() {
    let Some(path) = std::env::var_os("LORE_TEACHER_GGUF") else {
        println!("skipped: LORE_TEACHER_GGUF does not name SmolLM2-135M-Instruct.Q4_1.gguf");
        return;
    };
    let (tokenizer, _) = from_gguf(&GgufFile::open(Path::new(&path)).unwrap()).unwrap();
    assert_ids(&tokenizer, &lines("teacher-tokens.json"));
}

#[test]
fn settings_are_read_in_every_form() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    assert_eq!(tokenizer::load_settings(folder.path()).unwrap(), TokenizerSettings::default());
    write(
        "tokenizer_config.json",
        r#"{"bos_token": {"content": "<s>", "lstrip": false}, "eos_token": "</s>", "chat_template": [{"name": "tool", "template": "t"}, {"name": "default", "template": "d"}]}"#,
    );
    write("special_tokens_map.json", r#"{"eos_token": "other", "pad_token": "<pad>"}"#);
    let settings = tokenizer::load_settings(folder.path()).unwrap();
    assert_eq!(settings.bos_token.as_deref(), Some("<s>"));
    assert_eq!(settings.eos_token.as_deref(), Some("</s>"));
    assert_eq!(settings.pad_token.as_deref(), Some("<pad>"));
    assert_eq!(settings.chat_template.as_deref(), Some("d"));
    write("chat_template.jinja", "j");
    assert_eq!(tokenizer::load_settings(folder.path()).unwrap().chat_template.as_deref(), Some("j"));
    write("tokenizer_config.json", "{");
    assert!(tokenizer::load_settings(folder.path()).is_err());
}

/// The bytes of the tiny model with one metadata text replaced by another of the same length.
fn changed(from: &str, to: &str) -> String {
    assert_eq!(from.len(), to.len());
    let mut bytes = std::fs::read(fixture("tiny-llama.gguf")).unwrap();
    let at = bytes.windows(from.len()).position(|window| window == from.as_bytes()).expect("the text is in the file");
    bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
    from_gguf(&opened(&bytes)).unwrap_err().to_string()
}

#[test]
fn unknown_tokenizers_are_refused_by_name() {
    assert!(changed("smollm", "viking").contains("`viking` is not supported"));
    assert!(changed("gpt2", "bert").contains("`bert` is not supported"));
    assert!(changed("tokenizer.ggml.merges", "tokenizer.ggml.mergeX").contains("`tokenizer.ggml.merges` is missing"));
    // A merge whose parts are no tokens.
    assert!(changed("t h", "t \u{2}").contains("not of two tokens that make a third"));
}
