//! Passages of a plain text file.

use std::path::Path;

use lore_datasets::evaluation::EvalPassage;

use crate::error::{Error, Result};
use crate::models::LoadedModel;

/// At most `most` passages of at most `tokens` tokens from all over a file that was given with `option`, each beginning
/// where a line does.
///
/// # Errors
/// A file that cannot be read or has no text.
pub fn of_file(path: &Path, option: &str, most: usize, tokens: usize, model: &LoadedModel) -> Result<Vec<EvalPassage>> {
    let text = std::fs::read_to_string(path).map_err(Error::io(path))?;
    // About as many bytes as a passage has, cut at ends of lines.
    let mut pieces = vec![String::new()];
    for line in text.lines() {
        let last = pieces.last_mut().expect("never empty");
        last.push_str(line);
        last.push('\n');
        if last.len() >= 5 * tokens {
            pieces.push(String::new());
        }
    }
    let only = pieces.len() == 1;
    pieces.retain(|piece| piece.len() >= 2 * tokens || (only && !piece.trim().is_empty()));
    if pieces.is_empty() {
        return Err(Error::Usage(format!("{option} {}: there is no text in it", path.display())));
    }
    let wanted = most.min(pieces.len());
    let refused = |error| Error::Failed(format!("the tokenizer: {error}"));
    let passage = |number: usize| -> Result<EvalPassage> {
        let piece = &pieces[number * pieces.len() / wanted];
        let encoding = model.files.tokenizer.encode(piece.as_str(), false).map_err(refused)?;
        let count = encoding.get_ids().len().min(tokens);
        let end = encoding.get_offsets()[..count].last().map_or(0, |(_, end)| *end);
        let ids = encoding.get_ids()[..count].to_vec();
        Ok(EvalPassage { document: format!("{number}"), tokens: ids, bytes: end as u64 })
    };
    (0..wanted).map(passage).collect()
}
