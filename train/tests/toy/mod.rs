//! A toy language, a small decoder for it, and the plain objective of predicting its next word.
// Several test programs share it, and none uses all of it.
#![allow(dead_code)]

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::tensor::{Device, Tensor};
use lore_datasets::batches::Batch;
use lore_datasets::documents::{Documents, Origin};
use lore_datasets::extract::Extracted;
use lore_datasets::mixture::{Mixture, Part};
use lore_datasets::progress::Silent;
use lore_datasets::split::{Split, SplitSpec};
use lore_datasets::tokenise::{Boundaries, tokenise};
use lore_model::Decoder;
use lore_model::config::{Architecture, ModelConfig};
use lore_model::ops::head::{Target, head_loss, logits};
use lore_model::ops::host::{matrix, values};
use lore_model::ops::sequences::Sequences;
use lore_model::sampling::Random;
use lore_train::{Figures, Micro, Objective, Parameters, Tracked};
use tempfile::TempDir;
use tokenizers::Tokenizer;

/// Words of the language; the tokens above them are special.
pub const WORDS: u32 = 60;
/// Ends every document.
pub const END: u32 = 63;

pub fn config(layers: usize) -> ModelConfig {
    ModelConfig {
        architecture: Architecture::Llama,
        hidden_size: 32,
        intermediate_size: 48,
        num_hidden_layers: layers,
        num_attention_heads: 4,
        num_key_value_heads: 2,
        head_dim: 8,
        vocab_size: 64,
        rope_theta: 10_000.0,
        rope_scaling: None,
        rms_norm_eps: 1e-5,
        tie_word_embeddings: true,
        max_position_embeddings: 128,
        attention_bias: false,
        qk_norm: false,
        bos_token_id: None,
        eos_token_ids: vec![END],
    }
}

/// Random weights: norms around 1, everything else normal.
pub fn decoder(layers: usize, seed: u64) -> Decoder {
    decoder_of(&config(layers), seed)
}

/// As [`decoder`], of any shape.
pub fn decoder_of(config: &ModelConfig, seed: u64) -> Decoder {
    let mut random = Random::new(seed, 77);
    let build = Decoder::build(config, |name, [rows, columns]| {
        let (middle, spread) = if name.ends_with("norm.weight") { (1.0, 0.1) } else { (0.0, 0.15) };
        let draw = (0..rows * columns).map(|_| (middle + spread * random.normal()) as f32).collect();
        Ok(matrix(draw, rows, columns, &Device::flex()))
    });
    build.expect("nothing can fail in memory")
}

/// Documents that count upwards by 1, 2 or 3 from different words, around the end of the vocabulary.
pub fn mixture(folder: &Path, sequence_length: usize, sequences: usize) -> Mixture {
    let text = |document: u32| {
        let word = |k| (document * 7 + k * (1 + document % 3)) % WORDS;
        (0..20 + document).map(|k| format!("w{}", word(k))).collect::<Vec<_>>().join(" ")
    };
    mixture_of((0..24).map(text).collect(), folder, sequence_length, sequences)
}

/// Batches of these texts of words `w0` to `w59`.
pub fn mixture_of(texts: Vec<String>, folder: &Path, sequence_length: usize, sequences: usize) -> Mixture {
    let vocabulary: serde_json::Map<_, _> = (0..WORDS).map(|word| (format!("w{word}"), word.into())).collect();
    let json = serde_json::json!({
        "version": "1.0", "added_tokens": [], "normalizer": null, "post_processor": null, "decoder": null,
        "truncation": null, "padding": null, "pre_tokenizer": {"type": "WhitespaceSplit"},
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "w0"}
    });
    let tokenizer: Tokenizer = json.to_string().parse().expect("a tokenizer");
    let documents = texts.into_iter().enumerate().map(|(index, text)| Extracted {
        id: index.to_string(),
        group: index.to_string(),
        title: String::new(),
        text,
    });
    let origin = Origin { topic: "counting".into(), source: "test".into(), license: "CC0-1.0".into() };
    let split = SplitSpec { validation: 0.0, test: 0.0 };
    let (documents, _) = Documents::build(documents.collect(), &origin, &split).expect("documents");
    let ends = Boundaries { bos: None, eos: (sequence_length > 1).then_some(END) };
    let store = tokenise(&documents, Split::Train, &tokenizer, "", ends, folder, &Silent).expect("a store");
    let part = Part { name: "counting".into(), store: Arc::new(store), weight: 1.0 };
    Mixture::new(vec![part], sequence_length, sequences, 5).expect("a mixture")
}

/// Where a run is made: what it learns from, and the folder for its checkpoints. Removed when dropped.
pub struct Place {
    _folder: TempDir,
    pub mixture: Mixture,
    pub run: PathBuf,
}

impl Place {
    /// Four sequences of 16 tokens at a time.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mixture = mixture(&folder.path().join("tokens"), 16, 4);
        let run = folder.path().join("run");
        Self { _folder: folder, mixture, run }
    }
}

/// A batch of random tokens with some targets masked.
pub fn ragged_batch(lengths: &[usize], seed: u64) -> Batch {
    let mut random = Random::new(seed, 1);
    let count = lengths.iter().sum();
    let mut draw = |below: u32| (0..count).map(|_| random.bits() as u32 % below).collect::<Vec<u32>>();
    let (tokens, targets, coins) = (draw(64), draw(64), draw(4));
    let mask = coins.iter().map(|&coin| if coin == 0 { 0.0 } else { 1.0 }).collect();
    Batch { tokens, lengths: lengths.to_vec(), targets, mask, ..Batch::default() }
}

/// Training of all of a decoder's tensors on the next token.
pub struct NextToken(pub Decoder);

impl NextToken {
    pub fn parameters(&self) -> Parameters {
        Parameters::new(self.0.parameters())
    }
}

impl Objective for NextToken {
    fn loss(&self, parameters: &Tracked, micro: &Micro) -> (Tensor<2>, Figures) {
        let model = parameters.put_into(&self.0);
        let hidden = model.hidden(micro.tokens.clone(), micro.sequences.clone());
        head_loss(hidden, model.head(), Target::Labels(micro.targets.clone()), micro.weights.clone())
    }
}

/// Stops the whole run in the middle of a step, as a kill does.
pub struct Killed<O> {
    pub objective: O,
    left: Cell<usize>,
}

impl<O: Objective> Killed<O> {
    /// It computes `losses` losses; the next one kills the run.
    pub fn after(losses: usize, objective: O) -> Self {
        Self { objective, left: Cell::new(losses) }
    }
}

impl<O: Objective> Objective for Killed<O> {
    fn mask(&self, batch: &Batch) -> Vec<f32> {
        self.objective.mask(batch)
    }

    fn rate_factor(&self, name: &str) -> f64 {
        self.objective.rate_factor(name)
    }

    fn loss(&self, parameters: &Tracked, micro: &Micro) -> (Tensor<2>, Figures) {
        let left = self.left.get();
        assert!(left > 0, "killed");
        self.left.set(left - 1);
        self.objective.loss(parameters, micro)
    }
}

/// All logits of a batch's sequences, `[tokens · vocabulary]`.
pub fn batch_logits(decoder: &Decoder, batch: &Batch) -> Vec<f32> {
    let sequences = Arc::new(Sequences::whole(&batch.lengths));
    let hidden = decoder.hidden(Arc::new(batch.tokens.clone()), sequences);
    values(&logits(hidden, decoder.head()))
}

/// Every parameter's bits, by name.
pub fn bits<'a>(tensors: impl IntoIterator<Item = (&'a str, &'a Tensor<2>)>) -> Vec<(String, Vec<u32>)> {
    let bits = |tensor: &Tensor<2>| values(tensor).into_iter().map(f32::to_bits).collect();
    tensors.into_iter().map(|(name, tensor)| (name.to_owned(), bits(tensor))).collect()
}

/// The bits of all of a decoder's own tensors.
pub fn decoder_bits(decoder: &Decoder) -> Vec<(String, Vec<u32>)> {
    bits(decoder.parameters().iter().map(|(name, tensor)| (name.as_str(), tensor)))
}
