//! How modules become one, as recipes and the command line say it.

use lore_modules::compose::{DARE_DENSITY, Method, TRIM_DENSITY};
use serde::{Deserialize, Serialize};

/// Methods by their names in recipes and on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum MethodName {
    /// The weighted sum, exactly: ranks add up
    Cat,
    /// The weighted sum, exactly, at the smallest rank that holds it
    Linear,
    /// The weighted sum, cut to its largest singular values
    Svd,
    /// Trim small values, elect signs, average what agrees (arXiv 2306.01708)
    Ties,
    /// Drop values at random, scale up the rest, add (arXiv 2311.03099)
    DareLinear,
    /// Drop values at random, scale up the rest, elect signs, average what agrees
    DareTies,
    /// TIES in a singular basis that the modules share (arXiv 2410.19735)
    Knots,
    /// Trim small values, add
    MagnitudePrune,
}

impl MethodName {
    /// Whether the result is the sum itself: then there is no rank to cut it to.
    pub fn is_exact(self) -> bool {
        matches!(self, Self::Cat | Self::Linear)
    }

    /// Whether values are left out, of which a density says how many stay.
    pub fn leaves_out(self) -> bool {
        !self.is_exact() && self != Self::Svd
    }

    /// Whether a seed decides what is left out.
    pub fn draws(self) -> bool {
        matches!(self, Self::DareLinear | Self::DareTies)
    }

    /// The method with its settings, of which it takes those it has. Without a `density` it keeps the usual part of the
    /// values, without a `rank` the result has the largest of the modules'.
    pub fn with(self, density: Option<f64>, rank: Option<usize>, seed: u64) -> Method {
        let density = density.unwrap_or(if self.draws() { DARE_DENSITY } else { TRIM_DENSITY });
        match self {
            Self::Cat => Method::Cat,
            Self::Linear => Method::Linear,
            Self::Svd => Method::Svd { rank },
            Self::Ties => Method::Ties { density, rank },
            Self::DareLinear => Method::DareLinear { density, seed, rank },
            Self::DareTies => Method::DareTies { density, seed, rank },
            Self::Knots => Method::Knots { density, rank },
            Self::MagnitudePrune => Method::MagnitudePrune { density, rank },
        }
    }

    /// What it is called.
    pub fn name(self) -> &'static str {
        self.with(None, None, 0).name()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use clap::ValueEnum;

    use super::*;

    #[test]
    fn recipes_the_command_line_and_results_call_a_method_the_same() {
        assert_eq!(MethodName::value_variants().len(), 8);
        for &method in MethodName::value_variants() {
            let name = method.name();
            assert_eq!(method.to_possible_value().unwrap().get_name(), name);
            assert_eq!(serde_json::to_value(method).unwrap(), name);
            // What it is said to take is what makes a difference.
            let said = |density, rank, seed| method.with(density, rank, seed).to_string();
            assert_eq!(said(Some(0.25), None, 0) != said(None, None, 0), method.leaves_out(), "{name}");
            assert_eq!(said(None, Some(3), 0) != said(None, None, 0), !method.is_exact(), "{name}");
            assert_eq!(said(None, None, 1) != said(None, None, 0), method.draws(), "{name}");
        }
    }
}
