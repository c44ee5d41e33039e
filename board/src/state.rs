//! What follows from a log: who takes part, what was asked, what is disputed.

use std::collections::BTreeMap;

use crate::log::{Claim, Event, Files, Log, Outcome};

/// A board's submissions.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct State {
    /// By id.
    pub submissions: BTreeMap<String, Submitted>,
    /// Results of the base alone.
    pub base: Option<Reran>,
    /// In their order.
    pub disputes: Vec<Dispute>,
}

/// A submission.
#[derive(Debug, Clone, PartialEq)]
pub struct Submitted {
    /// Number of its entry.
    pub entry: u64,
    /// When.
    pub time: String,
    /// Who handed it in.
    pub by: String,
    /// sha256 of its pack's manifest.
    pub manifest: String,
    /// What the board keeps of it.
    pub files: Files,
    /// What its author says of it.
    pub claims: Vec<Claim>,
    /// The operator's results, the last ones.
    pub rerun: Option<Reran>,
    /// Why it was taken out of the ranking.
    pub withdrawn: Option<String>,
}

/// Results of the operator.
#[derive(Debug, Clone, PartialEq)]
pub struct Reran {
    /// Number of the entry.
    pub entry: u64,
    /// When.
    pub time: String,
    /// Results, samples, and what belongs to them.
    pub files: Files,
}

/// A doubt.
#[derive(Debug, Clone, PartialEq)]
pub struct Dispute {
    /// Number of its entry.
    pub entry: u64,
    /// When.
    pub time: String,
    /// The submission.
    pub id: String,
    /// Who.
    pub by: String,
    /// Why.
    pub reason: String,
    /// What followed, and why.
    pub settled: Option<(Outcome, String)>,
}

impl State {
    /// Goes through a log. What makes no sense (a result of nothing) is passed over; `verify` tells it.
    pub fn of(log: &Log) -> Self {
        let mut state = Self::default();
        for entry in &log.entries {
            let (number, time) = (entry.index, entry.time.clone());
            match &entry.what {
                Event::Opened { .. } => {}
                Event::Submitted { id, by, manifest, files, claims } => {
                    state.submissions.entry(id.clone()).or_insert_with(|| Submitted {
                        entry: number,
                        time,
                        by: by.clone(),
                        manifest: manifest.clone(),
                        files: files.clone(),
                        claims: claims.clone(),
                        rerun: None,
                        withdrawn: None,
                    });
                }
                Event::Rerun { id, files } => {
                    let reran = Some(Reran { entry: number, time, files: files.clone() });
                    if id == crate::folder::BASE {
                        state.base = reran;
                    } else if let Some(submitted) = state.submissions.get_mut(id) {
                        submitted.rerun = reran;
                    }
                }
                Event::Disputed { id, by, reason } => state.disputes.push(Dispute {
                    entry: number,
                    time,
                    id: id.clone(),
                    by: by.clone(),
                    reason: reason.clone(),
                    settled: None,
                }),
                Event::Settled { dispute, outcome, reason } => {
                    let Some(disputed) = state.disputes.iter_mut().find(|disputed| disputed.entry == *dispute) else {
                        continue;
                    };
                    disputed.settled = Some((*outcome, reason.clone()));
                    if *outcome == Outcome::Withdrawn
                        && let Some(submitted) = state.submissions.get_mut(&disputed.id)
                    {
                        submitted.withdrawn = Some(reason.clone());
                    }
                }
            }
        }
        state
    }

    /// Submissions that the operator has not asked anything yet.
    pub fn pending(&self) -> impl Iterator<Item = &str> {
        let waiting = |submitted: &Submitted| submitted.rerun.is_none() && submitted.withdrawn.is_none();
        self.submissions.iter().filter(move |(_, submitted)| waiting(submitted)).map(|(id, _)| id.as_str())
    }

    /// The submission that is meant by an id, or by its beginning if that is enough.
    ///
    /// # Errors
    /// None, or several.
    pub fn find(&self, id: &str) -> crate::Result<String> {
        if self.submissions.contains_key(id) {
            return Ok(id.to_owned());
        }
        let found: Vec<&String> = self.submissions.keys().filter(|known| known.starts_with(id)).collect();
        match found.as_slice() {
            [one] => Ok((*one).clone()),
            [] => {
                let known: Vec<&str> = self.submissions.keys().map(String::as_str).collect();
                let known = if known.is_empty() { "none".into() } else { known.join(", ") };
                crate::Error::request(format!("no submission is called `{id}`; there are: {known}"))
            }
            several => {
                let names: Vec<&str> = several.iter().map(|id| id.as_str()).collect();
                crate::Error::request(format!("`{id}` could be any of {}", names.join(", ")))
            }
        }
    }
}
