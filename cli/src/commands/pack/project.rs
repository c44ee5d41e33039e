//! `pack.toml`: what an author says about a module.

use std::path::Path;

use lore_packs::Requirement;
use serde::Deserialize;

use crate::error::{Error, Result};

/// File name.
pub const PROJECT: &str = "pack.toml";
/// The author's own words for the card.
pub const ABOUT: &str = "ABOUT.md";
/// The licence's text, where the author gives one.
pub const LICENSE_TEXT: &str = "LICENSE.txt";

/// A module project.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Project {
    /// Name of the module.
    pub name: Option<String>,
    /// Its version.
    pub version: Option<String>,
    /// One line for people.
    pub summary: Option<String>,
    /// Who made it.
    pub authors: Vec<String>,
    /// Languages of its texts.
    pub languages: Vec<String>,
    /// Its licence, an SPDX expression.
    pub license: Option<String>,
    /// Where others get the base.
    pub base_source: Option<String>,
    /// Modules it needs beside it.
    pub dependencies: Vec<Requirement>,
    /// Modules it must not be installed with.
    pub conflicts: Vec<Requirement>,
}

impl Project {
    /// Reads the `pack.toml` of a folder; empty texts count as absent.
    ///
    /// # Errors
    /// An unknown key, or a value of the wrong kind, with its line.
    pub fn open(folder: &Path) -> Result<Self> {
        let path = folder.join(PROJECT);
        let text = std::fs::read_to_string(&path).map_err(Error::io(&path))?;
        let mut project: Self = toml::from_str(&text)
            .map_err(|error| Error::Usage(format!("{}: {}", path.display(), error.to_string().trim_end())))?;
        for value in [
            &mut project.name,
            &mut project.version,
            &mut project.summary,
            &mut project.license,
            &mut project.base_source,
        ] {
            *value = value.take().filter(|text| !text.trim().is_empty());
        }
        project.authors.retain(|author| !author.trim().is_empty());
        Ok(project)
    }
}
