//! Where a round's time went, as a table.

use std::collections::BTreeMap;
use std::time::Duration;

use lore_model::ops::profile::Cost;

/// What one operation takes of a round.
pub(super) struct ProfileLine {
    pub(super) name: &'static str,
    calls: f64,
    forward: f64,
    backward: f64,
}

impl ProfileLine {
    pub(super) fn milliseconds(&self) -> f64 {
        self.forward + self.backward
    }
}

/// Costs a round, the largest first, and as the last line whatever no operation accounts for.
pub(super) fn profile_lines(costs: &BTreeMap<&'static str, Cost>, rounds: f64, whole: Duration) -> Vec<ProfileLine> {
    let milliseconds = |time: Duration| time.as_secs_f64() * 1e3 / rounds;
    let mut lines: Vec<_> = costs
        .iter()
        .map(|(&name, cost)| ProfileLine {
            name,
            calls: cost.calls as f64 / rounds,
            forward: milliseconds(cost.forward),
            backward: milliseconds(cost.backward),
        })
        .collect();
    lines.sort_by(|a, b| b.milliseconds().total_cmp(&a.milliseconds()));
    let accounted: f64 = lines.iter().map(ProfileLine::milliseconds).sum();
    lines.push(ProfileLine {
        name: "everything else",
        calls: 1.0,
        forward: milliseconds(whole) - accounted,
        backward: 0.0,
    });
    lines
}

/// The table for people.
pub(super) fn print_profile(lines: &[ProfileLine]) {
    let whole: f64 = lines.iter().map(ProfileLine::milliseconds).sum();
    println!("{:16} {:>7} {:>11} {:>11} {:>7}", "operation", "calls", "forward ms", "backward ms", "share");
    for line in lines {
        println!(
            "{:16} {:>7.0} {:>11.1} {:>11.1} {:>6.1}%",
            line.name,
            line.calls,
            line.forward,
            line.backward,
            100.0 * line.milliseconds() / whole
        );
    }
}
