//! Bits per byte of everything that was loaded on every text.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

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
