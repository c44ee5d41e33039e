//! Where a model or text comes from, as written in a recipe or on the command line.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{Error, Result};
pub use crate::fetch::{Fetched, Fetcher};

/// A source: a repository on a model hub, a wheel of a Python package, or something on disk.
///
/// ```
/// use lore_datasets::source::SourceUri;
///
/// let uri: SourceUri = "hf:owner/repo@v2/data/train.jsonl".parse()?;
/// let SourceUri::Hf { owner, repo, revision, path } = &uri else { unreachable!() };
/// assert_eq!((owner.as_str(), repo.as_str()), ("owner", "repo"));
/// assert_eq!((revision.as_deref(), path.as_deref()), (Some("v2"), Some("data/train.jsonl")));
/// assert_eq!(uri.to_string(), "hf:owner/repo@v2/data/train.jsonl");
/// # Ok::<(), lore_datasets::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SourceUri {
    /// `hf:owner/repo[@revision][/path]`: one file, or without a path the files that make the model.
    Hf {
        /// Account or organisation. A dataset repository is written `hf:datasets/owner/repo`, and its
        /// owner here is `datasets/owner`.
        owner: String,
        /// Repository.
        repo: String,
        /// Branch, tag or commit; a slash in it is written `%2F`. `main` when absent.
        revision: Option<String>,
        /// File inside the repository.
        path: Option<String>,
    },
    /// `pypi:package==version[#path/inside/the/wheel]`.
    Pypi {
        /// Package.
        package: String,
        /// Exact version.
        version: String,
        /// File or folder inside the wheel; the wheel itself when absent.
        path: Option<String>,
    },
    /// `file:path`: a file, a folder, or a [pattern](crate::extract::Glob) with `*`, `**`, `?` or `{a,b}`.
    File(PathBuf),
}

/// A source, with what fetching it may need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceRequest {
    /// Where from.
    pub uri: SourceUri,
    /// Expected sha256 in hexadecimal: of the file, or of the wheel for a `pypi:` source.
    pub sha256: Option<String>,
    /// More arguments for pip, such as `--python-version`, `3.14`.
    pub pip_args: Vec<String>,
}

impl SourceRequest {
    /// A request without a pinned hash and without pip arguments.
    pub fn new(uri: SourceUri) -> Self {
        Self { uri, sha256: None, pip_args: Vec::new() }
    }
}

impl SourceUri {
    /// Reads a command-line argument: a source, or a bare path that exists.
    ///
    /// # Errors
    /// [`Error::SourceSyntax`] when it is neither.
    pub fn from_argument(argument: &str) -> Result<Self> {
        if ["hf:", "pypi:", "file:"].iter().any(|scheme| argument.starts_with(scheme)) {
            return argument.parse();
        }
        if !argument.is_empty() && Path::new(argument).exists() {
            return Ok(Self::File(argument.into()));
        }
        Err(syntax(argument, "no such file or folder exists, and it does not start with `hf:`, `pypi:` or `file:`"))
    }

    /// A relative `file:` path becomes relative to `folder` (that of the recipe). Others stay as they are.
    #[must_use]
    pub fn resolve_relative_to(self, folder: &Path) -> Self {
        match self {
            Self::File(path) if path.is_relative() => Self::File(folder.join(path)),
            other => other,
        }
    }
}

impl fmt::Display for SourceUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hf { owner, repo, revision, path } => {
                write!(f, "hf:{owner}/{repo}")?;
                if let Some(revision) = revision {
                    write!(f, "@{}", revision.replace('/', "%2F"))?;
                }
                path.as_ref().map_or(Ok(()), |path| write!(f, "/{path}"))
            }
            Self::Pypi { package, version, path } => {
                write!(f, "pypi:{package}=={version}")?;
                path.as_ref().map_or(Ok(()), |path| write!(f, "#{path}"))
            }
            Self::File(path) => write!(f, "file:{}", path.display()),
        }
    }
}

impl FromStr for SourceUri {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let parsed = if let Some(rest) = text.strip_prefix("hf:") {
            parse_hub(rest)
        } else if let Some(rest) = text.strip_prefix("pypi:") {
            parse_pypi(rest)
        } else if let Some(rest) = text.strip_prefix("file:") {
            parse_file(rest)
        } else {
            Err("it does not start with `hf:`, `pypi:` or `file:`".into())
        };
        parsed.map_err(|problem| syntax(text, problem))
    }
}

impl Serialize for SourceUri {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SourceUri {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

fn syntax(given: &str, problem: impl Into<String>) -> Error {
    Error::SourceSyntax { given: given.into(), problem: problem.into() }
}

fn parse_hub(rest: &str) -> Result<SourceUri, String> {
    if rest.starts_with("//") {
        return Err("no `//` belongs after `hf:`".into());
    }
    let (prefix, rest) = match rest.strip_prefix("datasets/") {
        Some(rest) => ("datasets/", rest),
        None => ("", rest),
    };
    let (owner, rest) = rest.split_once('/').ok_or("it names no repository: both owner and repository are needed")?;
    let (repo, path) = match rest.split_once('/') {
        Some((repo, path)) => (repo, Some(path)),
        None => (rest, None),
    };
    let (repo, revision) = match repo.split_once('@') {
        Some((repo, revision)) => (repo, Some(revision.replace("%2F", "/"))),
        None => (repo, None),
    };
    check_name("owner", owner)?;
    check_name("repository", repo)?;
    if let Some(revision) = &revision {
        check_relative(revision).map_err(|problem| format!("the revision `{revision}` {problem}"))?;
        if revision.chars().any(|c| "?#%~^:[]*@ ".contains(c)) {
            return Err(format!("the revision `{revision}` holds a character that no branch, tag or commit has"));
        }
    }
    let path = path.map(check_path).transpose()?;
    Ok(SourceUri::Hf { owner: format!("{prefix}{owner}"), repo: repo.into(), revision, path })
}

fn parse_pypi(rest: &str) -> Result<SourceUri, String> {
    let (requirement, path) = match rest.split_once('#') {
        Some((requirement, path)) => (requirement, Some(path)),
        None => (rest, None),
    };
    let (package, version) =
        requirement.split_once("==").ok_or("it names no exact version: write `package==version`")?;
    check_name("package", package)?;
    if version.is_empty()
        || !version.starts_with(|c: char| c.is_ascii_alphanumeric())
        || !version.chars().all(|c| c.is_ascii_alphanumeric() || ".!+_-".contains(c))
    {
        return Err(format!("`{version}` is not an exact version such as `1.2.0`"));
    }
    let path = path.map(check_path).transpose()?;
    Ok(SourceUri::Pypi { package: package.into(), version: version.into(), path })
}

fn parse_file(rest: &str) -> Result<SourceUri, String> {
    let path = if rest.starts_with("///") { &rest[2..] } else { rest };
    if path.is_empty() {
        return Err("the path is empty".into());
    }
    if path.contains('\0') {
        return Err("the path holds a NUL character".into());
    }
    Ok(SourceUri::File(path.into()))
}

fn check_name(what: &str, name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err(format!("the {what} is empty"));
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if !name.chars().all(plain) || name.contains("..") || name.starts_with(['.', '-']) {
        return Err(format!(
            "`{name}` is not the name of a {what} (letters, digits, `-`, `_` and single `.`; not starting with `.` or `-`)"
        ));
    }
    Ok(())
}

fn check_path(path: &str) -> Result<String, String> {
    let path = path.strip_suffix('/').unwrap_or(path);
    check_relative(path).map_err(|problem| format!("the path `{path}` {problem}"))?;
    Ok(path.into())
}

/// Accepts `a/b/c`: what stays inside the folder it is joined to, on every operating system. The error
/// completes a sentence that starts with the path.
pub(crate) fn check_relative(path: &str) -> Result<(), &'static str> {
    if path.is_empty() {
        return Err("is empty");
    }
    if path.starts_with('/') {
        return Err("is absolute");
    }
    if path.contains(['\\', ':']) || path.chars().any(char::is_control) {
        return Err("holds a backslash, a colon or a control character");
    }
    if path.split('/').any(|part| part.is_empty() || part == "." || part == "..") {
        return Err("holds an empty, `.` or `..` part");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    fn name() -> impl Strategy<Value = String> {
        "[A-Za-z0-9][A-Za-z0-9_-]{0,8}(\\.[A-Za-z0-9_-]{1,6})?"
    }

    fn path() -> impl Strategy<Value = String> {
        "[A-Za-z0-9 _@#é%-][A-Za-z0-9._ @#é-]{0,9}[a-z](/[A-Za-z0-9_-]{1,8}){0,3}"
    }

    fn uri() -> impl Strategy<Value = SourceUri> {
        let revision = "[A-Za-z0-9][A-Za-z0-9_-]{0,8}(/[a-z0-9]{1,8}){0,2}";
        prop_oneof![
            (any::<bool>(), name(), name(), prop::option::of(revision), prop::option::of(path())).prop_filter_map(
                "`datasets` is not an owner",
                |(dataset, owner, repo, revision, path)| {
                    let prefix = if dataset { "datasets/" } else { "" };
                    (owner != "datasets").then(|| SourceUri::Hf {
                        owner: format!("{prefix}{owner}"),
                        repo,
                        revision,
                        path,
                    })
                }
            ),
            (name(), "[0-9]{1,3}(\\.[0-9]{1,3}){0,3}(\\.post[0-9]|rc1|\\+local)?", prop::option::of(path()))
                .prop_map(|(package, version, path)| SourceUri::Pypi { package, version, path }),
            "/?[a-z.*?][a-zA-Z0-9._*é ]{0,10}(/[a-z*]{1,5}){0,3}".prop_map(|path| SourceUri::File(path.into())),
        ]
    }

    proptest! {
        #[test]
        fn display_then_parse_is_identity(uri in uri()) {
            prop_assert_eq!(uri.to_string().parse::<SourceUri>().unwrap(), uri.clone());
            let json = serde_json::to_string(&uri).unwrap();
            prop_assert_eq!(serde_json::from_str::<SourceUri>(&json).unwrap(), uri);
        }

        #[test]
        fn any_text_parses_or_says_the_expected_form(text in "\\PC{0,40}") {
            for text in [text.clone(), format!("hf:{text}"), format!("pypi:{text}"), format!("file:{text}")] {
                match text.parse::<SourceUri>() {
                    Ok(uri) => prop_assert_eq!(uri.to_string().parse::<SourceUri>().unwrap(), uri),
                    Err(error) => prop_assert!(error.to_string().contains("hf:owner/repo[@revision][/path]")),
                }
            }
        }

        #[test]
        fn accepted_relative_paths_stay_inside(path in "[a./\\\\:]{1,12}") {
            if check_relative(&path).is_ok() {
                let all_plain = Path::new(&path)
                    .components()
                    .all(|part| matches!(part, std::path::Component::Normal(_)));
                prop_assert!(all_plain);
            }
        }
    }

    #[test]
    fn each_mistake_is_named() {
        for (text, problem) in [
            ("owner/repo", "does not start with"),
            ("hf:repo", "names no repository"),
            ("hf://owner/repo", "no `//`"),
            ("hf:/repo", "owner is empty"),
            ("hf:owner/repo@", "revision `` is empty"),
            ("hf:owner/repo/../../x", "`..` part"),
            ("hf:owner/..", "not the name of a repository"),
            ("pypi:package", "names no exact version"),
            ("pypi:package==", "not an exact version"),
            ("pypi:package==1.*", "not an exact version"),
            ("pypi:package==1.0#/etc/passwd", "is absolute"),
            ("pypi:-e==1.0", "not the name of a package"),
            ("file:", "path is empty"),
        ] {
            let message = text.parse::<SourceUri>().unwrap_err().to_string();
            assert!(message.contains(problem), "{text}: {message}");
        }
    }

    #[test]
    fn relative_files_are_relative_to_the_recipe() {
        let recipe = Path::new("/home/me/recipes");
        let relative: SourceUri = "file:texts/*.md".parse().unwrap();
        let absolute: SourceUri = "file:/texts".parse().unwrap();
        assert_eq!(relative.resolve_relative_to(recipe), SourceUri::File("/home/me/recipes/texts/*.md".into()));
        assert_eq!(absolute.clone().resolve_relative_to(recipe), absolute);
    }

    #[test]
    fn a_bare_path_is_an_argument_only_if_it_exists() {
        let folder = tempfile::tempdir().unwrap();
        let there = folder.path().to_str().unwrap();
        assert_eq!(SourceUri::from_argument(there).unwrap(), SourceUri::File(folder.path().into()));
        let message = SourceUri::from_argument(&format!("{there}/missing")).unwrap_err().to_string();
        assert!(message.contains("no such file or folder exists"), "{message}");
    }
}
