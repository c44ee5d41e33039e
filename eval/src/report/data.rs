use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::tasks::TaskColumn;

/// Version of the fields below; raised when a reader of the old form would misread the new one.
pub const SCHEMA_VERSION: u32 = 1;

/// Everything a run measured. Optional fields are left out of the file when they were not measured.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// [`SCHEMA_VERSION`] of the program that wrote it.
    pub schema_version: u32,
    /// Name of the run.
    pub name: String,
    /// Version of the program.
    pub program_version: String,
    /// When the run ended, RFC 3339.
    pub date: String,
    /// The recipe as resolved: TOML with every default filled in.
    pub recipe: String,
    /// The machine it ran on.
    pub machine: Machine,
    /// The model distilled from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub teacher: Option<ModelFacts>,
    /// The model the modules belong to.
    pub base: ModelFacts,
    /// The texts, one entry per topic and one for general English.
    #[serde(default)]
    pub data: Vec<TopicData>,
    /// How the base was made, unless it was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distillation: Option<Distillation>,
    /// The modules trained or evaluated.
    #[serde(default)]
    pub modules: Vec<ModuleFacts>,
    /// Bits per byte of everything on everything.
    #[serde(default)]
    pub matrix: Matrix,
    /// What everything in the matrix answered, task by task.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tasks: Vec<TaskColumn>,
    /// How often the right module was chosen for a passage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routing: Option<Routing>,
    /// Texts generated with and without a module.
    #[serde(default)]
    pub samples: Vec<Sample>,
    /// Commands a reader can run on the results.
    #[serde(default)]
    pub commands: Vec<UseCommand>,
    /// Time of each stage, in the order they ran.
    #[serde(default)]
    pub stages: Vec<Stage>,
    /// Highest resident memory of the process, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_memory_bytes: Option<u64>,
    /// What the run was expected to show, and whether it did.
    #[serde(default)]
    pub claims: Vec<Claim>,
    /// Remarks for the reader: limits, surprises, what was skipped.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// The machine a run used.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// Processor model.
    pub cpu: String,
    /// Threads used.
    pub threads: usize,
    /// Physical memory in bytes.
    pub memory_bytes: u64,
    /// Compute device, such as `cpu` or `cuda:0`.
    pub device: String,
}

/// Facts about a whole model.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ModelFacts {
    /// Name for people.
    pub name: String,
    /// Parameters, tied ones counted once.
    pub parameters: u64,
    /// Bytes of the weights in memory in f32.
    pub resident_bytes: u64,
    /// Bytes of the files as stored.
    pub disk_bytes: u64,
    /// SPDX expression or name of the license.
    pub license: String,
    /// Where it came from.
    pub source: String,
    /// Hash over canonical weights, tokenizer and configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
}

/// The texts of one topic.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TopicData {
    /// Topic name, as in the matrix columns.
    pub topic: String,
    /// Documents over all splits.
    pub documents: u64,
    /// Tokens of each split.
    pub tokens: SplitTokens,
    /// SPDX expression or name of the license.
    pub license: String,
    /// Credit that the license asks for.
    pub attribution: String,
    /// Where it came from.
    pub source: String,
}

/// Tokens per split.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SplitTokens {
    /// Tokens trained on.
    pub train: u64,
    /// Tokens for choices made while training.
    pub validation: u64,
    /// Held-out tokens, only scored.
    pub test: u64,
}

/// One line of a training log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct CurvePoint {
    /// Optimiser steps so far.
    pub step: u64,
    /// Tokens trained on so far.
    pub tokens: u64,
    /// Seconds since training began.
    pub seconds: f64,
    /// Training loss, nats per token.
    pub loss: f64,
    /// Learning rate of this step.
    pub learning_rate: f64,
    /// Speed, tokens per second.
    pub tokens_per_second: f64,
}

/// How the base was distilled and how near it came to the teacher.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Distillation {
    /// Training log.
    pub curve: Vec<CurvePoint>,
    /// Bits per byte of the teacher on held-out general text.
    pub teacher_bits_per_byte: f64,
    /// The same for the student before training.
    pub untrained_bits_per_byte: f64,
    /// The same for the trained student.
    pub student_bits_per_byte: f64,
    /// Forward KL divergence from the teacher, nats per token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forward_kl: Option<f64>,
    /// Entropy of the teacher's predictions, nats per token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub teacher_entropy: Option<f64>,
    /// Share of positions where both predict the same token first, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top1_agreement: Option<f64>,
    /// `Σ min(p, q)` of teacher and base, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlap: Option<f64>,
    /// The student that learnt from next tokens alone, on the same batches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control: Option<Control>,
}

/// What the same student became without the teacher's distributions.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Control {
    /// Bits per byte on held-out general text.
    pub bits_per_byte: f64,
    /// Bits per byte of the base less those of the control, paired by passage.
    pub student_less_control: f64,
    /// Standard error of that difference; absent for a single passage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standard_error: Option<f64>,
}

/// One knowledge module and what it costs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ModuleFacts {
    /// Module name, as in [`Row::modules`].
    pub name: String,
    /// The topic it was trained on, as in the matrix columns.
    pub topic: String,
    /// LoRA rank.
    pub rank: usize,
    /// Trained parameters.
    pub parameters: u64,
    /// Bytes of its files.
    pub bytes: u64,
    /// Milliseconds to load it onto a base already in memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load_ms: Option<f64>,
    /// Training log.
    #[serde(default)]
    pub curve: Vec<CurvePoint>,
    /// Learning rates that were tried, of which the best on validation text was kept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sweep: Vec<SweptRate>,
}

/// A learning rate that was tried.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct SweptRate {
    /// The peak learning rate.
    pub learning_rate: f64,
    /// Bits per byte of validation text at its best.
    pub bits_per_byte: f64,
    /// The step after which that was measured.
    pub step: u64,
}

/// Bits per byte of each row (what is loaded) on each column (a held-out text).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Matrix {
    /// Held-out texts, in the order shown.
    pub columns: Vec<Column>,
    /// What is loaded, in the order shown.
    pub rows: Vec<Row>,
}

/// One held-out text.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Column {
    /// Topic name; key of [`Row::cells`].
    pub name: String,
    /// True for general English, which no module should harm.
    pub general: bool,
    /// Documents scored.
    pub documents: u64,
    /// UTF-8 bytes scored.
    pub bytes: u64,
}

/// What a matrix row has loaded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RowKind {
    /// The base with no module.
    #[default]
    Base,
    /// The base with one module.
    Module,
    /// Several modules, their updates added at full weight.
    Sum,
    /// Several modules, their updates averaged.
    Mean,
    /// One of several modules, chosen for each passage.
    ChosenPerPassage,
    /// Several modules combined in another way.
    Combination,
    /// A comparison that should show no gain.
    Control,
    /// The teacher.
    Teacher,
}

/// One row of the matrix.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Label shown, unique in the matrix.
    pub name: String,
    /// What is loaded.
    pub kind: RowKind,
    /// Names of the modules involved.
    #[serde(default)]
    pub modules: Vec<String>,
    /// What the row means, in one sentence; empty for the usual words of its kind.
    #[serde(default)]
    pub description: String,
    /// Bytes of weights in memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resident_bytes: Option<u64>,
    /// Speed of scoring, tokens per second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_per_second: Option<f64>,
    /// Values by column name; what was not measured is absent.
    pub cells: BTreeMap<String, Cell>,
}

/// One measured value of the matrix.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    /// Bits needed per UTF-8 byte of the held-out text; lower is better.
    pub bits_per_byte: f64,
    /// Its standard error over documents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standard_error: Option<f64>,
    /// Standard error of the paired difference from the base row, bits per byte.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub difference_standard_error: Option<f64>,
}

/// How often the module of a passage's own topic was chosen.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Routing {
    /// How the choice is made, in words.
    pub method: String,
    /// Counts per topic.
    pub topics: Vec<TopicRouting>,
}

/// Routing counts of one topic.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicRouting {
    /// Topic of the passages.
    pub topic: String,
    /// Passages tried.
    pub passages: u64,
    /// Passages for which this topic's module was chosen.
    pub correct: u64,
}

/// The same prompt continued by the base and by the base with a module.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// The prompt.
    pub prompt: String,
    /// Name of the module used.
    pub module: String,
    /// Continuation by the base.
    pub base_text: String,
    /// Continuation by the base with the module.
    pub module_text: String,
}

/// A command a reader can run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UseCommand {
    /// What it does, in words.
    pub purpose: String,
    /// The command line.
    pub command: String,
}

/// Time of one stage.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Stage {
    /// Stage name.
    pub name: String,
    /// Seconds it took when it was run.
    pub seconds: f64,
    /// True when the result was taken from an earlier run.
    pub cached: bool,
}

/// One thing the run was expected to show.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// What is claimed.
    pub name: String,
    /// The target, such as `at least 60 %`.
    pub target: String,
    /// What was measured.
    pub value: String,
    /// Whether the target was met.
    pub met: bool,
}

impl RowKind {
    /// What a row of this kind means, in one sentence.
    pub fn explanation(self) -> &'static str {
        match self {
            Self::Base => "The small model with no module loaded: what every change is measured against.",
            Self::Module => "The base with this one module loaded.",
            Self::Sum => "All modules at once, each at full weight.",
            Self::Mean => "All modules at once, sharing a total weight of 1.",
            Self::ChosenPerPassage => "One module per passage, chosen automatically from the passage itself.",
            Self::Combination => "Several modules at once.",
            Self::Control => "A comparison that should show no gain.",
            Self::Teacher => "The large model the base was distilled from: the monolith to beat.",
        }
    }

    /// Whether several modules take part.
    pub fn is_combination(self) -> bool {
        matches!(self, Self::Sum | Self::Mean | Self::ChosenPerPassage | Self::Combination)
    }
}
