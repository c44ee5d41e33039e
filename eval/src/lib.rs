//! Scores of models and modules, how modules compose, and the report of a run.
//!
//! Requests come in as tokens; [`score`] gives the log-likelihood of every token asked for, on ragged
//! batches without padding, so that a score does not depend on what it was computed beside.
//! [`composition`] lays modules against texts.
//!
//! A [task](task::Task) is a file that makes items of data; the [engine](engine::evaluate) asks a model each item; a
//! [result](result::TaskResult) holds the figures with hashes of everything they came from; a
//! [comparison](comparison::compare) says where two models differ, and [`verify`] whether a result can be believed.

pub mod cache;
pub mod combinations;
pub mod comparison;
pub mod composition;
pub mod contamination;
pub mod controls;
pub mod engine;
pub mod frontier;
pub mod harness;
pub mod metrics;
pub mod report;
pub mod request;
pub mod result;
pub mod sample;
pub mod score;
pub mod statistics;
pub mod task;
pub mod verify;
pub mod weights;
pub mod windows;
mod write;
