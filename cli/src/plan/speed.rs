//! How fast the device of a run multiplies matrices: what a plan's times are made of.

use std::fmt;
use std::time::{Duration, Instant};

use burn::tensor::Device;
use lore_model::ops::host::{matrix, values};
use lore_model::ops::precision::Precision;
use lore_model::ops::projection::linear;

/// Share of these products' speed that is reached, everything else included: 0.71 by the training of a module on two cores with
/// AVX2 (EXPERIMENTS.md).
const SHARE: f64 = 0.7;

/// For how long products of one kind are made.
const MEASURING: Duration = Duration::from_millis(150);

/// Rows, inputs and outputs of the products: a feed-forward projection of a small base, for a batch of 8 times 256 tokens.
const SHAPE: [usize; 3] = [2048, 576, 1536];

/// Floating-point operations per second of products, by their precision.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Speed {
    f32: f64,
    bf16: f64,
}

impl Speed {
    /// Makes products on a device, with all threads of this process, for a third of a second. What else runs on the machine
    /// counts.
    pub fn measured(device: &Device) -> Self {
        let f32 = products(Precision::F32, device);
        // Where bfloat16 is not multiplied faster, nothing is rounded and the same is measured twice.
        Self { f32, bf16: products(Precision::Bf16, device).max(f32) }
    }

    /// Seconds for a number of operations.
    pub(super) fn seconds(&self, operations: f64, precision: Precision) -> f64 {
        operations / (self.of(precision) * SHARE)
    }

    /// Operations per second of products alone.
    pub fn of(&self, precision: Precision) -> f64 {
        match precision {
            Precision::F32 => self.f32,
            Precision::Bf16 => self.bf16,
        }
    }
}

impl fmt::Display for Speed {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "times: matrix products of this device just now reached {:.0} GFLOP/s in f32, {:.0} with `precision = \"bf16\"`; \
             {:.0} % of that is reckoned with",
            self.f32 / 1e9,
            self.bf16 / 1e9,
            SHARE * 100.0
        )
    }
}

/// The fastest of the products that fit into the time: what slows one down is not the machine.
fn products(precision: Precision, device: &Device) -> f64 {
    let [rows, inputs, outputs] = SHAPE;
    let ramp = |rows: usize| {
        let values = (0..rows * inputs).map(|at| (at % 31) as f32 / 31.0 - 0.5).collect();
        matrix(values, rows, inputs, device)
    };
    let (x, w) = (ramp(rows), ramp(outputs));
    let started = Instant::now();
    let mut fastest = f64::INFINITY;
    // The first one is not counted: it wakes threads, or compiles a kernel.
    for round in 0.. {
        let before = Instant::now();
        let product = precision.during(|| linear(x.clone(), w.clone()));
        // A GPU is finished only when something is read of it.
        values(&product.slice([0..1, 0..1]));
        if round > 0 {
            fastest = fastest.min(before.elapsed().as_secs_f64());
            if started.elapsed() > MEASURING {
                break;
            }
        }
    }
    2.0 * (rows * inputs * outputs) as f64 / fastest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_operations_by_a_share_of_the_speed_of_their_precision() {
        let speed = Speed { f32: 1e9, bf16: 4e9 };
        assert!((speed.seconds(7e9, Precision::F32) - 10.0).abs() < 1e-9);
        assert!((speed.seconds(7e9, Precision::Bf16) - 2.5).abs() < 1e-9);
    }

    #[test]
    fn this_machine_has_a_speed() {
        let speed = Speed::measured(&Device::flex());
        for precision in [Precision::F32, Precision::Bf16] {
            assert!(speed.of(precision).is_finite() && speed.of(precision) > 0.0, "{speed:?}");
        }
    }
}
