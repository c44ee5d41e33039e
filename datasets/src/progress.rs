//! How long work tells whoever started it how far it is.
//!
//! Libraries report through [`Progress`] and never print. The program decides whether that becomes a
//! bar, a line per event, or nothing ([`Silent`]).

/// What the numbers given to [`Task::advance`] count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unit {
    /// Bytes downloaded, read or written.
    Bytes,
    /// Tokens.
    Tokens,
    /// Optimiser steps.
    Steps,
    /// Documents.
    Documents,
    /// Anything else that is counted.
    Items,
}

/// Receives the start of each task, and remarks.
pub trait Progress: Send + Sync {
    /// Starts a task of `total` units, or of unknown length.
    fn task(&self, label: &str, total: Option<u64>, unit: Unit) -> Box<dyn Task>;

    /// Says something that is worth a line and belongs to no task.
    fn note(&self, message: &str);
}

/// One piece of long work. Dropping it without [`Task::finish`] means the work failed.
pub trait Task: Send {
    /// `by` more units are done.
    fn advance(&mut self, by: u64);

    /// Replaces the remark beside the task.
    fn message(&mut self, text: &str);

    /// The work is complete.
    fn finish(self: Box<Self>, summary: &str);
}

/// Reports nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn task(&self, _label: &str, _total: Option<u64>, _unit: Unit) -> Box<dyn Task> {
        Box::new(Silent)
    }

    fn note(&self, _message: &str) {}
}

impl Task for Silent {
    fn advance(&mut self, _by: u64) {}

    fn message(&mut self, _text: &str) {}

    fn finish(self: Box<Self>, _summary: &str) {}
}
