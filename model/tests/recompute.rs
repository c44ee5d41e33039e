//! Recomputing blocks changes memory, not numbers.
#![allow(missing_docs, clippy::unwrap_used)]

use burn::tensor::{Device, Tensor};
use lore_model::Decoder;
use lore_model::config::{Architecture, ModelConfig};
use lore_model::ops::head::{Target, head_loss};
use lore_model::ops::host::{matrix, values};
use lore_model::ops::sequences::Sequences;
use lore_model::projection::LowRank;
use lore_model::sampling::Random;
use std::sync::Arc;

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

/// Loss and gradients of every weight, or of low-rank updates only.
fn gradients(recompute: bool, low_rank: bool) -> Vec<Vec<f32>> {
    let base = decoder().with_recompute(recompute);
    let mut leaves = Vec::new();
    let model = if low_rank {
        base.with_updates(|path| {
            let seed = path.bytes().map(u64::from).sum();
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
            Some(LowRank::new(a, b, 0.5))
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
    found
}

#[test]
fn gradients_are_the_same_to_the_bit() {
    for low_rank in [true, false] {
        let (kept, recomputed) = (gradients(false, low_rank), gradients(true, low_rank));
        assert!(kept.iter().flatten().any(|&x| x != 0.0));
        assert_eq!(kept, recomputed, "low rank: {low_rank}");
    }
}
