//! Where each sequence of a flat batch begins and how much of it came before.

use crate::cpu::attention::Span;
use std::ops::Range;

/// The sequences of a batch whose tokens are laid one after another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sequences {
    spans: Vec<Span>,
    positions: Vec<u32>,
    branching: bool,
}

/// A sequence that may continue others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Branch {
    /// Rows of the batch that come before its own, in the order of their positions from the first on.
    pub prefix: Vec<Range<usize>>,
    /// Its own rows, which follow those of the branch before it in the batch.
    pub length: usize,
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
            spans.push(Span { queries: query..query + length, prefix: Vec::new(), keys: start..start + past + length });
            positions.extend((past..past + length).map(|p| p as u32));
            query += length;
        }
        Self { spans, positions, branching: false }
    }

    /// Sequences that share beginnings, which are computed once. They have no gradient.
    ///
    /// # Panics
    /// When a prefix names rows that are not before its branch.
    pub fn branching(branches: &[Branch]) -> Self {
        let mut spans: Vec<Span> = Vec::with_capacity(branches.len());
        let mut positions = Vec::new();
        let mut row = 0;
        for Branch { prefix, length } in branches {
            assert!(prefix.iter().all(|rows| rows.end <= row), "a prefix comes before its branch");
            let own = row..row + length;
            let past = prefix.iter().map(Range::len).sum::<usize>();
            positions.extend((past..past + length).map(|p| p as u32));
            spans.push(Span { queries: own.clone(), prefix: prefix.clone(), keys: own });
            row += length;
        }
        Self { spans, positions, branching: true }
    }

    /// Whether they may share beginnings.
    pub fn is_branching(&self) -> bool {
        self.branching
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
        self.spans.iter().map(|span| span.seen()).max().unwrap_or(0)
    }
}
