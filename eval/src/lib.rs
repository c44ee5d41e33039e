//! Scores of models and modules, how modules compose, and the report of a run.
//!
//! Requests come in as tokens; [`score`] gives the log-likelihood of every token asked for, on ragged
//! batches without padding, so that a score does not depend on what it was computed beside.
//! [`composition`] lays modules against texts.

pub mod composition;
pub mod report;
pub mod request;
pub mod score;
pub mod statistics;
