//! Who is better, and what cannot be told apart.
//!
//! A model's score is the mean of its tasks' figures, each in units in which a difference is comparable. All models are
//! resampled together (the same items drawn anew for all of them, within each task), so that every pair is compared by
//! the paired bootstrap; on a single task of right and wrong answers McNemar's exact test is used. P-values of all
//! pairs are corrected by Holm's method; a group of equals begins with its best model and ends where one differs from
//! it.

use lore_eval::comparison::LEVEL;
use lore_eval::statistics::{Discordant, holm, mcnemar, minimum_detectable_effect, tie_groups};
use lore_model::sampling::Random;
use rayon::prelude::*;

/// With a task of fewer items, nothing is said beyond what the resamples themselves resolve: the mean of all tasks is no
/// more normal than the smallest of them.
const FEW_ITEMS: usize = 50;

/// Figures of all models on all tasks; every model has every item.
#[derive(Debug, Clone)]
pub struct Table {
    /// At least one.
    pub tasks: Vec<TaskTable>,
}

/// Figures of all models on one task.
#[derive(Debug, Clone)]
pub struct TaskTable {
    /// By model, then item; more is better.
    pub values: Vec<Vec<f64>>,
    /// What the sum over items is divided by.
    pub weights: Vec<f64>,
    /// What the figure is divided by.
    pub scale: f64,
}

/// Two models.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pair {
    /// Second less first.
    pub difference: f64,
    /// Of the difference.
    pub standard_error: f64,
    /// Holds the true difference 19 times out of 20, seen alone.
    pub interval: [f64; 2],
    /// Two-sided.
    pub p_value: f64,
    /// Corrected for all pairs of the board.
    pub adjusted: f64,
}

impl Pair {
    /// Whether the two differ.
    pub fn differs(&self) -> bool {
        self.adjusted <= LEVEL && self.difference != 0.0
    }

    /// The smallest true difference that so many items would show, four times out of five.
    pub fn detectable(&self) -> f64 {
        minimum_detectable_effect(self.standard_error)
    }

    fn turned(self) -> Self {
        let [low, high] = self.interval;
        Self { difference: -self.difference, interval: [-high, -low], ..self }
    }
}

/// All models, compared with each other.
#[derive(Debug, Clone)]
pub struct Ranking {
    /// Of each model.
    pub scores: Vec<f64>,
    /// Of each model; 0 is the best group.
    pub groups: Vec<usize>,
    /// Of models `a < b`, in the order (0, 1), (0, 2), (1, 2), (0, 3), …
    pairs: Vec<Pair>,
    /// The test of every pair.
    pub test: &'static str,
}

impl Ranking {
    /// Compares all models.
    ///
    /// # Panics
    /// When there is no task, or a model lacks an item.
    pub fn of(table: &Table, resamples: usize, seed: u64) -> Self {
        let models = table.tasks.first().expect("at least one task").values.len();
        let scores: Vec<f64> = (0..models).map(|model| table.score(model)).collect();
        let drawn = table.resample(resamples, seed);
        let places: Vec<(usize, usize)> = (0..models).flat_map(|b| (0..b).map(move |a| (a, b))).collect();
        let fewest = table.tasks.iter().map(|task| task.weights.len()).min().unwrap_or(0);
        let answers = table.answers();
        let mut pairs: Vec<Pair> = places
            .par_iter()
            .map(|&(a, b)| {
                let mut pair = bootstrap_pair(scores[b] - scores[a], &drawn[a], &drawn[b], fewest);
                if table.tasks.iter().all(|task| task.values[a] == task.values[b]) {
                    pair =
                        Pair { difference: 0.0, standard_error: 0.0, interval: [0.0; 2], p_value: 1.0, adjusted: 1.0 };
                } else if let Some(task) = answers {
                    pair.p_value = mcnemar(Discordant::of(&task.values[a], &task.values[b]));
                }
                pair
            })
            .collect();
        let adjusted = holm(&pairs.iter().map(|pair| pair.p_value).collect::<Vec<f64>>());
        for (pair, adjusted) in pairs.iter_mut().zip(adjusted) {
            pair.adjusted = adjusted;
        }
        let groups = tie_groups(&scores, |a, b| pairs[place(a, b)].differs());
        let test = if answers.is_some() { "McNemar's exact test" } else { "the paired bootstrap" };
        Self { scores, groups, pairs, test }
    }

    /// Model `b` against model `a`; nothing for a model against itself.
    pub fn pair(&self, a: usize, b: usize) -> Option<Pair> {
        match a.cmp(&b) {
            std::cmp::Ordering::Less => Some(self.pairs[place(a, b)]),
            std::cmp::Ordering::Equal => None,
            std::cmp::Ordering::Greater => Some(self.pairs[place(a, b)].turned()),
        }
    }

    /// Whether any two models are told apart.
    pub fn any_differs(&self) -> bool {
        self.pairs.iter().any(Pair::differs)
    }
}

/// Where the pair of two different models is kept.
fn place(a: usize, b: usize) -> usize {
    let (low, high) = (a.min(b), a.max(b));
    high * (high - 1) / 2 + low
}

impl Table {
    fn score(&self, model: usize) -> f64 {
        let figure = |task: &TaskTable| {
            let total: f64 = task.weights.iter().sum();
            task.values[model].iter().sum::<f64>() / total / task.scale
        };
        self.tasks.iter().map(figure).sum::<f64>() / self.tasks.len() as f64
    }

    /// The only task, if its figures are right or wrong answers.
    fn answers(&self) -> Option<&TaskTable> {
        let [task] = self.tasks.as_slice() else { return None };
        let counted = |value: &f64| *value == 0.0 || *value == 0.5 || *value == 1.0;
        let all = task.values.iter().flatten().all(counted) && task.weights.iter().all(|weight| *weight == 1.0);
        all.then_some(task)
    }

    /// Scores of each model under each resample.
    fn resample(&self, resamples: usize, seed: u64) -> Vec<Vec<f64>> {
        let models = self.tasks[0].values.len();
        let observed: Vec<Vec<f64>> = self
            .tasks
            .iter()
            .map(|task| {
                let total: f64 = task.weights.iter().sum();
                task.values.iter().map(|values| values.iter().sum::<f64>() / total).collect()
            })
            .collect();
        let by_resample: Vec<Vec<f64>> = (0..resamples)
            .into_par_iter()
            .map(|resample| {
                let mut random = Random::new(seed, resample as u64);
                let mut scores = vec![0.0; models];
                for (task, observed) in self.tasks.iter().zip(&observed) {
                    let count = task.weights.len();
                    let mut times = vec![0.0f64; count];
                    for _ in 0..count {
                        // The product of two 32-bit numbers picks one evenly.
                        times[(((random.bits() >> 32) * count as u64) >> 32) as usize] += 1.0;
                    }
                    let bottom: f64 = times.iter().zip(&task.weights).map(|(times, weight)| times * weight).sum();
                    // The spread of resampled means is that of a sample divided by n, not by n − 1.
                    let widen = if count > 1 { (count as f64 / (count - 1) as f64).sqrt() } else { 1.0 };
                    let share = 1.0 / (task.scale * self.tasks.len() as f64);
                    for ((score, values), observed) in scores.iter_mut().zip(&task.values).zip(observed) {
                        let top: f64 = times.iter().zip(values).map(|(times, value)| times * value).sum();
                        *score += share * (observed + (top / bottom - observed) * widen);
                    }
                }
                scores
            })
            .collect();
        // A model's resamples one after another: pairs go through them.
        (0..models).into_par_iter().map(|model| by_resample.iter().map(|scores| scores[model]).collect()).collect()
    }
}

fn bootstrap_pair(difference: f64, a: &[f64], b: &[f64], fewest: usize) -> Pair {
    let mut drawn: Vec<f64> = a.iter().zip(b).map(|(a, b)| b - a).collect();
    let count = drawn.len();
    let (mut below, mut above, mut squares) = (0usize, 0usize, 0.0);
    for value in &drawn {
        below += usize::from(*value <= 0.0);
        above += usize::from(*value >= 0.0);
        squares += (value - difference).powi(2);
    }
    let standard_error = (squares / count as f64).sqrt();
    let few = below.min(above);
    let floor = 2.0 * (few + 1) as f64 / (count + 1) as f64;
    // No resample crossed zero: how far beyond, only the normal approximation can say.
    let beyond = few == 0 && fewest >= FEW_ITEMS && standard_error > 0.0;
    let p_value = if beyond { floor.min(2.0 * normal_tail(difference.abs() / standard_error)) } else { floor.min(1.0) };
    let mut at = |share: f64| {
        let place = (share * (count - 1) as f64).round() as usize;
        *drawn.select_nth_unstable_by(place, f64::total_cmp).1
    };
    let interval = [at(0.025), at(0.975)];
    Pair { difference, standard_error, interval, p_value, adjusted: p_value }
}

/// How likely a standard normal number is to exceed `z` (Abramowitz and Stegun 1964, 26.2.11 below 2 and 26.2.14 beyond;
/// relative error below 1e-6).
pub fn normal_tail(z: f64) -> f64 {
    if z < 0.0 {
        return 1.0 - normal_tail(-z);
    }
    let density = (-0.5 * z * z).exp() / std::f64::consts::TAU.sqrt();
    if z < 2.0 {
        // The series of the distribution function about zero.
        let (mut term, mut sum) = (z, z);
        for k in 1..100 {
            term *= z * z / (2 * k + 1) as f64;
            sum += term;
        }
        return 0.5 - density * sum;
    }
    let mut fraction = 0.0;
    for k in (1..=60).rev() {
        fraction = f64::from(k) / (z + fraction);
    }
    density / (z + fraction)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tails_are_those_of_the_normal_distribution() {
        // scipy.stats.norm.sf
        let known = [
            (0.0, 0.5),
            (1.0, 0.158_655_253_931_457_05),
            (1.959_963_984_540_054, 0.025),
            (2.0, 0.022_750_131_948_179_195),
            (5.0, 2.866_515_718_791_939e-7),
            (10.0, 7.619_853_024_160_527e-24),
        ];
        for (z, tail) in known {
            assert!((normal_tail(z) / tail - 1.0).abs() < 1e-6, "{z}: {}", normal_tail(z));
        }
    }

    fn table(models: &[Vec<f64>]) -> Table {
        let weights = vec![1.0; models[0].len()];
        Table { tasks: vec![TaskTable { values: models.to_vec(), weights, scale: 1.0 }] }
    }

    #[test]
    fn pairs_agree_with_the_bootstrap_of_two_models() {
        let mut random = Random::new(3, 0);
        let a: Vec<f64> = (0..200).map(|_| random.normal()).collect();
        let b: Vec<f64> = a.iter().map(|a| a + 0.12 + 0.8 * random.normal()).collect();
        let expected = lore_eval::statistics::Bootstrap { resamples: 20_000, seed: 1 }.compare(&a, &b, &[1.0; 200]);
        let ranking = Ranking::of(&table(&[a, b]), 20_000, 2);
        let found = ranking.pair(0, 1).expect("two models");
        assert!((found.difference - expected.difference).abs() < 1e-12);
        assert!((found.p_value - expected.p_value).abs() < 0.01, "{found:?} {expected:?}");
        assert!((found.standard_error / expected.standard_error.expect("many") - 1.0).abs() < 0.03);
        for (found, expected) in found.interval.iter().zip(expected.interval) {
            assert!((found - expected).abs() < 0.01, "{found} {expected}");
        }
        let back = ranking.pair(1, 0).expect("two models");
        assert_eq!((back.difference, back.interval[0]), (-found.difference, -found.interval[1]));
    }

    #[test]
    fn answers_of_one_task_are_counted_exactly() {
        let a = vec![0.0; 60];
        let b: Vec<f64> = (0..60).map(|i| f64::from(u8::from(i < 10))).collect();
        let ranking = Ranking::of(&table(&[a, b]), 1000, 0);
        assert_eq!(ranking.test, "McNemar's exact test");
        // Ten of ten discordant: 2/1024.
        assert!((ranking.pair(0, 1).expect("two").p_value - 2.0 / 1024.0).abs() < 1e-15);
        assert_eq!(ranking.groups, [1, 0]);
    }

    #[test]
    fn a_few_texts_are_not_more_certain_beside_many_questions() {
        let many = TaskTable { values: vec![vec![0.0; 200]; 2], weights: vec![1.0; 200], scale: 1.0 };
        let few = vec![vec![0.0; 5], vec![1.0, 1.1, 0.9, 1.05, 0.95]];
        let few = TaskTable { values: few, weights: vec![1.0; 5], scale: 1.0 };
        let ranking = Ranking::of(&Table { tasks: vec![many, few] }, 1000, 0);
        assert_eq!(ranking.pair(0, 1).expect("two").p_value, 2.0 / 1001.0);
    }

    #[test]
    fn tasks_count_alike_whatever_their_size() {
        let large = TaskTable { values: vec![vec![0.0; 90], vec![1.0; 90]], weights: vec![1.0; 90], scale: 1.0 };
        // Nats over bytes: 4 of 8 against 6 of 8, in units of the base's.
        let small = TaskTable { values: vec![vec![-2.0, -2.0], vec![-3.0, -3.0]], weights: vec![4.0, 4.0], scale: 0.5 };
        let ranking = Ranking::of(&Table { tasks: vec![large, small] }, 1000, 0);
        assert!((ranking.scores[1] - ranking.scores[0] - (1.0 - 0.5) / 2.0).abs() < 1e-12, "{:?}", ranking.scores);
    }
}
