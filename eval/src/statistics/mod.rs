//! Figures, how sure they are, and whether two differ.
//!
//! Two models are compared on the same items: the difference on each item is what varies, not the items. Several
//! comparisons at once are corrected, and what cannot be told apart is a tie.

mod bootstrap;
mod holm;
mod mcnemar;
mod ratio;
mod tie_groups;

pub use bootstrap::{Bootstrap, PairedDifference, minimum_detectable_effect};
pub use holm::holm;
pub use mcnemar::{Discordant, mcnemar};
pub use ratio::{Estimate, Measured, bits_per_byte, mean, paired_difference, ratio};
pub use tie_groups::tie_groups;
