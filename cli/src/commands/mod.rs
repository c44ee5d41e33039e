//! One file per command: its arguments, and what it does.

pub mod bench;
pub mod convert;
pub mod doctor;
pub mod fetch;
pub mod generate;
pub mod pack;
pub mod run;
pub mod score;
