//! Rows that were scored, kept until everything is measured: by this process, by one that was interrupted, or by others
//! that had a share.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use lore_datasets::whole::beside;
use lore_eval::composition::Row;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Their folder in that of the stage.
const FOLDER: &str = "rows";

/// A model's scores.
#[derive(Debug, Serialize, Deserialize)]
pub struct Scored {
    /// What it is called.
    pub label: String,
    /// Bytes of memory that its modules take beside the base.
    pub bytes: u64,
    /// Its scores on all texts.
    pub row: Row,
}

/// The rows of one evaluation.
pub struct KeptRows {
    folder: PathBuf,
}

impl KeptRows {
    /// Those in a stage's folder.
    ///
    /// # Errors
    /// A folder that cannot be made.
    pub fn open(stage: &Path) -> Result<Self> {
        let folder = stage.join(FOLDER);
        fs::create_dir_all(&folder).map_err(Error::io(&folder))?;
        Ok(Self { folder })
    }

    /// The row at `place` of the evaluation, scored now if it was not before.
    ///
    /// # Errors
    /// Those of scoring; a file that cannot be written.
    pub fn row(&self, place: usize, label: &str, score: impl FnOnce() -> Result<Scored>) -> Result<Scored> {
        let path = self.folder.join(format!("{place:04}.json"));
        let known = fs::read(&path).ok().and_then(|text| serde_json::from_slice::<Scored>(&text).ok());
        if let Some(known) = known.filter(|known| known.label == label) {
            return Ok(known);
        }
        let scored = score()?;
        let text = serde_json::to_vec(&scored).map_err(Error::while_doing("keeping a row of scores"))?;
        let mut file = beside(&self.folder).map_err(Error::io(&path))?;
        file.write_all(&text).map_err(Error::io(&path))?;
        file.persist(&path).map_err(|error| error.error).map_err(Error::io(&path))?;
        Ok(scored)
    }

    /// Removes them.
    ///
    /// # Errors
    /// A folder that cannot be removed.
    pub fn clear(self) -> Result<()> {
        fs::remove_dir_all(&self.folder).map_err(Error::io(&self.folder))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use lore_eval::score::TokenScores;

    use super::*;

    #[test]
    fn a_row_is_scored_once_to_the_last_bit() {
        let stage = tempfile::tempdir().unwrap();
        let rows = KeptRows::open(stage.path()).unwrap();
        let log_likelihoods = vec![-0.1, -1.0 / 3.0, -17.123_456, -1e-30];
        let scores = TokenScores { log_likelihoods, greedy: vec![true, false, true, false] };
        let row = Row { scores: vec![vec![scores.clone()]], tokens_per_second: 123.456 };
        let scored = rows.row(3, "a", || Ok(Scored { label: "a".into(), bytes: 7, row })).unwrap();
        let known = rows.row(3, "a", || unreachable!("it was scored")).unwrap();
        assert_eq!((known.bytes, &known.row.scores[0][0]), (7, &scores));
        assert_eq!(known.row.tokens_per_second, scored.row.tokens_per_second);
        // Another model, or a file cut off, is scored.
        assert!(rows.row(3, "b", || Err(Error::Failed("now".into()))).is_err());
        let file = stage.path().join("rows/0003.json");
        fs::write(&file, &fs::read(&file).unwrap()[..20]).unwrap();
        assert!(rows.row(3, "a", || Err(Error::Failed("now".into()))).is_err());
        rows.clear().unwrap();
        assert_eq!(fs::read_dir(stage.path()).unwrap().count(), 0);
    }
}
