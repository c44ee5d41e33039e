//! Handing in a pack, or the hash of one that the operator gets elsewhere.

use std::fs;
use std::path::{Path, PathBuf};

use lore_packs::{Manifest, Verified, verify_file};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::folder::{Board, write_whole};
use crate::log::{Claim, Event};

/// What the board keeps of a pack, beside its card: enough for its page.
pub const FACTS: &str = "pack.json";
/// The model card.
pub const CARD: &str = "card.md";
/// The pack itself, if it was handed in whole.
pub const PACK: &str = "module.lorepack";

/// What is handed in.
#[derive(Debug, Clone)]
pub struct Submission<'a> {
    /// The pack.
    pub pack: &'a Path,
    /// Who hands it in, in their own words.
    pub by: &'a str,
    /// Whether only its hash and facts are kept; the operator then needs the file for the rerun.
    pub hash_only: bool,
    /// Figures that its author states, beside those in the pack.
    pub claims: Vec<Claim>,
}

/// `pack.json`: the facts of a pack that are shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Facts {
    /// The pack's manifest.
    pub manifest: Manifest,
    /// The key of its signature.
    pub signer: Option<String>,
    /// What it was made from.
    pub corpus: lore_packs::documents::Corpus,
    /// What it says of itself.
    pub evaluation: lore_packs::documents::Evaluation,
}

impl Facts {
    /// Those of a pack.
    fn of(pack: &Verified) -> Self {
        Self {
            manifest: pack.manifest.clone(),
            signer: pack.signer.as_ref().map(ToString::to_string),
            corpus: pack.corpus.clone(),
            evaluation: pack.evaluation.clone(),
        }
    }
}

impl Board {
    /// Takes a pack: checks every byte of it, and keeps what its page needs. Returns its id.
    ///
    /// # Errors
    /// A pack that is refused or altered, belongs to another base, or was handed in before.
    pub fn submit(&mut self, submission: &Submission<'_>, time: &str) -> Result<String> {
        let pack = verify_file(submission.pack, None)?;
        let (manifest, sha256) = (&pack.manifest, &pack.manifest_sha256);
        let fingerprint = manifest.base.fingerprint.to_string();
        if fingerprint != self.settings.base.fingerprint {
            return Error::request(format!(
                "{} {} is made for the base {fingerprint}; this board is of {} ({})",
                manifest.name, manifest.version, self.settings.base.name, self.settings.base.fingerprint
            ));
        }
        if let Some((id, _)) = self.state().submissions.iter().find(|(_, known)| known.manifest == *sha256) {
            return Error::request(format!("this pack was handed in before, as `{id}`"));
        }
        if let Some(claim) = submission.claims.iter().find(|claim| !claim.value.is_finite()) {
            return Error::request(format!("the figure stated for {} is no finite number", claim.task));
        }
        if submission.by.trim().is_empty() || submission.by.chars().any(char::is_control) {
            return Error::request("who hands it in must be one plain line");
        }
        let id = format!("{}-{}-{}", manifest.name, manifest.version, &sha256[..8]).replace('+', "_");
        let folder = self.submission(&id);
        let mut bytes = serde_json::to_vec_pretty(&Facts::of(&pack)).expect("plain data");
        bytes.push(b'\n');
        write_whole(&folder.join(FACTS), &bytes)?;
        write_whole(&folder.join(CARD), pack.card.as_bytes())?;
        if !submission.hash_only {
            let bytes = fs::read(submission.pack).map_err(Error::io(submission.pack))?;
            write_whole(&folder.join(PACK), &bytes)?;
        }
        let mut claims = stated(&pack);
        claims.extend(submission.claims.iter().cloned());
        let event = Event::Submitted {
            id: id.clone(),
            by: submission.by.trim().to_owned(),
            manifest: sha256.clone(),
            files: self.files_below(&folder)?,
            claims,
        };
        self.note(time, event)?;
        Ok(id)
    }

    /// The pack of a submission: the board's own copy, or that one of `others` whose manifest it is.
    ///
    /// # Errors
    /// When there is none, it is refused, or the board keeps of it what it does not say.
    pub fn pack_of(&self, id: &str, others: &[PathBuf]) -> Result<(PathBuf, Verified)> {
        let state = self.state();
        let Some(submitted) = state.submissions.get(id) else {
            return Error::request(format!("no submission is called `{id}`"));
        };
        let own = self.submission(id).join(PACK);
        let own = own.is_file().then_some(own);
        for path in own.iter().chain(others) {
            let pack = verify_file(path, None)?;
            if pack.manifest_sha256 == submitted.manifest {
                self.check_facts(id, &pack)?;
                return Ok((path.clone(), pack));
            }
        }
        Error::request(format!(
            "`{id}` was handed in as a hash: get the pack whose manifest has the sha256 {}, and name it with --pack",
            submitted.manifest
        ))
    }

    /// Whoever handed a pack in may have written what the board keeps of it by hand: corpus and signer decide what is
    /// searched and shown. A signature that came later is no contradiction.
    fn check_facts(&self, id: &str, pack: &Verified) -> Result<()> {
        let folder = self.submission(id);
        let kept = self.facts(id)?;
        let mut found = Facts::of(pack);
        if kept.signer.is_none() {
            found.signer = None;
        }
        if kept != found {
            return Error::altered(folder.join(FACTS), "it is not what the pack says");
        }
        let path = folder.join(CARD);
        let card = fs::read(&path).map_err(Error::io(&path))?;
        if card != pack.card.as_bytes() {
            return Error::altered(path, "it is not the card in the pack");
        }
        Ok(())
    }

    /// What the board keeps of a pack.
    ///
    /// # Errors
    /// Files that are missing or damaged.
    pub fn facts(&self, id: &str) -> Result<Facts> {
        let path = self.submission(id).join(FACTS);
        let bytes = fs::read(&path).map_err(Error::io(&path))?;
        serde_json::from_slice(&bytes).map_err(|error| Error::Altered { path, problem: error.to_string() })
    }
}

/// What a pack says of itself: the change of bits per byte on each text.
fn stated(pack: &Verified) -> Vec<Claim> {
    let evaluation = &pack.evaluation;
    let Some(module) = evaluation.module(&pack.manifest.topic) else { return Vec::new() };
    let texts = evaluation.texts.iter().filter_map(|text| Some((text, evaluation.change(module, &text.name)?)));
    let percent = |change: f64| (change * 1e4).round() / 100.0;
    texts
        .map(|(text, change)| Claim {
            task: text.name.clone(),
            metric: "bits per byte, change in %".into(),
            value: percent(change),
        })
        // JSON has no word for a ratio beyond all numbers, and the log must stay readable.
        .filter(|claim| claim.value.is_finite())
        .collect()
}
