//! Which documents are for training, for validation and for testing.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};

/// Part of what every group is hashed with. Changing it moves every document.
const SALT: &[u8] = b"lore split 1\0";

/// One of the three parts of a corpus.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// What is learnt from.
    Train,
    /// What choices are made by.
    Validation,
    /// What results are reported on.
    Test,
}

impl Split {
    /// All three, training first.
    pub const ALL: [Self; 3] = [Self::Train, Self::Validation, Self::Test];

    /// The name in files and recipes.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Validation => "validation",
            Self::Test => "test",
        }
    }
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Split {
    type Err = String;

    fn from_str(name: &str) -> std::result::Result<Self, String> {
        let known = Self::ALL.into_iter().find(|split| split.name() == name);
        known.ok_or_else(|| format!("`{name}` is not a split (train, validation or test)"))
    }
}

/// The expected fractions of groups held out. The rest is for training.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SplitSpec {
    /// Fraction for validation, 0 to 1.
    pub validation: f64,
    /// Fraction for testing, 0 to 1.
    pub test: f64,
}

impl SplitSpec {
    /// Refuses fractions that are not fractions or leave nothing to train on.
    ///
    /// # Errors
    /// [`Error::Declaration`] with everything that is wrong.
    pub fn validate(&self) -> Result<()> {
        let mut problems = Vec::new();
        for (name, value) in [("validation", self.validation), ("test", self.test)] {
            if !(0.0..1.0).contains(&value) {
                problems.push(format!("`{name}` is {value}, but a fraction from 0 to below 1 is needed"));
            }
        }
        if problems.is_empty() && self.validation + self.test >= 1.0 {
            problems.push(format!(
                "`validation` and `test` together are {}, which leaves nothing for training",
                self.validation + self.test
            ));
        }
        if problems.is_empty() { Ok(()) } else { Err(Error::Declaration { what: "split".into(), problems }) }
    }

    /// The split of a group. It depends on the group's name and the fractions alone, so adding documents
    /// never moves old ones, and raising `validation` takes only from training.
    pub fn assign(&self, group: &str) -> Split {
        let point = point(group);
        if point < self.test {
            Split::Test
        } else if point < self.test + self.validation {
            Split::Validation
        } else {
            Split::Train
        }
    }
}

/// Where a group lies in `[0, 1)`: the first 53 bits of the SHA-256 of the salt and its name.
pub(crate) fn point(group: &str) -> f64 {
    let digest = Sha256::new().chain_update(SALT).chain_update(group.as_bytes()).finalize();
    let head = u64::from_be_bytes(digest[..8].try_into().expect("a digest has 32 bytes"));
    (head >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const POINTS: [(&str, f64); 4] = [
        ("", 4888264107639857.0 / 9007199254740992.0),
        ("Egypt", 5291416054636101.0 / 9007199254740992.0),
        ("group 1", 5733674100119985.0 / 9007199254740992.0),
        ("Österreich", 2143209251649527.0 / 9007199254740992.0),
    ];

    #[test]
    fn points_are_those_of_an_independent_program() {
        // python3: int(hashlib.sha256(b"lore split 1\0" + name).hexdigest()[:16], 16) >> 11, over 2**53
        for (group, expected) in POINTS {
            assert_eq!(point(group), expected, "{group}");
        }
    }

    #[test]
    fn fractions_hold_and_growing_validation_takes_from_training_only() {
        let small = SplitSpec { validation: 0.05, test: 0.1 };
        let large = SplitSpec { validation: 0.2, test: 0.1 };
        let mut counts = [0; 3];
        for i in 0..20_000 {
            let group = format!("group {i}");
            let split = small.assign(&group);
            counts[split as usize] += 1;
            if split != Split::Train {
                assert_eq!(split, large.assign(&group));
            }
        }
        // Four standard deviations of a binomial count.
        for (count, fraction) in counts.into_iter().zip([0.85_f64, 0.05, 0.1]) {
            let (mean, deviation) = (20_000.0 * fraction, (20_000.0 * fraction * (1.0 - fraction)).sqrt());
            assert!((f64::from(count) - mean).abs() < 4.0 * deviation, "{count} for {mean}");
        }
    }

    #[test]
    fn impossible_fractions_are_refused() {
        for (validation, test) in [(-0.1, 0.1), (0.1, 1.0), (f64::NAN, 0.1), (0.5, 0.5)] {
            assert!(SplitSpec { validation, test }.validate().is_err(), "{validation} {test}");
        }
        assert!(SplitSpec { validation: 0.0, test: 0.0 }.validate().is_ok());
    }
}
