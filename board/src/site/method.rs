//! How the board came about and how to check it.

use minijinja::{Value, context};

use super::Pages;
use super::text;
use crate::log::{Event, Outcome};

/// Entries that are listed.
const LISTED: usize = 200;

pub(super) fn view(pages: &Pages<'_>) -> Value {
    let board = pages.board;
    let scored = pages.standing.scores.iter().flat_map(|scores| &scores.tasks);
    let tasks: Vec<Value> = scored
        .zip(board.tasks.iter().zip(&board.settings.tasks))
        .map(|(scores, (task, settings))| {
            context! {
                name => scores.name,
                about => task.about,
                items => text::count(scores.items.len() as u64),
                metric => text::metric(scores),
                shots => settings.shots,
                sha256 => task.sha256,
            }
        })
        .collect();
    let log: Vec<Value> = board
        .log
        .entries
        .iter()
        .rev()
        .take(LISTED)
        .map(|entry| {
            context! {
                index => entry.index,
                time => text::date(&entry.time),
                what => told(&entry.what),
                sha256 => entry.sha256(),
            }
        })
        .collect();
    let holdouts: Vec<&str> = board.settings.holdouts.iter().map(|holdout| holdout.name.as_str()).collect();
    context! {
        seeds => board.settings.seeds.iter().map(u64::to_string).collect::<Vec<_>>().join(", "),
        tasks,
        holdouts => holdouts.join(", "),
        test => pages.standing.ranking.as_ref().map_or("the paired bootstrap", |ranking| ranking.test),
        resamples => text::count(board.settings.resamples as u64),
        operator => board.operator.to_string(),
        log,
    }
}

fn told(event: &Event) -> String {
    match event {
        Event::Opened { .. } => "the board was opened".into(),
        Event::Submitted { id, by, .. } => format!("{by} handed in {id}"),
        Event::Rerun { id, files } => format!("the operator asked {id} ({} files)", files.len()),
        Event::Disputed { id, by, reason } => format!("{by} doubts {id}: {reason}"),
        Event::Settled { dispute, outcome: Outcome::Kept, reason } => {
            format!("dispute {dispute} is settled, the module stays: {reason}")
        }
        Event::Settled { dispute, outcome: Outcome::Withdrawn, reason } => {
            format!("dispute {dispute} is settled, the module is withdrawn: {reason}")
        }
    }
}
