//! `lore-pack.json` and `manifest.json`: what a pack says about itself.
//!
//! Both are read strictly: unknown keys are refused, and the bytes must be the canonical ones.

use lore_model::fingerprint::Fingerprint;
use semver::{Version, VersionReq};
use serde::{Deserialize, Serialize};

use crate::canonical::{canonical_json, is_sha256, read_canonical, sha256_hex};
use crate::error::{Problem, is_hidden};
use crate::format::{CONTENT, FORMAT, FORMAT_VERSION, OPTIONAL, RECIPE};
use crate::license;

/// What a base's `source` is when the recipe in the pack makes it.
pub const BASE_FROM_RECIPE: &str = "recipe:recipe.toml";

/// `lore-pack.json`: the first member of every pack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Marker {
    /// `lore-pack`.
    pub format: String,
    /// [`FORMAT_VERSION`].
    pub format_version: u32,
    /// sha256 of `manifest.json`, lower-case hexadecimal: the identity of the pack.
    pub manifest_sha256: String,
}

/// `manifest.json`. The order of fields here is their order in the file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Name of the module: lower-case letters, digits and `-`.
    pub name: String,
    /// Its version, by the rules of Semantic Versioning 2.0.
    pub version: Version,
    /// What it knows about; the name of its column in `evaluation.json`.
    pub topic: String,
    /// One line for people.
    pub summary: String,
    /// The base it was trained on.
    pub base: BaseReference,
    /// How it changes the base: `lora`.
    pub method: String,
    /// The highest rank of its updates.
    pub rank: usize,
    /// The projections it changes, by their last names, sorted.
    pub targets: Vec<String>,
    /// The type its values are stored as: `F32`, `F16` or `BF16`.
    pub dtype: String,
    /// Number of its values.
    pub parameters: u64,
    /// Languages of its texts, BCP 47.
    pub languages: Vec<String>,
    /// Its licence, an SPDX expression.
    pub license: String,
    /// Who made it.
    pub authors: Vec<String>,
    /// Modules it needs beside it.
    pub dependencies: Vec<Requirement>,
    /// Modules it must not be installed with.
    pub conflicts: Vec<Requirement>,
    /// The program that packed it, with its version.
    pub program: String,
    /// The content, in the order of the file.
    pub members: Vec<Member>,
}

/// A base, and where to get it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BaseReference {
    /// Name for people.
    pub name: String,
    /// Its identity.
    pub fingerprint: Fingerprint,
    /// `hf:owner/repo[@revision]`, `pypi:package==version#path`, or [`BASE_FROM_RECIPE`].
    pub source: String,
    /// Its licence, an SPDX expression.
    pub license: String,
}

/// A module by name and versions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Requirement {
    /// Name of the module.
    pub name: String,
    /// Versions that are meant, such as `^1.2`.
    pub version: VersionReq,
}

impl std::fmt::Display for Requirement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.name, self.version)
    }
}

/// One file of the content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// Its sha256, lower-case hexadecimal.
    pub sha256: String,
}

impl Marker {
    /// The marker of a pack with this manifest.
    pub(crate) fn of(manifest: &[u8]) -> Self {
        Self { format: FORMAT.into(), format_version: FORMAT_VERSION, manifest_sha256: sha256_hex(manifest) }
    }

    pub(crate) fn parse(name: &str, bytes: &[u8]) -> Result<Self, Problem> {
        let marker: Self = read_canonical(name, bytes)?;
        if marker.format != FORMAT {
            return Problem::refused(format!("`{name}` names the format \"{}\"", marker.format.escape_debug()));
        }
        if marker.format_version != FORMAT_VERSION {
            return Problem::refused(format!(
                "it has version {} of the format; this program reads version {FORMAT_VERSION}, look for a newer one",
                marker.format_version
            ));
        }
        if !is_sha256(&marker.manifest_sha256) {
            return Problem::refused(format!("`{name}` does not hold a sha256"));
        }
        Ok(marker)
    }
}

impl Manifest {
    /// The bytes of `manifest.json`.
    pub fn to_bytes(&self) -> Vec<u8> {
        canonical_json(self)
    }

    /// Where it says a member is.
    pub fn member(&self, name: &str) -> Option<&Member> {
        self.members.iter().find(|member| member.name == name)
    }

    pub(crate) fn parse(name: &str, bytes: &[u8]) -> Result<Self, Problem> {
        let manifest: Self = read_canonical(name, bytes)?;
        let mut problems = manifest.problems();
        problems.extend(manifest.member_problems());
        match problems.is_empty() {
            true => Ok(manifest),
            false => Problem::refused(format!("`{name}`: {}", problems.join("; "))),
        }
    }

    /// What is wrong with its values, one sentence each; the members apart.
    pub(crate) fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut check = |good: bool, problem: String| {
            if !good {
                problems.push(problem);
            }
        };
        check(
            is_name(&self.name),
            format!("`name` \"{}\" must be {NAME_RULE}", self.name.chars().take(80).collect::<String>().escape_debug()),
        );
        check(self.version.to_string().len() <= 64, "`version` is longer than 64 characters".into());
        for (key, text, longest) in [
            ("topic", &self.topic, 64),
            ("summary", &self.summary, 300),
            ("base.name", &self.base.name, 128),
            ("base.source", &self.base.source, 512),
            ("program", &self.program, 64),
        ] {
            check(is_plain(text, longest), format!("`{key}` must be {}", plain_rule(longest)));
        }
        let source = &self.base.source;
        check(
            source == BASE_FROM_RECIPE || source.starts_with("hf:") || source.starts_with("pypi:"),
            format!("`base.source` must begin with `hf:` or `pypi:`, or be `{BASE_FROM_RECIPE}` ({RECIPE} makes it)"),
        );
        // Cards show it inside a command that people copy.
        check(
            source.bytes().all(|byte| byte.is_ascii_alphanumeric() || b":/@=#+._~-".contains(&byte)),
            "`base.source` holds a character that means something to a shell".into(),
        );
        check(self.method == "lora", "`method` must be `lora`".into());
        check(["F32", "F16", "BF16"].contains(&self.dtype.as_str()), "`dtype` must be F32, F16 or BF16".into());
        check(
            (1..=16).contains(&self.languages.len()) && self.languages.iter().all(|language| is_language(language)),
            "`languages` must hold 1 to 16 language tags such as `en` or `pt-BR`".into(),
        );
        check(
            (1..=64).contains(&self.authors.len()) && self.authors.iter().all(|author| is_plain(author, 200)),
            format!("`authors` must hold 1 to 64 names, each {}", plain_rule(200)),
        );
        for (key, license) in [("license", &self.license), ("base.license", &self.base.license)] {
            if let Err(problem) = license::check(license) {
                check(false, format!("`{key}` \"{}\" {problem}", license.escape_debug()));
            }
        }
        for (key, list) in [("dependencies", &self.dependencies), ("conflicts", &self.conflicts)] {
            let sorted = list.windows(2).all(|pair| pair[0].name < pair[1].name);
            check(sorted && list.len() <= 64, format!("`{key}` must be at most 64, sorted, each name once"));
            for requirement in list {
                check(is_name(&requirement.name), format!("a name in `{key}` must be {NAME_RULE}"));
                check(requirement.name != self.name, format!("`{key}` names the module itself"));
            }
        }
        problems
    }

    fn member_problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let names: Vec<&str> = self.members.iter().map(|member| member.name.as_str()).collect();
        let expected: Vec<(&str, u64)> =
            CONTENT.into_iter().chain(OPTIONAL.into_iter().filter(|(name, _)| names.contains(name))).collect();
        let limits: Vec<u64> = expected.iter().map(|(_, limit)| *limit).collect();
        let expected: Vec<&str> = expected.into_iter().map(|(name, _)| name).collect();
        if names != expected {
            let missing: Vec<&str> = expected.iter().filter(|name| !names.contains(name)).copied().collect();
            problems.push(match missing.is_empty() {
                true => format!("`members` must be exactly {}, in this order", expected.join(", ")),
                false => format!("`members` lacks {}", missing.join(", ")),
            });
            return problems;
        }
        for ((member, name), limit) in self.members.iter().zip(names).zip(limits) {
            if member.bytes == 0 || member.bytes > limit {
                problems.push(format!("`{name}` has {} bytes; 1 to {limit} are allowed", member.bytes));
            }
            if !is_sha256(&member.sha256) {
                problems.push(format!("the sha256 of `{name}` is not 64 lower-case hexadecimal digits"));
            }
        }
        problems
    }
}

const NAME_RULE: &str =
    "1 to 64 lower-case letters, digits and single `-`, beginning with a letter, and no reserved device name";

/// Whether a text may name a module, and so a folder, on every system.
pub fn is_name(text: &str) -> bool {
    let plain = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
    let device = ["con", "prn", "aux", "nul"].contains(&text)
        || (text.len() == 4 && (text.starts_with("com") || text.starts_with("lpt")));
    (1..=64).contains(&text.len())
        && text.bytes().all(plain)
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && !text.ends_with('-')
        && !text.contains("--")
        && !device
}

fn plain_rule(longest: usize) -> String {
    format!("1 to {longest} bytes of text on one line, without control or invisible characters")
}

/// Text that shows as what it is: no controls, no changes of direction, nothing invisible.
pub(crate) fn is_plain(text: &str, longest: usize) -> bool {
    (1..=longest).contains(&text.len()) && text.trim() == text && !text.chars().any(is_hidden)
}

fn is_language(text: &str) -> bool {
    let mut parts = text.split('-');
    let first = parts.next().unwrap_or_default();
    (2..=3).contains(&first.len())
        && first.bytes().all(|byte| byte.is_ascii_lowercase())
        && parts.all(|part| (2..=8).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric()))
        && text.len() <= 35
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_folders_everywhere() {
        for good in ["geography", "a", "srd-5-1", "computer"] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", "Geo", "a--b", "-a", "a-", "a.b", "../a", "con", "lpt1", "1a", "a/b", "é", &"a".repeat(65)] {
            assert!(!is_name(bad), "{bad}");
        }
    }

    #[test]
    fn invisible_text_is_not_plain() {
        assert!(is_plain("Zoë Müller, 北京", 64));
        for bad in ["", " a", "a\n", "a\u{202e}b", "a\u{200b}b", "\u{feff}a", "a\u{0}", "aa"] {
            assert!(!is_plain(bad, 1) || bad.is_empty(), "{bad:?}");
        }
    }
}
