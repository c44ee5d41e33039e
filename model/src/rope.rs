//! Angular steps of rotary position embedding, with the usual ways to stretch them.

use crate::config::{ModelConfig, RopeScaling};
use std::f64::consts::TAU;

/// Radians per position of each pair of channels, `head_dim / 2` of them.
///
/// Plain: Su et al. 2021. Stretched: position interpolation (Chen et al. 2023) and the scheme of
/// Llama 3.1, which keeps short wavelengths and interpolates between.
pub fn frequencies(config: &ModelConfig) -> Vec<f64> {
    let dim = config.head_dim;
    (0..dim / 2)
        .map(|pair| {
            let plain = config.rope_theta.powf(-((2 * pair) as f64) / dim as f64);
            match &config.rope_scaling {
                None => plain,
                Some(RopeScaling::Linear { factor }) => plain / factor,
                Some(RopeScaling::Llama3 {
                    factor,
                    low_freq_factor,
                    high_freq_factor,
                    original_max_position_embeddings,
                }) => {
                    let turns = *original_max_position_embeddings as f64 * plain / TAU;
                    let kept = (turns - low_freq_factor) / (high_freq_factor - low_freq_factor);
                    let kept = kept.clamp(0.0, 1.0);
                    kept * plain + (1.0 - kept) * plain / factor
                }
            }
        })
        .collect()
}
