//! AdamW (Loshchilov and Hutter 2019), one pass over memory.

use super::vectorised;
use rayon::prelude::*;

/// One step's constants.
#[derive(Clone, Copy, Debug)]
pub struct AdamWStep {
    /// Learning rate of this step.
    pub learning_rate: f32,
    /// First-moment decay.
    pub beta1: f32,
    /// Second-moment decay.
    pub beta2: f32,
    /// Denominator term, added after the bias-corrected square root.
    pub eps: f32,
    /// Decoupled weight decay.
    pub weight_decay: f32,
    /// `1 − beta1^t`.
    pub bias1: f32,
    /// `1 − beta2^t`.
    pub bias2: f32,
    /// Factor on every gradient (global-norm clipping).
    pub gradient_scale: f32,
}

vectorised! {
    fn update(weights: &mut [f32], first: &mut [f32], second: &mut [f32], gradient: &[f32], step: AdamWStep) {
        let correction = 1.0 / step.bias2.sqrt();
        let rate = step.learning_rate / step.bias1;
        let keep = 1.0 - step.learning_rate * step.weight_decay;
        for i in 0..gradient.len() {
            let g = gradient[i] * step.gradient_scale;
            let m = step.beta1 * first[i] + (1.0 - step.beta1) * g;
            let v = step.beta2 * second[i] + (1.0 - step.beta2) * g * g;
            first[i] = m;
            second[i] = v;
            weights[i] = weights[i] * keep - rate * m / (v.sqrt() * correction + step.eps);
        }
    }
}

/// Updates `weights` and both moments in place.
///
/// # Panics
/// When the four slices differ in length.
pub fn adamw(weights: &mut [f32], first: &mut [f32], second: &mut [f32], gradient: &[f32], step: AdamWStep) {
    assert!(
        weights.len() == gradient.len() && first.len() == gradient.len() && second.len() == gradient.len(),
        "one moment pair and one gradient per weight"
    );
    const CHUNK: usize = 32_768;
    weights
        .par_chunks_mut(CHUNK)
        .zip(first.par_chunks_mut(CHUNK))
        .zip(second.par_chunks_mut(CHUNK))
        .zip(gradient.par_chunks(CHUNK))
        .for_each(|(((w, m), v), g)| update(w, m, v, g, step));
}
