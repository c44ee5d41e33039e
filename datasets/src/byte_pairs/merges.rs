//! Merges of pairs of tokens, the most frequent of training first.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use serde_json::Value;

use super::character_of;
use crate::words::mix;

/// What merges work with and leave: the ids of the piece, in order.
#[derive(Default)]
pub(super) struct Scratch {
    symbols: Vec<Symbol>,
    /// Rank, position, made token: least first.
    waiting: BinaryHeap<Reverse<(u32, u32, u32)>>,
    /// The result.
    pub ids: Vec<u32>,
}

impl Scratch {
    /// Makes one token the result.
    pub fn only(&mut self, id: u32) {
        self.ids.clear();
        self.ids.push(id);
    }
}

/// A token of a piece on the way.
#[derive(Clone, Copy)]
struct Symbol {
    id: u32,
    previous: u32,
    next: u32,
    gone: bool,
}

/// No symbol: the one before the first, the one behind the last.
const NONE: u32 = u32::MAX;

/// Which pairs make which token, and when.
pub(super) struct Merges {
    /// The token of each byte. Vocabularies leave out bytes that do not occur in texts; there the crate makes no token.
    bytes: [Option<u32>; 256],
    /// Open addressing: pair, rank, made token.
    slots: Vec<(u64, u32, u32)>,
    shift: u32,
}

const FREE: u64 = u64::MAX;

impl Merges {
    /// Merges as `tokenizer.json` lists them; `None` where a token of a merge is missing.
    pub fn new(vocabulary: &HashMap<&str, u32>, listed: &[Value]) -> Option<Self> {
        let of_byte = |byte: usize| vocabulary.get(character_of(byte as u8).to_string().as_str()).copied();
        let bytes = std::array::from_fn(of_byte);
        let size = (listed.len() * 2).next_power_of_two().max(16);
        let mut merges = Self { bytes, slots: vec![(FREE, 0, 0); size], shift: 64 - size.ilog2() };
        for (rank, merge) in (0u32..).zip(listed) {
            let (left, right) = match merge {
                Value::String(text) => text.split_once(' ')?,
                pair => (pair.get(0)?.as_str()?, pair.get(1)?.as_str()?),
            };
            let made = *vocabulary.get(format!("{left}{right}").as_str())?;
            let key = pair(*vocabulary.get(left)?, *vocabulary.get(right)?);
            let slot = merges.slot(key);
            merges.slots[slot] = (key, rank, made);
        }
        Some(merges)
    }

    /// Where a pair is, or would be.
    #[inline]
    fn slot(&self, key: u64) -> usize {
        let mut at = (mix(key) >> self.shift) as usize;
        while self.slots[at].0 != key && self.slots[at].0 != FREE {
            at = (at + 1) & (self.slots.len() - 1);
        }
        at
    }

    /// Rank and made token of a pair that is merged.
    #[inline]
    fn get(&self, left: u32, right: u32) -> Option<(u32, u32)> {
        let (key, rank, made) = self.slots[self.slot(pair(left, right))];
        (key != FREE).then_some((rank, made))
    }

    /// Leaves the ids of a piece in `scratch`. Pairs are merged by rank, of equal ones the first; a pair that waits is
    /// taken at its rank if what stands there then still makes the same token, as `tokenizers` does it.
    pub fn encode(&self, piece: &[u8], scratch: &mut Scratch) {
        let Scratch { symbols, waiting, ids } = scratch;
        symbols.clear();
        waiting.clear();
        ids.clear();
        let tokens = piece.iter().filter_map(|&byte| self.bytes[usize::from(byte)]);
        symbols.extend((0u32..).zip(tokens).map(|(at, id)| Symbol {
            id,
            previous: at.wrapping_sub(1),
            next: at + 1,
            gone: false,
        }));
        if let Some(last) = symbols.last_mut() {
            last.next = NONE;
        }
        for at in 1..symbols.len() {
            if let Some((rank, made)) = self.get(symbols[at - 1].id, symbols[at].id) {
                waiting.push(Reverse((rank, at as u32 - 1, made)));
            }
        }
        while let Some(Reverse((_, at, made))) = waiting.pop() {
            let left = symbols[at as usize];
            if left.gone || left.next == NONE {
                continue;
            }
            let right = symbols[left.next as usize];
            if self.get(left.id, right.id).is_none_or(|(_, now)| now != made) {
                continue;
            }
            symbols[left.next as usize].gone = true;
            symbols[at as usize] = Symbol { id: made, next: right.next, ..left };
            if right.next != NONE {
                symbols[right.next as usize].previous = at;
                if let Some((rank, next)) = self.get(made, symbols[right.next as usize].id) {
                    waiting.push(Reverse((rank, at, next)));
                }
            }
            if left.previous != NONE
                && let Some((rank, next)) = self.get(symbols[left.previous as usize].id, made)
            {
                waiting.push(Reverse((rank, left.previous, next)));
            }
        }
        ids.extend(symbols.iter().filter(|symbol| !symbol.gone).map(|symbol| symbol.id));
    }
}

fn pair(left: u32, right: u32) -> u64 {
    u64::from(left) << 32 | u64::from(right)
}
