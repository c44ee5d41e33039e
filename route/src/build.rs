//! Making an entry: from text of a topic and of general English, and the module itself.

use lore_model::Decoder;
use lore_model::fingerprint::Fingerprint;

use crate::arrow::Prototypes;
use crate::entry::{Entry, PASSAGES};
use crate::error::Error;
use crate::reader::{Reader, View};
use crate::router::Router;
use crate::words::{self, Counts};

/// What of a base is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// States after so many blocks.
    pub layer: usize,
    /// So many tokens of a passage's beginning.
    pub tokens: usize,
}

impl Settings {
    /// Half-way up, and the first 256 tokens, or as many as the base has positions for.
    pub fn of(base: &Decoder) -> Self {
        Self { layer: base.blocks.len().div_ceil(2), tokens: 256.min(base.max_positions() - 1) }
    }
}

/// General English, read once for all entries of a base.
#[derive(Clone, Debug)]
pub struct General {
    mean: Vec<f32>,
    noise: Vec<f32>,
    counts: Counts,
    /// Read and not counted in: to find thresholds with.
    held_out: Vec<View>,
}

/// Text of a topic. Each passage begins with the token that begins a text.
#[derive(Clone, Copy, Debug)]
pub struct TopicText<'a> {
    /// Passages to learn from: states of 64 evenly over all, tokens of all.
    pub learn: &'a [Vec<u32>],
    /// Others, to find the threshold with.
    pub validate: &'a [Vec<u32>],
}

/// Passages of general English whose states are read.
pub const READ: usize = 64;
/// Passages of a topic whose states are read.
const LEARN: usize = PASSAGES;
/// How far a threshold is on the way from general passages to the topic's. Chosen on validation text (EXPERIMENTS.md): as many
/// passages of six textbooks get their module as half-way, and more of other texts are left to the base.
const NEARNESS: f64 = 0.6;
/// Fewest passages of general English, and of each part of a topic's text.
const FEWEST: usize = 4;

impl General {
    /// Reads passages of general English, each beginning with the token that begins a text: states of [`READ`] evenly over
    /// all, of every four of which one is kept to find thresholds with, and tokens of all others.
    ///
    /// # Errors
    /// [`Error::TooLittle`]; [`Error::InBlocks`].
    pub fn read(reader: &Reader, passages: &[Vec<u32>]) -> Result<Self, Error> {
        reader.check()?;
        if passages.len() < 4 * FEWEST {
            return Err(Error::TooLittle(format!(
                "{} passages of general English are too few for a router: at least {} are needed",
                passages.len(),
                4 * FEWEST
            )));
        }
        let read = evenly(passages.len(), READ);
        let mut counts = Counts::new(reader.vocabulary());
        let rest = (0..passages.len()).filter(|index| read.binary_search(index).is_err());
        rest.for_each(|index| counts.add(&passages[index][1..]));
        let (mut states, mut noise, mut held_out) = (Vec::new(), Vec::new(), Vec::new());
        for (index, (view, differences)) in reader.read_halves(&some_of(passages, READ)).into_iter().enumerate() {
            if index % 4 == 3 {
                held_out.push(view);
            } else {
                counts.add(&view.tokens);
                noise.extend(differences);
                states.push(view.state);
            }
        }
        Ok(Self { mean: mean(&states), noise, counts, held_out })
    }
}

/// Makes the entry of a module for its topic. Other modules' entries are not needed, and are not changed by it.
///
/// # Errors
/// [`Error::TooLittle`]; [`Error::InBlocks`].
pub fn entry(
    reader: &Reader,
    base: Fingerprint,
    general: &General,
    topic: &TopicText<'_>,
    arrow: Prototypes,
) -> Result<Entry, Error> {
    reader.check()?;
    for (what, passages) in [("learn from", topic.learn), ("find the threshold with", topic.validate)] {
        if passages.len() < FEWEST {
            return Err(Error::TooLittle(format!(
                "a topic needs at least {FEWEST} passages to {what}; there are {}",
                passages.len()
            )));
        }
    }
    let views = reader.read(&some_of(topic.learn, LEARN));
    let states: Vec<Vec<f32>> = views.into_iter().map(|view| view.state).collect();
    let centroid = mean(&states);
    let spread = states.iter().flat_map(|state| state.iter().zip(&centroid).map(|(x, mean)| x - mean)).collect();
    let mut counts = Counts::new(reader.vocabulary());
    topic.learn.iter().for_each(|passage| counts.add(&passage[1..]));
    let words = counts.log_odds(&general.counts);
    let validate = reader.read(topic.validate);
    let own: f64 = validate.iter().map(|view| words::mean(&words, &view.tokens)).sum::<f64>() / validate.len() as f64;
    let mut entry = Entry {
        base,
        layer: reader.layer(),
        tokens: reader.tokens(),
        centroid,
        spread,
        general: general.mean.clone(),
        noise: general.noise.clone(),
        words,
        own_words: own.clamp(1e-3, 8.0),
        arrow,
        threshold: 0.0,
    };
    entry.threshold = threshold(&entry, &validate, &general.held_out);
    Ok(entry)
}

/// At most `most` of the places from 0 to `count`, evenly over all: passages that follow each other are often of one document,
/// and a few documents are not a topic.
pub fn evenly(count: usize, most: usize) -> Vec<usize> {
    let taken = count.min(most);
    (0..taken).map(|index| index * count / taken).collect()
}

/// At most `most` of some passages, [`evenly`].
pub fn some_of(passages: &[Vec<u32>], most: usize) -> Vec<Vec<u32>> {
    evenly(passages.len(), most).into_iter().map(|place| passages[place].clone()).collect()
}

/// Between what nearly all general passages stay below and what nearly all of the topic's reach, and nearer to these: texts on
/// no topic are more varied than the general English that is known here.
fn threshold(entry: &Entry, own: &[View], general: &[View]) -> f64 {
    let router = Router::of([(String::new(), entry.clone())].into());
    let scores = |views: &[View]| -> Vec<f64> {
        let mut scores: Vec<f64> = views.iter().map(|view| router.scores(view)[0]).collect();
        scores.sort_by(f64::total_cmp);
        scores
    };
    let (own, general) = (scores(own), scores(general));
    let (reached, stayed_below) = (quantile(&own, 0.05), quantile(&general, 0.95));
    stayed_below + NEARNESS * (reached - stayed_below)
}

/// The value below which this share of sorted values lies.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    sorted[(share * (sorted.len() - 1) as f64).round() as usize]
}

fn mean(rows: &[Vec<f32>]) -> Vec<f32> {
    let mut sum = vec![0.0_f64; rows[0].len()];
    for row in rows {
        sum.iter_mut().zip(row).for_each(|(sum, &x)| *sum += f64::from(x));
    }
    sum.into_iter().map(|sum| (sum / rows.len() as f64) as f32).collect()
}
