//! Where each sequence of a flat batch begins and how much of it came before.

use crate::cpu::attention::Span;

/// The sequences of a batch whose tokens are laid one after another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sequences {
    spans: Vec<Span>,
    positions: Vec<u32>,
}

impl Sequences {
    /// Whole sequences of the given lengths.
    pub fn whole(lengths: &[usize]) -> Self {
        Self::continued(lengths, &vec![0; lengths.len()])
    }

    /// New tokens of sequences of which `past` tokens are known already. Keys are laid as all of the
    /// first sequence (past, then new), all of the second, and so on.
    pub fn continued(lengths: &[usize], past: &[usize]) -> Self {
        assert_eq!(lengths.len(), past.len(), "one past per sequence");
        let mut key = 0;
        let starts: Vec<usize> = lengths
            .iter()
            .zip(past)
            .map(|(length, past)| {
                let start = key;
                key += past + length;
                start
            })
            .collect();
        Self::at(lengths, past, &starts)
    }

    /// As [`Sequences::continued`], with the key row at which each sequence starts given.
    pub fn at(lengths: &[usize], past: &[usize], key_starts: &[usize]) -> Self {
        let mut spans = Vec::with_capacity(lengths.len());
        let mut positions = Vec::new();
        let mut query = 0;
        for ((&length, &past), &start) in lengths.iter().zip(past).zip(key_starts) {
            spans.push(Span { queries: query..query + length, prefix: 0..0, keys: start..start + past + length });
            positions.extend((past..past + length).map(|p| p as u32));
            query += length;
        }
        Self { spans, positions }
    }

    /// Sequences some of which continue another: each has its own length and, if it is a continuation, the
    /// index of the whole sequence that comes before it. The shared beginning is computed once.
    ///
    /// # Panics
    /// When a continuation names a later sequence or another continuation.
    pub fn branching(parts: &[(usize, Option<usize>)]) -> Self {
        let mut spans: Vec<Span> = Vec::with_capacity(parts.len());
        let mut positions = Vec::new();
        let mut row = 0;
        for &(length, parent) in parts {
            let prefix = parent.map_or(0..0, |parent| {
                let span = &spans[parent];
                assert!(span.prefix.is_empty(), "a continuation follows a whole sequence");
                span.keys.clone()
            });
            positions.extend((prefix.len()..prefix.len() + length).map(|p| p as u32));
            spans.push(Span { queries: row..row + length, prefix, keys: row..row + length });
            row += length;
        }
        Self { spans, positions }
    }

    /// Rows of each sequence among the queries and among the keys.
    pub fn spans(&self) -> &[Span] {
        &self.spans
    }

    /// Position of each row inside its sequence.
    pub fn positions(&self) -> &[u32] {
        &self.positions
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.positions.len()
    }

    /// Longest sequence, past included.
    pub fn longest(&self) -> usize {
        self.spans.iter().map(|span| span.prefix.len() + span.keys.len()).max().unwrap_or(0)
    }
}
