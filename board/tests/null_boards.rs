//! Boards on which no model differs: how often the ranking says that one does.
#![allow(missing_docs)]

use lore_board::ranking::{Ranking, Table, TaskTable};
use lore_model::sampling::Random;

const BOARDS: u64 = 1000;
const MODELS: usize = 5;

/// The share of boards on which any of all pairs is told apart.
fn false_positives(board: impl Fn(&mut Random) -> Vec<TaskTable>) -> f64 {
    let wrong = (0..BOARDS).filter(|&number| {
        let tasks = board(&mut Random::new(23, number));
        Ranking::of(&Table { tasks }, 1000, number).any_differs()
    });
    wrong.count() as f64 / BOARDS as f64
}

/// Skewed figures that models share, with noise of their own.
fn margins(random: &mut Random, items: usize) -> TaskTable {
    let shared: Vec<f64> = (0..items).map(|_| random.normal().exp()).collect();
    let own = |random: &mut Random| shared.iter().map(|shared| shared + random.normal()).collect();
    TaskTable { values: (0..MODELS).map(|_| own(random)).collect(), weights: vec![1.0; items], scale: 1.0 }
}

/// Answers that are right with a chance that belongs to the item.
fn answers(random: &mut Random, items: usize) -> TaskTable {
    let chances: Vec<f64> = (0..items).map(|_| 0.2 + 0.6 * random.uniform()).collect();
    let own = |random: &mut Random| chances.iter().map(|&chance| f64::from(random.uniform() < chance)).collect();
    TaskTable { values: (0..MODELS).map(|_| own(random)).collect(), weights: vec![1.0; items], scale: 1.0 }
}

#[test]
fn models_that_do_not_differ_are_seldom_told_apart() {
    let one_task = false_positives(|random| vec![answers(random, 120)]);
    let two_tasks = false_positives(|random| vec![answers(random, 100), margins(random, 80)]);
    println!("McNemar on one task {one_task}, bootstrap on two tasks {two_tasks}");
    assert!((0.002..=0.065).contains(&one_task), "{one_task}");
    assert!((0.01..=0.065).contains(&two_tasks), "{two_tasks}");
}
