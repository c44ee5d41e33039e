//! The learning rate of each step.

use crate::TrainConfig;

/// Linear warm-up to the peak, then a cosine to `final_fraction` of it at the last step
/// (Loshchilov and Hutter 2017). Steps count from 0.
pub fn learning_rate(config: &TrainConfig, step: u64) -> f64 {
    let peak = config.learning_rate;
    if step < config.warmup_steps {
        return peak * (step + 1) as f64 / config.warmup_steps as f64;
    }
    let after = config.steps.saturating_sub(config.warmup_steps + 1);
    if after == 0 {
        return peak;
    }
    let progress = (step - config.warmup_steps) as f64 / after as f64;
    let cosine = (1.0 + (std::f64::consts::PI * progress.min(1.0)).cos()) / 2.0;
    peak * (config.final_fraction + (1.0 - config.final_fraction) * cosine)
}

#[cfg(test)]
mod tests {
    use super::learning_rate;
    use crate::TrainConfig;

    #[test]
    fn warms_up_peaks_and_decays_to_the_fraction() {
        let config = TrainConfig {
            steps: 21,
            warmup_steps: 10,
            learning_rate: 1.0,
            final_fraction: 0.1,
            ..TrainConfig::default()
        };
        assert_eq!(learning_rate(&config, 0), 0.1);
        assert_eq!(learning_rate(&config, 9), 1.0);
        assert_eq!(learning_rate(&config, 10), 1.0);
        assert!((learning_rate(&config, 15) - 0.55).abs() < 1e-12);
        assert!((learning_rate(&config, 20) - 0.1).abs() < 1e-12);
    }
}
