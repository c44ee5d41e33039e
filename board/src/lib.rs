//! A leaderboard of modules that anyone can check: a folder, made for git.
//!
//! Packs come in as submissions; the operator asks each of them, and the base alone, the board's tasks with the board's
//! seeds; what comes out is a [`Standing`](standing::Standing) with tie groups instead of false ranks, and a static
//! [`site`]. Every step is an entry of a [`log`] that is only appended to, whose entries are chained by hashes and
//! whose end the operator signs; [`verify`] follows all of it. `docs/leaderboard.md` describes the folder.
//!
//! ```
//! use lore_board::ranking::{Ranking, Table, TaskTable};
//!
//! // One task of 80 items with as many weights; the base, a module that answers more of them, and its copy.
//! let base: Vec<f64> = (0..80).map(|i| f64::from(i % 4 == 0)).collect();
//! let better: Vec<f64> = (0..80).map(|i| f64::from(i % 4 != 3)).collect();
//! let task = TaskTable { values: vec![base, better.clone(), better], weights: vec![1.0; 80], scale: 1.0 };
//! let ranking = Ranking::of(&Table { tasks: vec![task] }, 1000, 7);
//! assert_eq!(ranking.groups, [1, 0, 0]);
//! ```

pub mod contamination;
pub mod controls;
pub mod error;
pub mod folder;
pub mod holdout;
pub mod log;
pub mod ranking;
pub mod rerun;
pub mod scores;
pub mod serve;
pub mod settings;
pub mod site;
pub mod standing;
pub mod state;
pub mod submission;
pub mod verify;

pub use error::{Error, Result};
pub use folder::Board;
