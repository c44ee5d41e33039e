//! What a training run is told: length, batch, optimiser and schedule.

use lore_model::ops::precision::Precision;
use serde::{Deserialize, Serialize};

/// Settings of one training run, shared by distillation and fine-tuning.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainConfig {
    /// Optimiser steps.
    pub steps: u64,
    /// Sequences in one optimiser step.
    pub batch_sequences: usize,
    /// Tokens in one sequence.
    pub sequence_length: usize,
    /// Parts a batch is computed in; the gradient does not depend on it.
    pub accumulate: usize,
    /// Peak learning rate.
    pub learning_rate: f64,
    /// Steps of linear warm-up from zero to the peak.
    pub warmup_steps: u64,
    /// The cosine decay ends at this fraction of the peak.
    pub final_fraction: f64,
    /// AdamW's decoupled weight decay (not applied to vectors).
    pub weight_decay: f64,
    /// AdamW's first-moment decay.
    pub beta1: f64,
    /// AdamW's second-moment decay.
    pub beta2: f64,
    /// AdamW's denominator term.
    pub eps: f64,
    /// Gradients are scaled down to this global norm; absent means never.
    pub clip_norm: Option<f64>,
    /// Steps between checkpoints.
    pub checkpoint_every: u64,
    /// Compute each block's inside again in the backward pass instead of keeping it: slower, in less memory.
    pub recompute: bool,
    /// What the factors of large matrix products are rounded to.
    pub precision: Precision,
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            steps: 100,
            batch_sequences: 8,
            sequence_length: 256,
            accumulate: 1,
            learning_rate: 5e-4,
            warmup_steps: 10,
            final_fraction: 0.1,
            weight_decay: 0.0,
            beta1: 0.9,
            beta2: 0.95,
            eps: 1e-8,
            clip_norm: Some(1.0),
            checkpoint_every: 20,
            recompute: false,
            precision: Precision::F32,
        }
    }
}
