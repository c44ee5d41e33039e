//! Training windows over a token store, without padding.

use crate::token_store::TokenStore;

/// Tokens of several attention sequences, one after another.
///
/// Attention runs inside each sequence only, and positions start at 0 in each.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Batch {
    /// Token ids, `[tokens]`.
    pub tokens: Vec<u32>,
    /// Tokens of each sequence, in order; their sum is `tokens.len()`.
    pub lengths: Vec<usize>,
    /// The token that each position is to predict, `[tokens]`; 0 where the mask is 0.
    pub targets: Vec<u32>,
    /// 1 where there is a target, else 0, `[tokens]`.
    pub mask: Vec<f32>,
    /// Which part of a mixture each sequence comes from, as far as it was said; 0 beyond the end.
    pub parts: Vec<usize>,
}

impl Batch {
    /// Positions that have a target.
    pub fn target_count(&self) -> usize {
        self.mask.iter().filter(|&&m| m > 0.0).count()
    }

    /// Positions restarted at 0 in each sequence, `[tokens]`.
    pub fn positions(&self) -> Vec<usize> {
        self.lengths.iter().flat_map(|&length| 0..length).collect()
    }

    /// Appends window `index` of a store: tokens `index · length .. (index + 1) · length` of all its
    /// documents laid end to end (the last window may be shorter). Each document's part is a sequence of
    /// its own. The target of a token is the next token of its document, also where that one lies beyond
    /// the window, so that over all windows every token that has a successor is a source exactly once.
    ///
    /// # Panics
    /// If `length` is 0 or there is no such window.
    pub fn push_window(&mut self, store: &TokenStore, length: usize, index: u64) {
        let (tokens, offsets) = (store.tokens(), store.offsets());
        let start = usize::try_from(index).ok().and_then(|i| i.checked_mul(length)).expect("an index from `windows`");
        let end = (start + length).min(tokens.len());
        assert!(start < end, "window {index} of {length} tokens is beyond the store");
        // The document of the first token: documents without tokens are passed over.
        let mut document = offsets.partition_point(|&offset| offset <= start as u64) - 1;
        let mut at = start;
        while at < end {
            let document_end = offsets[document + 1] as usize;
            document += 1;
            if document_end <= at {
                continue;
            }
            let part_end = document_end.min(end);
            self.lengths.push(part_end - at);
            self.tokens.extend_from_slice(&tokens[at..part_end]);
            self.targets.extend_from_slice(&tokens[at + 1..(part_end + 1).min(document_end)]);
            self.targets.resize(self.tokens.len(), 0);
            self.mask.resize(self.tokens.len() - 1, 1.0);
            self.mask.push(if part_end < document_end { 1.0 } else { 0.0 });
            at = part_end;
        }
    }
}

/// How many windows of `length` tokens a store has.
///
/// # Panics
/// If `length` is 0.
pub fn windows(store: &TokenStore, length: usize) -> u64 {
    store.tokens().len().div_ceil(length) as u64
}
