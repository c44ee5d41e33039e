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
    /// What runs side by side.
    pub elements: Elements,
}

/// The elements of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Elements {
    /// All stages are one element.
    One,
    /// Each stage is one.
    Stages,
    /// Each of so many parts of its stage is one.
    Parts(u64),
}

/// Groups stages, which come in an order in which inputs come first, so that each job needs only those before it: what
/// is fetched and prepared is one job, all modules are an array, every other stage is a job of its own, after an array of its
/// parts, `parts` at most, if it can be divided.
pub fn jobs(stages: &[Box<dyn Stage>], parts: u64) -> Vec<Job> {
    let mut jobs: Vec<Job> = Vec::new();
    for stage in stages {
        let name = stage.name();
        let kind = name.split(':').next().unwrap_or(name);
        let (job, elements) = match kind {
            "fetch" | "teacher" | "topic" => ("prepare", Elements::One),
            "module" => ("modules", Elements::Stages),
            _ => (name, Elements::One),
        };
        let parts = stage.parts().min(parts);
        if parts > 1 {
            let (name, elements) = (format!("{job}-parts"), Elements::Parts(parts));
            jobs.push(Job { name, stages: vec![stage.name().to_owned()], elements });
        }
        match jobs.last_mut().filter(|last| last.name == job) {
            Some(last) => last.stages.push(name.to_owned()),
            None => jobs.push(Job { name: job.to_owned(), stages: vec![name.to_owned()], elements }),
        }
    }
    jobs
}
