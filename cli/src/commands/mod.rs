//! One file per command: its arguments, and what it does.

pub mod bench;
pub mod chat;
pub mod compose;
pub mod convert;
pub mod data;
pub mod doctor;
pub mod eval;
pub mod fetch;
pub mod finetune;
pub mod generate;
pub mod leaderboard;
pub mod learn;
pub mod module;
pub mod pack;
pub mod route;
pub mod run;
pub mod score;
pub mod serve;
pub mod trim;
pub mod work;
