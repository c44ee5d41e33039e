//! Parts of a stage that are computed side by side.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

/// One of several equal parts of a stage's work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// Which, from 1.
    number: u32,
    /// How many there are.
    of: u32,
}

impl Share {
    /// Its part of `total` things that follow one another.
    pub fn range(self, total: u64) -> Range<u64> {
        let end = |number: u32| total * u64::from(number) / u64::from(self.of);
        end(self.number - 1)..end(self.number)
    }

    /// Whether it takes the thing at this place. Neighbours, which are alike, go to different shares.
    pub fn takes(self, place: usize) -> bool {
        place % self.of as usize == self.number as usize - 1
    }

    /// As a folder or a lock is called.
    pub fn file_name(self) -> String {
        format!("{}-of-{}", self.number, self.of)
    }
}

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('/').and_then(|(number, of)| Some((number.parse().ok()?, of.parse().ok()?)));
        let share =
            parts.map(|(number, of)| Self { number, of }).filter(|share| (1..=share.of).contains(&share.number));
        share.ok_or_else(|| "expected a part and how many there are, such as 2/8".into())
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_make_the_whole() {
        for of in 1..=7 {
            let shares: Vec<Share> = (1..=of).map(|number| Share { number, of }).collect();
            for total in [0u64, 1, 5, 7, 60] {
                let ranges: Vec<u64> = shares.iter().flat_map(|share| share.range(total)).collect();
                assert_eq!(ranges, (0..total).collect::<Vec<_>>());
                for place in 0..total as usize {
                    assert_eq!(shares.iter().filter(|share| share.takes(place)).count(), 1);
                }
            }
        }
    }

    #[test]
    fn a_share_is_read_as_it_is_written() {
        let share: Share = "2/8".parse().expect("a share");
        assert_eq!((share.to_string(), share.file_name()), ("2/8".into(), "2-of-8".into()));
        for wrong in ["0/8", "9/8", "2", "2/", "/8", "a/b", "1/0", "-1/2"] {
            assert!(wrong.parse::<Share>().is_err(), "{wrong}");
        }
    }
}
