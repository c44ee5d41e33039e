//! What is measured, and how: rounds of one kind of work on a model of random weights.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use burn::tensor::Device;
use lore_datasets::batches::Batch;
use lore_eval::score::{TokenRequest, score};
use lore_model::Decoder;
use lore_model::config::{Architecture, ModelConfig};
use lore_model::generate::{Generation, generate};
use lore_model::ops::host::matrix;
use lore_model::ops::profile;
use lore_model::sampling::{Random, Sampling};
use lore_train::adamw::AdamW;
use lore_train::{Objective, Parameters, TrainConfig, gradients};

use super::profile_table::{ProfileLine, profile_lines};
use crate::error::Result;
use crate::memory::give_back;

/// A model, and how much of a kind of work is one round.
pub(super) struct Work {
    /// What is measured.
    pub(super) decoder: Decoder,
    /// Tokens of a round.
    pub(super) rows: usize,
    /// Tokens of a sequence.
    pub(super) length: usize,
    /// Sequences of a round.
    pub(super) sequences: usize,
    /// Repetitions, of which the first is not counted.
    pub(super) rounds: usize,
    /// Whether it is measured where the time goes.
    pub(super) profile: bool,
}

/// Units per second of each counted round, and where the time of all of them went if that was asked for.
pub(super) struct Measured {
    /// One for each counted round.
    pub(super) rates: Vec<f64>,
    /// By operation.
    pub(super) profile: Vec<ProfileLine>,
}

impl Work {
    fn tokens(&self, seed: u64, count: usize) -> Vec<u32> {
        let mut random = Random::new(seed, 0);
        (0..count).map(|_| (random.bits() % self.decoder.config.vocab_size as u64) as u32).collect()
    }

    /// Whole training steps, the optimiser's update included.
    pub(super) fn steps(&self, mut parameters: Parameters, objective: &dyn Objective) -> Measured {
        let batch = Batch {
            tokens: self.tokens(1, self.rows),
            lengths: vec![self.length; self.sequences],
            targets: self.tokens(2, self.rows),
            mask: vec![1.0; self.rows],
            ..Batch::default()
        };
        let config = TrainConfig::default();
        let mut optimiser = AdamW::new(&parameters);
        // What making random weights took is not the training's.
        give_back();
        self.timed(self.rows, || {
            let (gradients, _) = gradients(&parameters, 0, &batch, 1, objective).expect("every position has a target");
            optimiser.step(&mut parameters, gradients, &config, |_| 1e-5, 1.0);
        })
    }

    /// Texts of which the prompts and one token are read and written, or, with more of them, the tokens after the first.
    ///
    /// # Errors
    /// A model that cannot write.
    pub(super) fn generation(&self, new: usize) -> Result<Measured> {
        let prompts: Vec<Vec<u32>> = (0..self.sequences).map(|i| self.tokens(i as u64, self.length)).collect();
        let how = |max_tokens| Generation { max_tokens, sampling: Sampling::greedy(), seed: 0, stop: Vec::new() };
        if new == 1 {
            return Ok(self.timed(self.rows, || {
                generate(&self.decoder, &prompts, &how(1), |_, _| ControlFlow::Continue(())).expect("prompts that fit");
            }));
        }
        // Only the time after the first token counts, which follows the reading of the prompts.
        let (mut rates, mut whole) = (Vec::new(), Duration::ZERO);
        let mut costs = BTreeMap::new();
        for round in 0..self.rounds {
            let (mut began, mut drawn) = (None, 0usize);
            generate(&self.decoder, &prompts, &how(new), |_, _| {
                drawn += 1;
                if drawn == self.sequences {
                    began = Some(Instant::now());
                    if self.profile && round + 1 == self.rounds {
                        profile::start();
                    }
                }
                ControlFlow::Continue(())
            })?;
            if let Some(began) = began {
                whole = began.elapsed();
                rates.push((drawn - self.sequences) as f64 / whole.as_secs_f64());
            }
            costs = profile::stop();
        }
        let profile = if self.profile { profile_lines(&costs, 1.0, whole) } else { Vec::new() };
        Ok(Measured { rates, profile })
    }

    /// 200 items: a context of 60 tokens and four continuations of 8.
    ///
    /// # Errors
    /// A model that cannot score.
    pub(super) fn scoring(&self) -> Result<Measured> {
        let requests: Vec<TokenRequest> = (0..200)
            .flat_map(|item| {
                let context = self.tokens(item, 60);
                (0..4).map(move |choice| (context.clone(), 1000 + 4 * item + choice))
            })
            .map(|(context, seed)| TokenRequest { context, continuation: self.tokens(seed, 8) })
            .collect();
        score(&self.decoder, &requests[..8], |_| ())?;
        Ok(self.timed(200, || {
            score(&self.decoder, &requests, |_| ()).expect("requests that fit");
        }))
    }

    /// Measures each repetition but the first.
    fn timed(&self, units: usize, mut work: impl FnMut()) -> Measured {
        work();
        if self.profile {
            profile::start();
        }
        let (mut rates, mut whole) = (Vec::new(), Duration::ZERO);
        for _ in 1..self.rounds {
            let began = Instant::now();
            work();
            let elapsed = began.elapsed();
            whole += elapsed;
            rates.push(units as f64 / elapsed.as_secs_f64());
        }
        let profile =
            if self.profile { profile_lines(&profile::stop(), (self.rounds - 1) as f64, whole) } else { Vec::new() };
        Measured { rates, profile }
    }
}

/// The shape of SmolLM2-135M with random weights.
///
/// # Errors
/// A device that has no room for them.
pub(super) fn random_decoder(layers: usize, device: &Device) -> Result<Decoder> {
    let config = ModelConfig {
        architecture: Architecture::Llama,
        hidden_size: 576,
        intermediate_size: 1536,
        num_hidden_layers: layers,
        num_attention_heads: 9,
        num_key_value_heads: 3,
        head_dim: 64,
        vocab_size: 49_152,
        rope_theta: 1e5,
        rope_scaling: None,
        rms_norm_eps: 1e-5,
        tie_word_embeddings: true,
        max_position_embeddings: 8192,
        attention_bias: false,
        qk_norm: false,
        bos_token_id: None,
        eos_token_ids: Vec::new(),
    };
    let mut random = Random::new(7, 7);
    let decoder = Decoder::build(&config, |_, [rows, columns]| {
        let values = (0..rows * columns).map(|_| ((random.uniform() - 0.5) * 0.1) as f32).collect();
        Ok(matrix(values, rows, columns, device))
    })?;
    // The first forward pass is not part of any measurement.
    let warm = Arc::new(lore_model::ops::sequences::Sequences::whole(&[2]));
    let _ = decoder.hidden(Arc::new(vec![0, 1]), warm);
    Ok(decoder)
}
