//! Ids that stay unique within a corpus.

use std::collections::{HashMap, HashSet};

use xxhash_rust::xxh3::xxh3_64;

use super::container::plain_name;
use super::spec::ExtractSpec;

/// Ids that are taken, by a hash of each. Two that have the same hash by chance cost one of them its name, and those
/// of a file that turned out to be unreadable stay taken.
pub(super) struct Ids {
    /// `None` where ids are unique as they are made.
    taken: Option<HashSet<u64>>,
    /// The number that an id got last, by its hash: many records of one id would each count from the beginning.
    numbers: HashMap<u64, u64>,
}

impl Ids {
    /// Files and numbers, which are ids where none are declared, are unique within one rule whose files have different
    /// names.
    pub(super) fn of(rules: &[ExtractSpec], matches: &[Vec<String>]) -> Self {
        let differ = |names: &Vec<String>| {
            let mut seen = HashSet::new();
            names.iter().all(|name| !name.contains(char::is_whitespace) && seen.insert(plain_name(name)))
        };
        let unique = matches!((rules, matches), ([one], [names]) if one.id.is_none() && differ(names));
        Self { taken: (!unique).then(HashSet::new), numbers: HashMap::new() }
    }

    /// Appends `~2`, `~3` … to an id that is taken; whether that was so.
    pub(super) fn make_unique(&mut self, id: &mut String) -> bool {
        let Some(taken) = &mut self.taken else { return false };
        let hash = |id: &str| xxh3_64(id.as_bytes());
        if taken.insert(hash(id)) {
            return false;
        }
        let number = self.numbers.entry(hash(id)).or_insert(2);
        while !taken.insert(hash(&format!("{id}~{number}"))) {
            *number += 1;
        }
        *id = format!("{id}~{number}");
        true
    }
}
