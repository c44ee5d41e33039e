//! Models and modules as named on the command line: a path, or a source that is fetched.

use std::path::PathBuf;
use std::str::FromStr;

use lore_datasets::source::{SourceRequest, SourceUri};

use crate::error::{Error, Result};
use crate::session::Session;

/// A path, or a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A file or directory on this machine.
    Path(PathBuf),
    /// `hf:`, `pypi:` or `file:`.
    Source(SourceUri),
}

impl FromStr for Location {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if ["hf:", "pypi:", "file:"].iter().any(|scheme| text.starts_with(scheme)) {
            return text.parse().map(Self::Source).map_err(|error: lore_datasets::Error| error.to_string());
        }
        let path = PathBuf::from(text);
        if path.exists() {
            Ok(Self::Path(path))
        } else {
            Err("no such file or directory, and not a source (hf:..., pypi:..., file:...)".into())
        }
    }
}

impl Location {
    /// Fetches a source; a path is itself.
    ///
    /// # Errors
    /// When it cannot be fetched.
    pub fn resolve(&self, session: &Session) -> Result<PathBuf> {
        match self {
            Self::Path(path) => Ok(path.clone()),
            Self::Source(uri) => {
                let request = SourceRequest::new(uri.clone());
                let fetched = session.fetcher.fetch(&request, session.progress.as_ref()).map_err(Error::from)?;
                Ok(fetched.path)
            }
        }
    }
}

/// `DIR[=WEIGHT]`.
#[derive(Debug, Clone, PartialEq)]
pub struct ModuleArgument {
    /// Where the module is.
    pub location: Location,
    /// What its update is multiplied by.
    pub weight: f32,
}

impl FromStr for ModuleArgument {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (location, weight) = match text.rsplit_once('=') {
            // The second `=` of `pypi:package==1.0` introduces no weight.
            Some((location, weight)) if !location.ends_with('=') => match weight.parse::<f32>() {
                Ok(weight) if weight.is_finite() => (location, weight),
                Ok(_) => return Err(format!("the weight `{weight}` is not a finite number")),
                Err(_) if text.parse::<Location>().is_ok() => (text, 1.0),
                Err(_) => return Err(format!("the weight `{weight}` is not a number")),
            },
            _ => (text, 1.0),
        };
        Ok(Self { location: location.parse()?, weight })
    }
}

/// A module with its weight, on this machine.
#[derive(Debug, Clone, PartialEq)]
pub struct WeightedModule {
    /// The PEFT adapter's directory.
    pub path: PathBuf,
    /// What its update is multiplied by.
    pub weight: f32,
}

/// Fetches every module that is named by a source.
///
/// # Errors
/// When one cannot be fetched.
pub fn resolve_modules(modules: &[ModuleArgument], session: &Session) -> Result<Vec<WeightedModule>> {
    let resolve =
        |module: &ModuleArgument| Ok(WeightedModule { path: module.location.resolve(session)?, weight: module.weight });
    modules.iter().map(resolve).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn weights_are_split_from_locations() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_str().unwrap();
        let read = |text: &str| text.parse::<ModuleArgument>();
        let expected = |location, weight| Ok(ModuleArgument { location, weight });
        assert_eq!(read(path), expected(Location::Path(path.into()), 1.0));
        assert_eq!(read(&format!("{path}=0.5")), expected(Location::Path(path.into()), 0.5));
        assert_eq!(read(&format!("{path}=-1")), expected(Location::Path(path.into()), -1.0));
        assert!(read(&format!("{path}=half")).unwrap_err().contains("not a number"));
        assert!(read(&format!("{path}=inf")).unwrap_err().contains("finite"));
        assert!(read("/no/such/module=0.5").unwrap_err().contains("no such file"));
    }

    #[test]
    fn the_version_of_a_package_is_not_a_weight() {
        let read = |text: &str| text.parse::<ModuleArgument>().unwrap();
        let source = |text: &str| Location::Source(text.parse().unwrap());
        assert_eq!(read("pypi:pack==1.0").location, source("pypi:pack==1.0"));
        assert_eq!(read("pypi:pack==1.0").weight, 1.0);
        assert_eq!(read("pypi:pack==1.0=0.25").location, source("pypi:pack==1.0"));
        assert_eq!(read("pypi:pack==1.0=0.25").weight, 0.25);
        assert_eq!(read("pypi:pack==1.0.2#inner").location, source("pypi:pack==1.0.2#inner"));
        assert_eq!(read("hf:owner/module=0.3").location, source("hf:owner/module"));
    }
}
