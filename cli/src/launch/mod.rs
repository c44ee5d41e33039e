//! A run on a cluster: its stages as jobs of an engine that exists.

pub mod slurm;

use crate::stages::Stage;

/// Stages that are one job: one after another, or as an array of elements that do not need each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Names it.
    pub name: String,
    /// Its stages.
    pub stages: Vec<String>,
    /// Whether each stage is an element of its own.
    pub array: bool,
}

/// Groups stages, which come in an order in which inputs come first, so that each job needs only those before it: what
/// is fetched and prepared is one job, all modules are an array, every other stage is a job of its own.
pub fn jobs(stages: &[Box<dyn Stage>]) -> Vec<Job> {
    let mut jobs: Vec<Job> = Vec::new();
    for stage in stages {
        let name = stage.name();
        let kind = name.split(':').next().unwrap_or(name);
        let (job, array) = match kind {
            "fetch" | "teacher" | "topic" => ("prepare", false),
            "module" => ("modules", true),
            _ => (name, false),
        };
        match jobs.last_mut().filter(|last| last.name == job) {
            Some(last) => last.stages.push(name.to_owned()),
            None => jobs.push(Job { name: job.to_owned(), stages: vec![name.to_owned()], array }),
        }
    }
    jobs
}
