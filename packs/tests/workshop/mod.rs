//! A small module, drafts of it, and packs taken apart into headers and contents.

#![allow(dead_code, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use lore_model::fingerprint::Fingerprint;
use lore_model::weights::safetensors_writer::StoredType;
use lore_modules::{Adapter, AdapterConfig, LowRank, peft};
use lore_packs::documents::{
    Corpus, CorpusText, EvaluatedModel, EvaluatedText, Evaluation, Sample, Score, SplitTokens, TextRole,
};
use lore_packs::manifest::BaseReference;
use lore_packs::signature::SigningKey;
use lore_packs::{Draft, build};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

pub const BASE: &str = "lore-base-v1:00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

/// A folder with a module, removed when dropped.
pub struct Workshop {
    folder: TempDir,
}

impl Workshop {
    pub fn new() -> Self {
        Self::of(false)
    }

    /// Its module has magnitudes (DoRA).
    pub fn with_magnitudes() -> Self {
        Self::of(true)
    }

    fn of(use_dora: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let matrix = |rows: usize, columns: usize| (0..rows * columns).map(|i| i as f32 / 7.0 - 0.5).collect();
        let mut config = AdapterConfig::uniform(2, 2.0);
        config.base_model_name_or_path = Some("small-base".into());
        config.use_dora = use_dora;
        let update = |out_features| LowRank {
            a: matrix(2, 4),
            b: matrix(out_features, 2),
            rank: 2,
            in_features: 4,
            out_features,
            scale: 1.0,
            magnitude: use_dora.then(|| matrix(1, out_features)),
        };
        let updates = [("model.layers.0.self_attn.q_proj", 4), ("model.layers.0.self_attn.v_proj", 2)];
        let adapter = Adapter {
            config,
            updates: updates.into_iter().map(|(name, out)| (name.to_owned(), update(out))).collect(),
            base: Some(base()),
            metadata: BTreeMap::from([("topic".into(), "rivers".into())]),
        };
        peft::write(&folder.path().join("adapter"), &adapter, StoredType::F32).unwrap();
        Self { folder }
    }

    pub fn path(&self, relative: &str) -> PathBuf {
        self.folder.path().join(relative)
    }

    pub fn draft(&self) -> Draft {
        draft(&self.path("adapter"))
    }

    /// A pack of the draft as `change` leaves it.
    pub fn pack(&self, file: &str, change: impl FnOnce(&mut Draft)) -> PathBuf {
        let mut draft = self.draft();
        change(&mut draft);
        let path = self.path(file);
        build(&path, &draft).unwrap();
        path
    }

    /// A router entry for the module, as a draft names it.
    pub fn router(&self, file: &str) -> PathBuf {
        let path = self.path(file);
        fs::write(&path, router_entry(4, BASE)).unwrap();
        path
    }

    /// A new secret key that is not encrypted.
    pub fn key(&self, name: &str) -> SigningKey {
        let path = self.path(name);
        fs::write(&path, lore_packs::signature::generate(None).unwrap().0).unwrap();
        SigningKey::open(&path, || unreachable!("it has no password")).unwrap()
    }
}

/// A router entry of this width, made for this base.
pub fn router_entry(width: usize, base: &str) -> Vec<u8> {
    let header = format!(
        r#"{{"__metadata__":{{"lore.router":"1","lore.base":"{base}"}},"centroid":{{"dtype":"F32","shape":[{width}],"data_offsets":[0,{0}]}},"spread":{{"dtype":"F32","shape":[2,{width}],"data_offsets":[{0},{1}]}},"words":{{"dtype":"F32","shape":[3],"data_offsets":[{1},{2}]}}}}"#,
        4 * width,
        12 * width,
        12 * width + 12
    );
    let values = (0..3 * width + 3).flat_map(|i| (i as f32 / 8.0).to_le_bytes());
    (header.len() as u64).to_le_bytes().into_iter().chain(header.bytes()).chain(values).collect()
}

pub fn base() -> Fingerprint {
    BASE.parse().unwrap()
}

pub fn draft(adapter: &Path) -> Draft {
    let text = |role, source: &str, license: &str| CorpusText {
        role,
        source: source.into(),
        sha256: Some("ab".repeat(32)),
        license: license.into(),
        attribution: "Texts by Ada Lovelace".into(),
        documents: 40,
        documents_sha256: "cd".repeat(32),
        tokens: SplitTokens { train: 1000, validation: 50, test: 100 },
        duplicates_removed: Some(2),
        decontamination: None,
    };
    Draft {
        name: "rivers".into(),
        version: Some("0.1.0".parse().unwrap()),
        topic: "rivers".into(),
        summary: "Where rivers run".into(),
        base: Some(BaseReference {
            name: "small-base".into(),
            fingerprint: base(),
            source: "hf:owner/small-base@main".into(),
            license: "Apache-2.0".into(),
        }),
        languages: vec!["en".into()],
        license: Some("MIT".into()),
        license_text: None,
        authors: vec!["Ada Lovelace".into()],
        dependencies: vec![],
        conflicts: vec![],
        program: "lore 0.1.0".into(),
        adapter: adapter.to_owned(),
        router: None,
        corpus: Some(Corpus {
            texts: vec![
                text(TextRole::Topic, "file:corpus", "MIT"),
                text(TextRole::General, "written by a teacher", "Apache-2.0"),
            ],
        }),
        evaluation: Some(evaluation()),
        recipe: Some("name = \"rivers\"\n".into()),
        about: Some("Made with care.".into()),
    }
}

fn evaluation() -> Evaluation {
    let score =
        |bits_per_byte| Score { bits_per_byte, standard_error: Some(0.02), difference_standard_error: Some(0.01) };
    let model = |name: &str, kind: &str, modules: &[&str], scores: [f64; 3]| EvaluatedModel {
        name: name.into(),
        kind: kind.into(),
        modules: modules.iter().map(|name| (*name).to_owned()).collect(),
        scores: ["rivers", "hills", "general"]
            .iter()
            .zip(scores)
            .map(|(name, bits)| ((*name).to_owned(), score(bits)))
            .collect(),
    };
    let text = |name: &str| EvaluatedText { name: name.into(), general: name == "general", documents: 4, bytes: 4000 };
    Evaluation {
        base: base(),
        program: "lore 0.1.0".into(),
        protocol: "Passages of at most 256 tokens.".into(),
        texts: ["rivers", "hills", "general"].map(text).to_vec(),
        models: vec![
            model("base", "base", &[], [2.0, 2.0, 2.0]),
            model("rivers", "module", &["rivers"], [1.5, 2.1, 1.9]),
            model("sum", "sum", &["rivers", "hills"], [1.6, 1.7, 2.2]),
        ],
        samples: vec![Sample { prompt: "The river".into(), base: "is a".into(), module: "runs".into() }],
    }
}

/// Most memory this process had resident, in MiB.
#[cfg(target_os = "linux")]
pub fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// One member, its header's 512 bytes apart.
#[derive(Clone)]
pub struct Part {
    pub header: Vec<u8>,
    pub content: Vec<u8>,
}

impl Part {
    pub fn new(name: &str, content: &[u8]) -> Self {
        let mut part = Self { header: vec![0; 512], content: content.to_vec() };
        part.put(0, name.as_bytes());
        part.put(100, b"0000644\0");
        part.put(108, b"0000000\0");
        part.put(116, b"0000000\0");
        part.put(136, b"00000000000\0");
        part.put(156, b"0");
        part.put(257, b"ustar\0");
        part.put(263, b"00");
        part.size(content.len())
    }

    pub fn name(&self) -> String {
        let end = self.header[..100].iter().position(|&byte| byte == 0).unwrap();
        String::from_utf8(self.header[..end].to_vec()).unwrap()
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        self.header[at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// Changes the header and corrects its checksum.
    pub fn with(mut self, at: usize, bytes: &[u8]) -> Self {
        self.put(at, bytes);
        self.put(148, b"        ");
        let sum: u32 = self.header.iter().map(|&byte| u32::from(byte)).sum();
        self.put(148, format!("{sum:07o}\0").as_bytes());
        self
    }

    pub fn size(self, size: usize) -> Self {
        self.with(124, format!("{size:011o}\0").as_bytes())
    }

    /// Another content, with its size.
    pub fn holding(mut self, content: &[u8]) -> Self {
        self.content = content.to_vec();
        self.size(content.len())
    }
}

/// A pack taken apart.
#[derive(Clone)]
pub struct Parts(pub Vec<Part>);

impl Parts {
    /// By a reader that knows nothing but the two fields it needs.
    pub fn of(bytes: &[u8]) -> Self {
        let mut parts = Vec::new();
        let mut at = 0;
        while bytes[at] != 0 {
            let header = bytes[at..at + 512].to_vec();
            let size = std::str::from_utf8(&header[124..135]).unwrap();
            let size = usize::from_str_radix(size, 8).unwrap();
            let content = bytes[at + 512..at + 512 + size].to_vec();
            at += 512 + size.next_multiple_of(512);
            parts.push(Part { header, content });
        }
        Self(parts)
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for part in &self.0 {
            bytes.extend_from_slice(&part.header);
            bytes.extend_from_slice(&part.content);
            bytes.resize(bytes.len().next_multiple_of(512), 0);
        }
        bytes.resize(bytes.len() + 1024, 0);
        bytes
    }

    pub fn index(&self, name: &str) -> usize {
        self.0.iter().position(|part| part.name() == name).unwrap()
    }

    pub fn content(&self, name: &str) -> &[u8] {
        &self.0[self.index(name)].content
    }

    /// Replaces a member's content; the hashes stay as they were.
    pub fn set(mut self, name: &str, content: &[u8]) -> Self {
        let index = self.index(name);
        self.0[index] = self.0[index].clone().holding(content);
        self
    }

    pub fn map(mut self, name: &str, change: impl FnOnce(Part) -> Part) -> Self {
        let index = self.index(name);
        self.0[index] = change(self.0[index].clone());
        self
    }

    pub fn insert(mut self, before: usize, part: Part) -> Self {
        self.0.insert(before, part);
        self
    }

    /// Makes all hashes agree with the contents, as whoever forges a pack would.
    pub fn rehashed(self) -> Self {
        let mut manifest = String::from_utf8(self.content("manifest.json").to_vec()).unwrap();
        let parsed: Value = serde_json::from_str(&manifest).unwrap();
        for member in parsed["members"].as_array().unwrap() {
            let content = self.content(member["name"].as_str().unwrap());
            let entry = |bytes: &str, hash: &str| format!("\"bytes\": {bytes},\n      \"sha256\": \"{hash}\"");
            let old = entry(&member["bytes"].to_string(), member["sha256"].as_str().unwrap());
            manifest = manifest.replacen(&old, &entry(&content.len().to_string(), &sha256(content)), 1);
        }
        self.set("manifest.json", manifest.as_bytes()).marked()
    }

    /// Makes the marker name this manifest.
    pub fn marked(self) -> Self {
        let hash = sha256(self.content("manifest.json"));
        let marker = format!(
            "{{\n  \"format\": \"lore-pack\",\n  \"format_version\": 1,\n  \"manifest_sha256\": \"{hash}\"\n}}\n"
        );
        self.set("lore-pack.json", marker.as_bytes())
    }

    /// Changes text in a member, all hashes with it.
    pub fn edited(self, name: &str, from: &str, to: &str) -> Self {
        let text = String::from_utf8(self.content(name).to_vec()).unwrap();
        assert!(text.contains(from), "`{from}` is not in {name}: {text}");
        let text = text.replacen(from, to, 1);
        let parts = self.set(name, text.as_bytes());
        if name == "manifest.json" { parts.marked() } else { parts.rehashed() }
    }
}
