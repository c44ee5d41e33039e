//! Weights of modules, learnt from a few texts without gradients, as LoraHub does (arXiv 2307.13269): what the modules
//! together make of the texts, and a small price for each weight.

/// What a weight of 1 for every module costs, in the unit of the loss (nats per token, as in the paper).
pub const PENALTY: f64 = 0.05;
/// Weights stay between this and its negative, as in the paper.
pub const LIMIT: f64 = 1.5;
/// The first step, and the one at which the search ends.
const STEPS: [f64; 2] = [0.4, 0.05];

/// What was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Learnt {
    /// A weight for each module.
    pub weights: Vec<f64>,
    /// The loss of these weights.
    pub loss: f64,
    /// The loss of the weights that the search began with.
    pub before: f64,
    /// How often the loss was asked for.
    pub evaluations: usize,
}

/// Compass search (Kolda, Lewis and Torczon, 2003) from `start`: each weight in turn is moved a step up or down and stays
/// where that lowers the loss and its price; when no move does, the step is halved. It always gives the same for the same
/// losses, and ends after `most` evaluations at the latest.
///
/// # Errors
/// The first error of `loss`.
pub fn learn<E>(start: &[f64], most: usize, mut loss: impl FnMut(&[f64]) -> Result<f64, E>) -> Result<Learnt, E> {
    let price = |weights: &[f64]| PENALTY * weights.iter().map(|w| w.abs()).sum::<f64>() / weights.len().max(1) as f64;
    let mut best = Learnt { weights: start.to_vec(), loss: f64::NAN, before: loss(start)?, evaluations: 1 };
    best.loss = best.before;
    let mut step = STEPS[0];
    while step >= STEPS[1] {
        let mut moved = false;
        for place in 0..start.len() {
            for direction in [step, -step] {
                let mut weights = best.weights.clone();
                weights[place] = (weights[place] + direction).clamp(-LIMIT, LIMIT);
                if weights == best.weights {
                    continue;
                }
                if best.evaluations >= most {
                    return Ok(best);
                }
                best.evaluations += 1;
                let found = loss(&weights)?;
                // Not where it is no number.
                if found + price(&weights) < best.loss + price(&best.weights) {
                    (best.weights, best.loss, moved) = (weights, found, true);
                    break;
                }
            }
        }
        if !moved {
            step /= 2.0;
        }
    }
    Ok(best)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::convert::Infallible;

    use super::*;

    fn bowl(weights: &[f64]) -> Result<f64, Infallible> {
        // Lowest at (0.9, -0.3, 0), by hand; the first two lean on each other.
        let [a, b, c] = [weights[0] - 0.9, weights[1] + 0.3, weights[2]];
        Ok(a * a + b * b + 0.5 * a * b + c * c)
    }

    #[test]
    fn it_finds_the_lowest_place() {
        let found = learn(&[1.0 / 3.0; 3], 500, bowl).unwrap();
        for (weight, expected) in found.weights.iter().zip([0.9, -0.3, 0.0]) {
            assert!((weight - expected).abs() < 0.1, "{found:?}");
        }
        assert!(found.loss < 0.02 && found.loss < found.before && found.evaluations < 200, "{found:?}");
        assert_eq!(found, learn(&[1.0 / 3.0; 3], 500, bowl).unwrap());
    }

    #[test]
    fn it_stays_inside_its_limits_and_what_does_nothing_gets_nothing() {
        let found = learn(&[0.5, 0.5], 500, |w| Ok::<_, Infallible>(-w[0])).unwrap();
        assert_eq!(found.weights[0], LIMIT);
        assert!(found.weights[1].abs() <= STEPS[1], "{found:?}");
        let asked = std::cell::Cell::new(0);
        let count = |w: &[f64]| {
            asked.set(asked.get() + 1);
            bowl(&[w[0], w[1], 0.0])
        };
        let found = learn(&[0.0, 0.0], 7, count).unwrap();
        assert_eq!((found.evaluations, asked.get()), (7, 7));
        assert!(found.loss <= found.before);
    }

    #[test]
    fn a_loss_that_is_no_number_is_never_chosen() {
        let found =
            learn(&[0.2], 100, |w| Ok::<_, Infallible>(if w[0] > 0.2 { f64::NAN } else { 0.2 - w[0] })).unwrap();
        assert_eq!((found.weights[0], found.loss), (0.2, 0.0));
    }
}
