//! How a student is made from a teacher.

use lore_model::ops::head::Divergence;
use serde::{Deserialize, Serialize};

/// Which of the teacher's blocks the student starts from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Depth {
    /// Blocks kept from the input end.
    pub first: usize,
    /// Blocks kept from the output end.
    pub last: usize,
}

/// How many of the teacher's blocks the student keeps: so many from each end, or so many in all.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DepthChoice {
    /// Blocks kept from the input end.
    pub first: usize,
    /// Blocks kept from the output end.
    pub last: usize,
    /// Blocks kept in all; which of them is measured.
    pub keep: Option<usize>,
}

impl DepthChoice {
    /// Blocks kept.
    pub fn blocks(&self) -> usize {
        self.keep.unwrap_or(self.first + self.last)
    }
}

/// What the student learns and how it is asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DistilConfig {
    /// The loss between the teacher's distribution and the student's.
    pub loss: Loss,
    /// The teacher's share of the mixture in `jensen-shannon`.
    pub beta: f64,
    /// The share of the other distribution that is mixed in by `skew-forward-kl` and `skew-reverse-kl`.
    pub alpha: f64,
    /// Both distributions are softened by it; the loss is multiplied by its square.
    pub temperature: f64,
    /// Share of plain cross-entropy with the next token in the loss.
    pub labels: f64,
    /// Share of steps whose texts the student writes itself from their beginnings (GKD's λ).
    pub on_policy: f64,
    /// Where the teacher's distributions come from.
    pub teacher: TeacherSource,
    /// Tokens drawn at each position when they come from a cache, at most 255.
    pub samples: usize,
    /// Capture with the teacher's weights left in their file, each block read once for this many tokens: for a teacher
    /// larger than memory.
    pub stream_tokens: Option<usize>,
    /// Weight of the cosine distance between the student's hidden states and the teacher's.
    #[serde(skip_serializing_if = "is_zero")]
    pub hidden: f64,
    /// From how many of the last blocks, when it has a weight.
    #[serde(skip_serializing_if = "is_default_blocks")]
    pub hidden_blocks: usize,
    /// Train a second student from the same start on the same batches by cross-entropy alone, to see what the teacher
    /// is worth.
    pub control: bool,
}

const HIDDEN_BLOCKS: usize = 2;

// What is not used does not count as a change of the recipe.
fn is_zero(weight: &f64) -> bool {
    *weight == 0.0
}

fn is_default_blocks(blocks: &usize) -> bool {
    *blocks == HIDDEN_BLOCKS
}

impl Default for DistilConfig {
    fn default() -> Self {
        Self {
            loss: Loss::default(),
            beta: 0.5,
            alpha: 0.1,
            temperature: 1.0,
            labels: 0.0,
            on_policy: 0.0,
            teacher: TeacherSource::default(),
            samples: 24,
            stream_tokens: None,
            hidden: 0.0,
            hidden_blocks: HIDDEN_BLOCKS,
            control: false,
        }
    }
}

impl DistilConfig {
    /// The loss with its parameter.
    pub fn divergence(&self) -> Divergence {
        match self.loss {
            Loss::ForwardKl => Divergence::ForwardKl,
            Loss::ReverseKl => Divergence::ReverseKl,
            Loss::JensenShannon => Divergence::JensenShannon { beta: self.beta as f32 },
            Loss::SkewForwardKl => Divergence::SkewForwardKl { alpha: self.alpha as f32 },
            Loss::SkewReverseKl => Divergence::SkewReverseKl { alpha: self.alpha as f32 },
            Loss::TotalVariation => Divergence::TotalVariation,
        }
    }
}

/// The losses by name; see [`Divergence`] for what they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Loss {
    /// The whole of what the teacher may say.
    #[default]
    ForwardKl,
    /// What the student says, as the teacher sees it.
    ReverseKl,
    /// Between both, by `beta`.
    JensenShannon,
    /// Forward against a mixture, by `alpha`.
    SkewForwardKl,
    /// Reverse against a mixture, by `alpha`.
    SkewReverseKl,
    /// Half the absolute difference.
    TotalVariation,
}

/// Where the teacher's distributions come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TeacherSource {
    /// The teacher reads every batch while the student trains.
    #[default]
    Live,
    /// The teacher reads every batch once beforehand, and a few tokens drawn from its distributions are kept.
    Cached,
}
