//! Packs that someone made to do harm: each is refused, for its own reason, and leaves nothing behind.

#![allow(clippy::unwrap_used)]

mod archive;
mod documents;
mod manifests;
mod routers;
mod signatures;
mod weights;
#[path = "../workshop/mod.rs"]
mod workshop;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use archive::{container, order};
use documents::{documents, terminals};
use lore_model::config::ModelConfig;
use lore_packs::signature::SigningKey;
use lore_packs::{Base, Error, Library, sign, verify_file};
use manifests::manifests;
use routers::routers;
use signatures::signatures;
use weights::weights;
use workshop::{BASE, Part, Parts, Workshop, base};

/// A file and what its refusal says.
type Case = (String, Vec<u8>, &'static str);

struct Cases {
    good: Parts,
    signed: Parts,
    /// With a router entry.
    routed: Parts,
    all: Vec<Case>,
}

impl Cases {
    fn bytes(&mut self, what: &str, bytes: Vec<u8>, reason: &'static str) {
        self.all.push((what.to_owned(), bytes, reason));
    }

    fn parts(&mut self, what: &str, parts: &Parts, reason: &'static str) {
        self.bytes(what, parts.bytes(), reason);
    }

    /// An additional member before the README, as a naive reader would unpack it.
    fn extra(&mut self, what: &str, part: Part, reason: &'static str) {
        let parts = self.good.clone();
        let at = parts.index("README.md");
        self.parts(what, &parts.insert(at, part), reason);
    }

    /// The good pack with text of a member changed and all hashes corrected.
    fn edited(&mut self, what: &str, name: &str, from: &str, to: &str, reason: &'static str) {
        let parts = self.good.clone().edited(name, from, to);
        self.parts(what, &parts, reason);
    }

    fn weights(&mut self, what: &str, content: &[u8], reason: &'static str) {
        let parts = self.good.clone().set("adapter_model.safetensors", content).rehashed();
        self.parts(what, &parts, reason);
    }
}

fn sign_copy(workshop: &Workshop, from: &Path, name: &str, key: &SigningKey) -> Parts {
    let path = workshop.path(name);
    fs::copy(from, &path).unwrap();
    sign(&path, key).unwrap();
    Parts::of(&fs::read(path).unwrap())
}

#[test]
fn every_hostile_pack_is_refused_for_its_own_reason_and_leaves_nothing_behind() {
    let workshop = Workshop::new();
    let good = workshop.pack("good.lorepack", |_| {});
    let later = workshop.pack("later.lorepack", |draft| draft.version = Some("0.2.0".parse().unwrap()));
    let key = workshop.key("one");
    let signed = sign_copy(&workshop, &good, "signed.lorepack", &key);
    let other = sign_copy(&workshop, &good, "other.lorepack", &workshop.key("two"));
    let elsewhere = sign_copy(&workshop, &later, "elsewhere.lorepack", &key);
    let parts = Parts::of(&fs::read(&good).unwrap());
    assert!(parts.bytes() == fs::read(&good).unwrap(), "taking apart and putting together changes nothing");
    assert!(parts.clone().rehashed().bytes() == parts.bytes(), "the forger's hashes are the builder's");
    let entry = workshop.router("router.safetensors");
    let routed = workshop.pack("routed.lorepack", |draft| draft.router = Some(entry));
    let routed = Parts::of(&fs::read(routed).unwrap());
    let mut cases = Cases { good: parts, signed, routed, all: Vec::new() };
    container(&mut cases);
    order(&mut cases);
    manifests(&mut cases);
    weights(&mut cases);
    routers(&mut cases);
    documents(&mut cases);
    terminals(&mut cases);
    signatures(&mut cases, &other, &elsewhere);

    let reasons: BTreeSet<&str> = cases.all.iter().map(|(_, _, reason)| *reason).collect();
    assert_eq!(reasons.len(), cases.all.len(), "each has its own reason");
    assert!(cases.all.len() >= 40, "{}", cases.all.len());

    let around = tempfile::tempdir().unwrap();
    let library = Library::new(around.path().join("library"));
    let hostile = around.path().join("hostile.lorepack");
    let mut unlike = Vec::new();
    for (what, bytes, reason) in &cases.all {
        fs::write(&hostile, bytes).unwrap();
        let held = library.lock(&|| ()).unwrap();
        let error = match held.stage(&hostile, "hostile", None) {
            Ok(_) => panic!("{what} was accepted"),
            Err(error) => error,
        };
        assert!(matches!(error, Error::Refused { .. } | Error::Altered { .. }), "{what}: {error:?}");
        let text = error.to_string();
        let driving = |c: char| c != '\n' && (c.is_control() || ('\u{202a}'..='\u{202e}').contains(&c));
        assert!(!text.contains(driving) && text.len() < 2500, "{what}: {}", text.escape_debug());
        if !text.contains(reason) {
            unlike.push(format!("{what}: expected `{reason}` in: {text}"));
        }
        assert_eq!(verify_file(&hostile, None).unwrap_err().to_string(), text, "{what}");
        // Not even a temporary file stays, in the library or beside it.
        let names = |folder: &Path| -> BTreeSet<String> {
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
        };
        assert_eq!(names(around.path()), BTreeSet::from(["hostile.lorepack".into(), "library".into()]), "{what}");
        for folder in ["store", "tmp", "modules"] {
            assert!(names(&library.root().join(folder)).is_empty(), "{what} left something in {folder}");
        }
    }
    assert!(unlike.is_empty(), "{}", unlike.join("\n"));
    eprintln!("{} hostile packs", cases.all.len());
}

#[test]
fn a_pack_for_another_base_is_refused_when_the_base_is_given() {
    let workshop = Workshop::new();
    let pack = workshop.pack("good.lorepack", |_| {});
    let config = r#"{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 4, "intermediate_size": 8,
        "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 2, "vocab_size": 10,
        "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "max_position_embeddings": 64, "tie_word_embeddings": true,
        "hidden_act": "silu"}"#;
    let config = ModelConfig::from_json(Path::new("config.json"), config).unwrap();
    let fits = Base { config: config.clone(), fingerprint: base() };
    assert!(verify_file(&pack, Some(&fits)).is_ok());
    let other = Base { fingerprint: BASE.replace("00", "44").parse().unwrap(), ..fits.clone() };
    let error = verify_file(&pack, Some(&other)).unwrap_err().to_string();
    assert!(error.contains("not for lore-base-v1:44"), "{error}");
    let wide = Base { config: ModelConfig { num_key_value_heads: 2, ..config }, ..fits.clone() };
    let error = verify_file(&pack, Some(&wide)).unwrap_err().to_string();
    let entry = workshop.path("entry");
    fs::write(&entry, workshop::router_entry(8, BASE)).unwrap();
    let routed = workshop.pack("routed.lorepack", |draft| draft.router = Some(entry));
    let told = verify_file(&routed, Some(&fits)).unwrap_err().to_string();
    assert!(told.contains("it is 8 wide; the states of the base are 4"), "{told}");
    assert!(error.contains("`model.layers.0.self_attn.v_proj` maps 4 to 2 values; the base's maps 4 to 4"), "{error}");
}
