//! The methods of composition, with their settings.

use std::fmt;

/// Part of the values that methods which trim small ones keep, where nothing is said.
pub const TRIM_DENSITY: f64 = 0.2;
/// Part of the values that DARE keeps, where nothing is said.
pub const DARE_DENSITY: f64 = 0.5;

/// How modules become one. `density` is the part of values kept, in `(0, 1]`; `rank` cuts the result down to its
/// largest singular values, by default to the largest rank among the modules that change the projection.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Method {
    /// The weighted sum, exactly: factors side by side, ranks added.
    Cat,
    /// The weighted sum, exactly, at the smallest rank that holds it.
    Linear,
    /// The weighted sum, cut down to a rank.
    Svd {
        /// The rank.
        rank: Option<usize>,
    },
    /// TIES (Yadav et al. 2023, arXiv 2306.01708): keep each module's largest values, elect a sign for each value
    /// by the sum over modules, average the weighted values of that sign.
    Ties {
        /// Part of the values kept.
        density: f64,
        /// The rank.
        rank: Option<usize>,
    },
    /// DARE (Yu et al. 2023, arXiv 2311.03099): drop values at random, divide the rest by the density so that
    /// the expectation stays, and add.
    DareLinear {
        /// Part of the values kept.
        density: f64,
        /// Decides what is dropped, together with a module's place among the others and the projection's name.
        seed: u64,
        /// The rank.
        rank: Option<usize>,
    },
    /// DARE's dropping, then TIES' signs and averages.
    DareTies {
        /// Part of the values kept.
        density: f64,
        /// As for [`Method::DareLinear`].
        seed: u64,
        /// The rank.
        rank: Option<usize>,
    },
    /// Keep each module's largest values and add.
    MagnitudePrune {
        /// Part of the values kept.
        density: f64,
        /// The rank.
        rank: Option<usize>,
    },
    /// KnOTS (Stoica et al. 2024, arXiv 2410.19735): one singular basis for all modules' changes side by side,
    /// `[ΔW₁ … ΔWₙ] = U Σ [V₁ … Vₙ]ᵀ`, and TIES on the `Vᵢ`.
    Knots {
        /// Part of the values kept.
        density: f64,
        /// The rank.
        rank: Option<usize>,
    },
}

impl fmt::Display for Method {
    /// `ties, density 0.2, rank 32`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        if let Some(density) = self.density() {
            write!(f, ", density {density}")?;
        }
        if let Self::DareLinear { seed, .. } | Self::DareTies { seed, .. } = self {
            write!(f, ", seed {seed}")?;
        }
        if let Some(rank) = self.rank() {
            write!(f, ", rank {rank}")?;
        }
        Ok(())
    }
}

impl Method {
    /// What it is called, without its settings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cat => "cat",
            Self::Linear => "linear",
            Self::Svd { .. } => "svd",
            Self::Ties { .. } => "ties",
            Self::DareLinear { .. } => "dare-linear",
            Self::DareTies { .. } => "dare-ties",
            Self::MagnitudePrune { .. } => "magnitude-prune",
            Self::Knots { .. } => "knots",
        }
    }

    pub(super) fn rank(self) -> Option<usize> {
        match self {
            Self::Cat | Self::Linear => None,
            Self::Svd { rank }
            | Self::Ties { rank, .. }
            | Self::DareLinear { rank, .. }
            | Self::DareTies { rank, .. }
            | Self::MagnitudePrune { rank, .. }
            | Self::Knots { rank, .. } => rank,
        }
    }

    pub(super) fn density(self) -> Option<f64> {
        match self {
            Self::Cat | Self::Linear | Self::Svd { .. } => None,
            Self::Ties { density, .. }
            | Self::DareLinear { density, .. }
            | Self::DareTies { density, .. }
            | Self::MagnitudePrune { density, .. }
            | Self::Knots { density, .. } => Some(density),
        }
    }
}
