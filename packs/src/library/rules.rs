//! What must hold between modules that are installed together.

use std::collections::BTreeMap;

use super::Policy;
use crate::error::{Error, Result};
use crate::license;
use crate::manifest::Manifest;

/// Checks one module against all that will be installed, itself among them.
pub(super) fn check(new: &Manifest, all: &BTreeMap<String, Manifest>, policy: &Policy) -> Result<()> {
    let mut problems = Vec::new();
    for dependency in &new.dependencies {
        match all.get(&dependency.name) {
            None => problems.push(format!("it needs {dependency}, which is not installed")),
            Some(found) if !dependency.version.matches(&found.version) => {
                problems.push(format!("it needs {dependency}, and {} is installed", found.version));
            }
            Some(found) if found.base.fingerprint != new.base.fingerprint => {
                problems.push(format!("it needs {dependency}, which is installed for another base"));
            }
            Some(_) => {}
        }
    }
    for other in all.values().filter(|other| other.name != new.name) {
        for (one, two) in [(new, other), (other, new)] {
            let excludes = |requirement: &&crate::Requirement| {
                requirement.name == two.name && requirement.version.matches(&two.version)
            };
            if let Some(requirement) = one.conflicts.iter().find(excludes) {
                problems.push(format!("`{}` excludes {requirement}", one.name));
            }
        }
        let needed = other.dependencies.iter().find(|dependency| dependency.name == new.name);
        if let Some(dependency) = needed.filter(|dependency| !dependency.version.matches(&new.version)) {
            problems.push(format!("`{}` {} needs {dependency}", other.name, other.version));
        }
        // Only modules of one base can be used together.
        if !policy.accept_licenses && other.base.fingerprint == new.base.fingerprint {
            problems.extend(license_problem(&new.license, &other.name, &other.license));
        }
    }
    if !policy.accept_licenses {
        problems.extend(license_problem(&new.license, &new.base.name, &new.base.license));
    }
    if problems.is_empty() {
        return Ok(());
    }
    Err(Error::Conflict { name: new.name.clone(), version: new.version.clone(), problems })
}

fn license_problem(new: &str, other: &str, license: &str) -> Option<String> {
    let reason = license::conflict(new, license)?;
    Some(format!(
        "its licence {new} and that of `{other}`, {license}, do not go together in one work ({reason}); \
         --accept-licenses installs it for use that does not pass such a work on"
    ))
}
