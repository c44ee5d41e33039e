//! Which training windows make up each step, as a function of the step's number alone.

use std::sync::Arc;

use crate::batches::{Batch, windows};
use crate::error::{Error, Result};
use crate::token_store::TokenStore;

/// A store and how much of the mixture comes from it.
#[derive(Debug, Clone)]
pub struct Part {
    /// What errors call it.
    pub name: String,
    /// The tokens.
    pub store: Arc<TokenStore>,
    /// Windows from here, relative to the other parts' weights.
    pub weight: f64,
}

/// Batches from several stores, by weight, in a seeded order.
///
/// The position in the data is the step's number: there is no other state, so a run resumes exactly by
/// asking for its next step. Every store's windows are visited in a pseudo-random order, each once per
/// epoch, and in another order in the next; after any number of windows each store has given its weight's
/// share to within one window.
#[derive(Debug, Clone)]
pub struct Mixture {
    parts: Vec<Part>,
    windows: Vec<u64>,
    schedule: Schedule,
    sequence_length: usize,
    sequences_per_batch: usize,
    seed: u64,
}

impl Mixture {
    /// A mixture of windows of `sequence_length` tokens, `sequences_per_batch` to a step.
    ///
    /// # Errors
    /// [`Error::Declaration`] naming every part that has no tokens or no positive weight, and lengths of 0.
    pub fn new(parts: Vec<Part>, sequence_length: usize, sequences_per_batch: usize, seed: u64) -> Result<Self> {
        let mut problems = Vec::new();
        if parts.is_empty() {
            problems.push("no part to mix".to_owned());
        }
        if sequence_length == 0 {
            problems.push("the sequence length is 0".to_owned());
        }
        if sequences_per_batch == 0 {
            problems.push("there are 0 sequences in a batch".to_owned());
        }
        for part in &parts {
            if part.store.tokens().is_empty() {
                problems.push(format!(
                    "`{}` has no tokens (its split `{}` is empty)",
                    part.name,
                    part.store.manifest().split
                ));
            }
            if !(part.weight.is_finite() && part.weight > 0.0) {
                problems
                    .push(format!("the weight of `{}` is {}, but a positive number is needed", part.name, part.weight));
            }
        }
        if !problems.is_empty() {
            return Err(Error::Declaration { what: "mixture of training data".into(), problems });
        }
        let windows = parts.iter().map(|part| windows(&part.store, sequence_length)).collect();
        let weights: Vec<f64> = parts.iter().map(|part| part.weight).collect();
        Ok(Self { windows, schedule: Schedule::new(&weights), parts, sequence_length, sequences_per_batch, seed })
    }

    /// The batch of a step: `sequences_per_batch` windows, one after another.
    pub fn batch(&self, step: u64) -> Batch {
        let mut batch = Batch::default();
        for slot in 0..self.sequences_per_batch as u64 {
            let (part, window) = self.window(step * self.sequences_per_batch as u64 + slot);
            batch.push_window(&self.parts[part].store, self.sequence_length, window);
            batch.parts.resize(batch.lengths.len(), part);
        }
        batch
    }

    /// The part and the window of it that fill a slot; step `s` has the slots
    /// `s · sequences_per_batch ..`.
    pub fn window(&self, slot: u64) -> (usize, u64) {
        let (part, draw) = self.schedule.draw(slot);
        let (epoch, place) = (draw / self.windows[part], draw % self.windows[part]);
        let key = mix(mix(mix(self.seed) ^ part as u64) ^ epoch);
        (part, permute(place, self.windows[part], key))
    }

    /// Steps until every part has been seen whole at least once.
    pub fn steps_per_epoch(&self) -> u64 {
        let last = (0..self.parts.len()).map(|part| self.schedule.slot_of(part, self.windows[part] - 1)).max();
        last.map_or(0, |slot| slot / self.sequences_per_batch as u64 + 1)
    }

    /// Times a part has been seen, whole or in part, before a step.
    pub fn epochs(&self, part: usize, step: u64) -> f64 {
        let drawn = self.schedule.drawn(part, step * self.sequences_per_batch as u64);
        drawn as f64 / self.windows[part] as f64
    }

    /// What is mixed.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// The largest number of tokens of a batch.
    pub fn tokens_per_batch(&self) -> usize {
        self.sequence_length * self.sequences_per_batch
    }
}

/// Slots dealt to parts so that each part's share holds at every prefix. Shares are fractions of one
/// period, after which the same order starts again.
#[derive(Debug, Clone)]
struct Schedule {
    /// The part that fills each slot of a period.
    part: Vec<u32>,
    /// How many slots before this one in the period its part has filled.
    rank: Vec<u32>,
    /// For each part, its slots within a period.
    slots: Vec<Vec<u32>>,
}

/// Shares are rounded to fractions with this denominator where no smaller one fits.
const PERIOD: u64 = 1 << 16;

impl Schedule {
    /// Unit tasks with a period each on one processor, earliest deadline first: job `j` of a part with
    /// `m` slots in a period of `n` is due in the slots `⌊jn/m⌋ .. ⌈(j+1)n/m⌉`. This keeps every part
    /// within one slot of its share (Baruah et al. 1996, "Proportionate progress").
    fn new(weights: &[f64]) -> Self {
        let shares = shares(weights);
        let period: u64 = shares.iter().sum();
        let mut slots: Vec<Vec<u32>> = vec![Vec::new(); shares.len()];
        let (mut part, mut rank) = (Vec::new(), Vec::new());
        for slot in 0..period {
            let due = (0..shares.len())
                .filter(|&i| (slots[i].len() as u64) < shares[i] && slots[i].len() as u64 * period / shares[i] <= slot)
                .min_by_key(|&i| ((slots[i].len() as u64 + 1) * period).div_ceil(shares[i]))
                .expect("the shares fill the period, so some part is always due");
            rank.push(slots[due].len() as u32);
            part.push(due as u32);
            slots[due].push(slot as u32);
        }
        Self { part, rank, slots }
    }

    /// The part that fills a slot, and how many slots it filled before.
    fn draw(&self, slot: u64) -> (usize, u64) {
        let period = self.part.len() as u64;
        let at = (slot % period) as usize;
        let part = self.part[at] as usize;
        (part, slot / period * self.slots[part].len() as u64 + u64::from(self.rank[at]))
    }

    /// How many of the first `slots` slots a part fills.
    fn drawn(&self, part: usize, slots: u64) -> u64 {
        let period = self.part.len() as u64;
        let within = (slots % period) as u32;
        slots / period * self.slots[part].len() as u64 + self.slots[part].partition_point(|&slot| slot < within) as u64
    }

    /// The slot of a part's draw.
    fn slot_of(&self, part: usize, draw: u64) -> u64 {
        let each = self.slots[part].len() as u64;
        draw / each * self.part.len() as u64 + u64::from(self.slots[part][(draw % each) as usize])
    }
}

/// Whole numbers in the proportion of the weights: exact where a small period allows it, else rounded by
/// largest remainder, each at least 1.
fn shares(weights: &[f64]) -> Vec<u64> {
    let total: f64 = weights.iter().sum();
    let exact = (1..=4096u64).find(|&period| {
        weights.iter().all(|weight| {
            let share = weight / total * period as f64;
            share.round() >= 1.0 && (share - share.round()).abs() < 1e-9 * period as f64
        })
    });
    if let Some(period) = exact {
        let shares: Vec<u64> = weights.iter().map(|weight| (weight / total * period as f64).round() as u64).collect();
        if shares.iter().sum::<u64>() == period {
            return shares;
        }
    }
    let ideal: Vec<f64> = weights.iter().map(|weight| weight / total * PERIOD as f64).collect();
    let mut shares: Vec<u64> = ideal.iter().map(|share| (share.floor() as u64).max(1)).collect();
    let mut order: Vec<usize> = (0..weights.len()).collect();
    order.sort_by(|&a, &b| ideal[b].fract().total_cmp(&ideal[a].fract()).then(a.cmp(&b)));
    for &i in order.iter().cycle().take(PERIOD as usize) {
        if shares.iter().sum::<u64>() >= PERIOD {
            break;
        }
        shares[i] += 1;
    }
    shares
}

/// A pseudo-random permutation of `0 .. count`: a Feistel network over the next power of four, walked
/// until it lands inside (Black and Rogaway 2002, "Ciphers with arbitrary finite domains").
fn permute(index: u64, count: u64, key: u64) -> u64 {
    debug_assert!(index < count);
    let bits = (u64::BITS - (count - 1).leading_zeros()).max(2);
    let half = bits.div_ceil(2);
    let low = (1u64 << half) - 1;
    let mut value = index;
    loop {
        let (mut left, mut right) = (value >> half, value & low);
        for round in 0..6 {
            (left, right) = (right, left ^ (mix(key ^ mix(right | round << 56)) & low));
        }
        value = left << half | right;
        if value < count {
            return value;
        }
    }
}

/// The finaliser of SplitMix64 (Steele, Lea and Flood 2014).
fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permutations_hold_every_index_once_and_differ_by_key() {
        for count in [1, 2, 3, 5, 16, 17, 1000] {
            let mut seen: Vec<u64> = (0..count).map(|i| permute(i, count, 7)).collect();
            if count == 1000 {
                assert_ne!(seen, (0..count).map(|i| permute(i, count, 8)).collect::<Vec<_>>());
                let still = seen.iter().enumerate().filter(|(i, v)| *i as u64 == **v).count();
                assert!(still < 12, "{still} of 1000 stay in place, 1 is expected");
            }
            seen.sort_unstable();
            assert_eq!(seen, (0..count).collect::<Vec<_>>());
        }
    }

    #[test]
    fn shares_hold_within_one_slot_at_every_prefix() {
        for weights in [
            vec![1.0],
            vec![0.9, 0.1],
            vec![1.0, 1.0, 1.0],
            vec![0.5, 0.3, 0.15, 0.05],
            vec![0.317, 0.411, 0.2719],
            vec![1e-9, 1.0],
        ] {
            let schedule = Schedule::new(&weights);
            let period = schedule.part.len() as f64;
            let mut counts = vec![0u64; weights.len()];
            for slot in 0..2 * schedule.part.len() as u64 {
                let (part, draw) = schedule.draw(slot);
                assert_eq!(draw, counts[part]);
                assert_eq!(schedule.slot_of(part, draw), slot);
                counts[part] += 1;
                for (i, &count) in counts.iter().enumerate() {
                    assert_eq!(schedule.drawn(i, slot + 1), count);
                    let share = schedule.slots[i].len() as f64 / period * (slot + 1) as f64;
                    assert!((count as f64 - share).abs() < 1.0, "{weights:?}: part {i} at {slot}");
                }
            }
        }
    }

    #[test]
    fn simple_weights_have_small_exact_shares() {
        assert_eq!(shares(&[0.9, 0.1]), [9, 1]);
        assert_eq!(shares(&[2.0, 2.0, 2.0]), [1, 1, 1]);
        assert_eq!(shares(&[0.317, 0.683]), [317, 683]);
        let odd = shares(&[std::f64::consts::E, std::f64::consts::PI]);
        assert!((odd[0] as f64 / (odd[0] + odd[1]) as f64 - 0.463_909).abs() < 2e-4, "{odd:?}");
    }
}
