//! What a choice is worth without knowing anything, item by item, and whether a gain is more than that.

use std::collections::BTreeMap;

use lore_eval::task::{Form, Item};
use serde::{Deserialize, Serialize};

use crate::contamination::item_key;

/// `controls.json`, of one task: how often each item is answered right.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ItemControls {
    /// The choice with the most characters; of equals, a die.
    pub longest: BTreeMap<String, f64>,
    /// The place that is right most often.
    pub majority: BTreeMap<String, f64>,
    /// Seeds that asked an item.
    pub asked: BTreeMap<String, u32>,
}

impl ItemControls {
    /// Adds the items of one seed; what is asked twice counts with its mean.
    pub fn add(&mut self, items: &[Item]) {
        let mut places: BTreeMap<usize, usize> = BTreeMap::new();
        for item in items {
            if let Form::Choice { gold, pair: false, .. } = &item.form {
                *places.entry(*gold).or_default() += 1;
            }
        }
        let most = places.iter().max_by_key(|(place, count)| (**count, usize::MAX - **place)).map(|(place, _)| *place);
        for item in items {
            let Form::Choice { choices, gold, pair: false, .. } = &item.form else { continue };
            let lengths: Vec<usize> = choices.iter().map(|choice| choice.chars().count()).collect();
            let longest = lengths.iter().copied().max().unwrap_or(0);
            let ties = lengths.iter().filter(|&&length| length == longest).count() as f64;
            let by_length = if lengths[*gold] == longest { 1.0 / ties } else { 0.0 };
            let by_place = f64::from(u8::from(most == Some(*gold)));
            let key = item_key(&item.subset, &item.id);
            let times = self.asked.entry(key.clone()).or_default();
            *times += 1;
            for (control, value) in [(&mut self.longest, by_length), (&mut self.majority, by_place)] {
                let mean = control.entry(key.clone()).or_default();
                *mean += (value - *mean) / f64::from(*times);
            }
        }
    }

    /// The controls by name.
    pub fn by_name(&self) -> [(&'static str, &BTreeMap<String, f64>); 2] {
        [("choosing the longest answer", &self.longest), ("choosing the most frequent place", &self.majority)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_over_seeds() {
        let item = |id: &str, choices: [&str; 2], gold| Item {
            id: id.into(),
            subset: "s".into(),
            form: Form::Choice {
                context: "q".into(),
                delimiter: " ".into(),
                choices: choices.map(str::to_owned).to_vec(),
                gold,
                pair: false,
            },
            record: serde_json::Value::Null,
        };
        let mut controls = ItemControls::default();
        controls.add(&[item("1", ["long", "a"], 0), item("2", ["a", "b"], 0), item("3", ["long", "a"], 1)]);
        controls.add(&[item("1", ["a", "long"], 0)]);
        let found = |control: &BTreeMap<String, f64>| control.values().copied().collect::<Vec<f64>>();
        assert_eq!(found(&controls.longest), [0.5, 0.5, 0.0]);
        assert_eq!(found(&controls.majority), [1.0, 1.0, 0.0]);
        assert_eq!(controls.asked["s/1"], 2);
    }
}
