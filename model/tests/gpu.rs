//! A GPU computes what the processor does: logits, and a step of training low-rank updates. Without a GPU Mesa's software
//! Vulkan will do (Debian: mesa-vulkan-drivers).
//!
//! ```text
//! cargo test --release --workspace --features lore-model/wgpu --test gpu
//! ```
#![cfg(any(feature = "cuda", feature = "wgpu"))]
#![allow(missing_docs, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use burn::tensor::{Device, Tensor};
use lore_model::Decoder;
use lore_model::device::{CUDA, cuda, wgpu};
use lore_model::files::ModelFiles;
use lore_model::ops::head::{Target, head_loss, logits};
use lore_model::ops::host::{matrix, values};
use lore_model::ops::sequences::Sequences;
use lore_model::projection::LowRank;
use lore_model::sampling::Random;

const ROWS: usize = 24;
/// How far numbers may be apart, relative to the largest of their kind.
const CLOSE: f32 = 1e-4;

/// Factors of each projection's update.
type Factors = BTreeMap<String, [Tensor<2>; 2]>;

fn batch() -> (Arc<Vec<u32>>, Arc<Sequences>, Arc<Vec<u32>>) {
    let ids = |factor: usize| Arc::new((0..ROWS).map(|row| (row * factor % 320) as u32).collect::<Vec<_>>());
    (ids(37), Arc::new(Sequences::whole(&[9, 15])), ids(53))
}

fn first_factors(decoder: &Decoder, device: &Device) -> Factors {
    let projections = decoder.parameters().into_iter().filter_map(|(name, weight)| {
        let path = name.strip_suffix("_proj.weight").map(|path| format!("{path}_proj"))?;
        let [outputs, inputs] = weight.dims();
        let mut random = Random::new(path.bytes().map(u64::from).sum(), 3);
        let mut draw = |rows: usize, columns: usize| {
            matrix((0..rows * columns).map(|_| random.normal() as f32 * 0.2).collect(), rows, columns, device)
        };
        Some((path, [draw(2, inputs), draw(outputs, 2)]))
    });
    projections.collect()
}

/// The loss with these updates, and the gradient of each factor.
fn loss_of(decoder: &Decoder, factors: &Factors) -> (f32, Factors) {
    let mut leaves = Factors::new();
    let model = decoder.with_updates(|path| {
        let [a, b] = factors.get(path)?.clone().map(|factor| Tensor::from_inner(factor).require_grad());
        leaves.insert(path.to_owned(), [a.clone(), b.clone()]);
        Some(LowRank::new(a, b, 0.5))
    });
    assert_eq!(leaves.len(), factors.len(), "every update is used");
    let (tokens, sequences, labels) = batch();
    let weights = Arc::new(vec![1.0 / ROWS as f32; ROWS]);
    let (loss, sums) = head_loss(model.hidden(tokens, sequences), model.head(), Target::Labels(labels), weights);
    let all = loss.backward();
    let gradient = |leaf: Tensor<2>| leaf.grad(&all).expect("every factor has a gradient");
    let gradients = leaves.into_iter().map(|(path, pair)| (path, pair.map(gradient))).collect();
    (sums.loss as f32, gradients)
}

/// Everything that is compared, by name.
fn computed(model: &str, device: &Device) -> BTreeMap<String, Vec<f32>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(model);
    let files = ModelFiles::open(&folder).unwrap();
    let decoder = Decoder::load(&files.config, &*files.weights, device).unwrap();
    let (tokens, sequences, _) = batch();
    let scores = values(&logits(decoder.hidden(tokens, sequences), decoder.head()));
    let factors = first_factors(&decoder, device);
    let (before, gradients) = loss_of(&decoder, &factors);
    let stepped: Factors = factors
        .iter()
        .map(|(path, [a, b])| {
            let [along_a, along_b] = gradients[path].clone();
            (path.clone(), [a.clone() - along_a * 0.1, b.clone() - along_b * 0.1])
        })
        .collect();
    let (after, _) = loss_of(&decoder, &stepped);
    assert!(after < before, "{model}: a step along the gradient takes the loss from {before} to {after}");
    let flat = |factors: &Factors| -> Vec<f32> { factors.values().flatten().flat_map(values).collect() };
    BTreeMap::from([
        ("logits".into(), scores),
        ("losses".into(), vec![before, after]),
        ("gradients".into(), flat(&gradients)),
        ("factors after a step".into(), flat(&stepped)),
    ])
}

#[test]
fn logits_and_a_low_rank_step_are_those_of_the_processor() {
    let gpu = if CUDA { cuda(0) } else { wgpu(None) };
    let gpu = gpu.unwrap_or_else(|absent| panic!("no GPU, and no software that stands for one: {absent}"));
    for model in ["tiny-llama", "tiny-qwen2", "tiny-qwen3"] {
        let (expected, found) = (computed(model, &Device::flex()), computed(model, &gpu));
        for (what, expected) in &expected {
            let found = &found[what];
            assert_eq!(found.len(), expected.len(), "{model}: {what}");
            let largest = expected.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
            let apart = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(found.iter().all(|x| x.is_finite()), "{model}: {what}");
            println!("{model}: {what} differ by {:.1e} of the largest at most", apart / largest);
            assert!(apart <= CLOSE * largest, "{model}: {what} differ by {apart} where the largest is {largest}");
        }
    }
}
