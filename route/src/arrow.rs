//! Arrow prototypes: what a module's own matrices say of the inputs it was trained on.
//!
//! Ostapenko et al. 2024 (<https://arxiv.org/abs/2405.11157>): the input direction that an update stretches most, its
//! first right singular vector, stands for the inputs the module learnt from; a state is the module's as far as it lies
//! along that direction, whichever way it points. Updates that read the same input, of queries, keys and values or of
//! gate and up, share one direction here. No text is needed.

use std::collections::BTreeMap;
use std::sync::Arc;

use lore_model::Decoder;
use lore_model::block::Place;
use lore_model::ops::host::values;
use lore_model::ops::sequences::Sequences;
use lore_modules::Adapter;
use lore_modules::delta::{Factors, Keep};
use nalgebra::DMatrix;

use crate::error::Error;

/// Prototypes by block, counted from the input, and place; each of length 1, `[hidden]`.
pub type Prototypes = BTreeMap<(usize, Input), Vec<f32>>;

/// An input that several projections of a block read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Input {
    /// Of queries, keys and values.
    Attention,
    /// Of gate and up.
    FeedForward,
}

impl Input {
    /// Both, as their names in files go.
    pub const ALL: [(Self, &'static str); 2] = [(Self::Attention, "attention"), (Self::FeedForward, "feed_forward")];

    fn of_projection(name: &str) -> Option<Self> {
        match name {
            "self_attn.q_proj" | "self_attn.k_proj" | "self_attn.v_proj" => Some(Self::Attention),
            "mlp.gate_proj" | "mlp.up_proj" => Some(Self::FeedForward),
            _ => None,
        }
    }

    fn of_place(place: Place) -> Option<Self> {
        match place {
            Place::AttentionInput => Some(Self::Attention),
            Place::FeedForwardInput => Some(Self::FeedForward),
            Place::Heads | Place::Channels => None,
        }
    }
}

/// The prototypes of a module; none for blocks whose inputs it leaves alone.
///
/// # Errors
/// Factors whose singular values cannot be found.
pub fn prototypes(module: &Adapter) -> Result<Prototypes, Error> {
    let mut groups: BTreeMap<(usize, Input), Vec<Factors>> = BTreeMap::new();
    for (path, update) in &module.updates {
        let place = path.strip_prefix("model.layers.").and_then(|rest| rest.split_once('.'));
        let Some((layer, name)) = place.and_then(|(layer, name)| Some((layer.parse().ok()?, name))) else { continue };
        if let Some(input) = Input::of_projection(name) {
            groups.entry((layer, input)).or_default().push(Factors::of(update, 1.0));
        }
    }
    let mut found = Prototypes::new();
    for (place, parts) in groups {
        let singular = stacked(&parts).singular(Keep::Rank(1))?;
        if singular.kept() == 1 {
            found.insert(place, singular.v.column(0).iter().map(|&x| x as f32).collect());
        }
    }
    Ok(found)
}

/// Changes that read the same input, one above the other.
fn stacked(parts: &[Factors]) -> Factors {
    let outputs: usize = parts.iter().map(|part| part.left.nrows()).sum();
    let ranks: usize = parts.iter().map(|part| part.left.ncols()).sum();
    let mut left = DMatrix::zeros(outputs, ranks);
    let mut right = DMatrix::zeros(ranks, parts[0].right.ncols());
    let (mut row, mut column) = (0, 0);
    for part in parts {
        left.view_mut((row, column), part.left.shape()).copy_from(&part.left);
        right.view_mut((column, 0), part.right.shape()).copy_from(&part.right);
        row += part.left.nrows();
        column += part.left.ncols();
    }
    Factors { left, right }
}

/// How far the states of each passage lie along each module's prototypes: the mean over tokens and prototypes of
/// `|cos|`, in `[0, 1]`; one list for each passage, in the order of the modules. Each passage begins with the token that
/// begins a text, which is left out where others follow.
///
/// # Panics
/// When a passage is empty or longer than the base's positions, or a prototype is not as wide as the base.
pub fn scores(base: &Decoder, passages: &[Vec<u32>], modules: &[&Prototypes]) -> Vec<Vec<f64>> {
    let base = base.with_updates(|_| None);
    passages.iter().map(|passage| one(&base, passage, modules)).collect()
}

fn one(base: &Decoder, passage: &[u32], modules: &[&Prototypes]) -> Vec<f64> {
    let width = base.config.hidden_size;
    let skipped = usize::from(passage.len() > 1);
    let mut sums = vec![(0.0_f64, 0_usize); modules.len()];
    let sequences = Arc::new(Sequences::whole(&[passage.len()]));
    base.watched(Arc::new(passage.to_vec()), sequences, &mut |layer, place, states| {
        let Some(input) = Input::of_place(place) else { return };
        let wanted: Vec<Option<&Vec<f32>>> = modules.iter().map(|module| module.get(&(layer, input))).collect();
        if wanted.iter().all(Option::is_none) {
            return;
        }
        for row in values(states).chunks_exact(width).skip(skipped) {
            let length = dot(row, row).sqrt().max(f64::MIN_POSITIVE);
            for ((sum, count), prototype) in sums.iter_mut().zip(&wanted) {
                let Some(prototype) = prototype else { continue };
                assert_eq!(prototype.len(), width, "a prototype as wide as the base");
                *sum += dot(row, prototype).abs() / length;
                *count += 1;
            }
        }
    });
    sums.into_iter().map(|(sum, count)| if count == 0 { 0.0 } else { sum / count as f64 }).collect()
}

pub(crate) fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}
