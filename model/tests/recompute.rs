//! Recomputing blocks changes memory, not numbers.
#![allow(missing_docs, clippy::unwrap_used)]

use burn::tensor::{Device, Tensor};
use lore_model::Decoder;
use lore_model::config::{Architecture, ModelConfig};
use lore_model::ops::head::{Target, head_loss};
use lore_model::ops::host::{matrix, values};
use lore_model::ops::sequences::Sequences;
use lore_model::projection::{LowRank, Mask};
use lore_model::sampling::Random;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

fn decoder() -> Decoder {
    let config = ModelConfig {
        architecture: Architecture::Qwen3,
        hidden_size: 24,
        intermediate_size: 40,
        num_hidden_layers: 3,
        num_attention_heads: 4,
        num_key_value_heads: 2,
        head_dim: 8,
        vocab_size: 50,
        rope_theta: 1e4,
        rope_scaling: None,
        rms_norm_eps: 1e-5,
        tie_word_embeddings: true,
        max_position_embeddings: 64,
        attention_bias: false,
        qk_norm: true,
        bos_token_id: None,
        eos_token_ids: vec![],
    };
    Decoder::build(&config, |name, shape| {
        Ok(random(name.len() as u64 * 31 + name.bytes().map(u64::from).sum::<u64>(), shape))
    })
    .unwrap()
}

fn random(seed: u64, [rows, columns]: [usize; 2]) -> Tensor<2> {
    let mut random = Random::new(seed, 0);
    let values = (0..rows * columns).map(|_| (random.normal() * 0.2) as f32).collect();
    matrix(values, rows, columns, &Device::flex())
}

/// What is trained.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Trained {
    Everything,
    Updates,
    /// Updates whose inputs are partly left out.
    MaskedUpdates,
}

/// Loss and gradients of what is trained, and how often a mask was made.
fn gradients(recompute: bool, trained: Trained) -> (Vec<Vec<f32>>, usize) {
    let made = Arc::new(AtomicUsize::new(0));
    let base = decoder().with_recompute(recompute);
    let mut leaves = Vec::new();
    let model = if trained != Trained::Everything {
        base.with_updates(|path| {
            let seed: u64 = path.bytes().map(u64::from).sum();
            let [outputs, inputs] = match path.rsplit('.').next().unwrap() {
                "q_proj" => [32, 24],
                "k_proj" | "v_proj" => [16, 24],
                "o_proj" => [24, 32],
                "down_proj" => [24, 40],
                _ => [40, 24],
            };
            let [a, b] = [random(seed, [2, inputs]), random(seed + 1, [outputs, 2])]
                .map(|t| Tensor::from_inner(t).require_grad());
            leaves.extend([a.clone(), b.clone()]);
            let made = made.clone();
            let mask = Mask::new(move || {
                made.fetch_add(1, Ordering::Relaxed);
                let values = (0..13 * inputs).map(|i| if (i + seed as usize).is_multiple_of(3) { 0.0 } else { 1.5 });
                matrix(values.collect(), 13, inputs, &Device::flex())
            });
            let mask = (trained == Trained::MaskedUpdates).then_some(mask);
            Some(LowRank { mask, ..LowRank::new(a, b, 0.5) })
        })
    } else {
        base.with_parameters(|_, tensor| {
            let leaf = Tensor::from_inner(tensor).require_grad();
            leaves.push(leaf.clone());
            leaf
        })
    };
    let tokens = Arc::new((0..13).map(|i| (i * 7 % 50) as u32).collect::<Vec<_>>());
    let labels = Arc::new((0..13).map(|i| (i * 11 % 50) as u32).collect::<Vec<_>>());
    let hidden = model.hidden(tokens, Arc::new(Sequences::whole(&[5, 8])));
    let (loss, sums) = head_loss(hidden, model.head(), Target::Labels(labels), Arc::new(vec![1.0 / 13.0; 13]));
    let all = loss.backward();
    let mut found = vec![vec![sums.loss as f32]];
    found.extend(leaves.iter().map(|leaf| values(&leaf.grad(&all).expect("every leaf has a gradient"))));
    (found, made.load(Ordering::Relaxed))
}

#[test]
fn gradients_are_the_same_to_the_bit() {
    for trained in [Trained::Updates, Trained::MaskedUpdates, Trained::Everything] {
        let ((kept, _), (recomputed, _)) = (gradients(false, trained), gradients(true, trained));
        assert!(kept.iter().flatten().any(|&x| x != 0.0));
        assert_eq!(kept, recomputed, "{trained:?}");
    }
    assert_ne!(gradients(true, Trained::MaskedUpdates).0, gradients(true, Trained::Updates).0);
}

/// Three blocks of seven projections: each mask is made for the forward pass, and again where a block is computed again.
#[test]
fn masks_are_not_kept_until_the_backward_pass() {
    assert_eq!(gradients(false, Trained::MaskedUpdates).1, 21);
    assert_eq!(gradients(true, Trained::MaskedUpdates).1, 42);
}
