//! Keys and values of texts seen before, used again when a text begins the same way under the same modules.

use std::sync::Arc;

use burn::tensor::Tensor;
use lore_model::cache::KvCache;
use lore_model::{Decoder, Error};

use super::active::SetKey;

/// Slots of a key-value cache, each with the tokens it holds and the set of modules they were computed with.
#[derive(Debug)]
pub struct PrefixCache {
    cache: KvCache,
    slots: Vec<Slot>,
    uses: u64,
}

#[derive(Debug, Default)]
struct Slot {
    key: SetKey,
    tokens: Vec<u32>,
    claimed: bool,
    last_use: u64,
}

/// A slot for a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// Its number.
    pub slot: usize,
    /// Tokens of the text whose keys and values are there already; at least one is not.
    pub known: usize,
}

impl PrefixCache {
    /// `slots` slots of up to `capacity` tokens for a base.
    pub fn new(base: &Decoder, slots: usize, capacity: usize) -> Self {
        let cache = base.cache(slots, capacity);
        Self { cache, slots: (0..slots).map(|_| Slot::default()).collect(), uses: 0 }
    }

    /// Tokens that a slot has room for.
    pub fn capacity(&self) -> usize {
        self.cache.capacity()
    }

    /// Slots that nobody has claimed.
    pub fn free(&self) -> usize {
        self.slots.iter().filter(|slot| !slot.claimed).count()
    }

    /// Takes a free slot for a text under a set of modules: the one that shares the longest beginning with it, of
    /// those computed with exactly this set; otherwise the one unused for longest, of which nothing is kept.
    pub fn claim(&mut self, key: &SetKey, tokens: &[u32]) -> Option<Claim> {
        let known = |slot: &Slot| {
            let longest = tokens.len().saturating_sub(1);
            let same = slot.tokens.iter().zip(&tokens[..longest]).take_while(|(a, b)| a == b).count();
            if slot.key == *key { same } else { 0 }
        };
        let free = self.slots.iter().enumerate().filter(|(_, slot)| !slot.claimed);
        let (slot, known) = free
            .map(|(number, slot)| (number, known(slot), slot.last_use))
            .max_by_key(|(number, known, last_use)| (*known, std::cmp::Reverse((*last_use, *number))))
            .map(|(number, known, _)| (number, known))?;
        self.uses += 1;
        self.cache.truncate(slot, known);
        let chosen = &mut self.slots[slot];
        chosen.tokens.truncate(known);
        chosen.key = key.clone();
        chosen.claimed = true;
        chosen.last_use = self.uses;
        Some(Claim { slot, known })
    }

    /// Gives a slot back; what it holds can be used again.
    pub fn release(&mut self, slot: usize) {
        self.slots[slot].claimed = false;
    }

    /// Final hidden states `[rows, hidden]` of new tokens for claimed slots, which `decoder` must compute with the
    /// sets they were claimed for.
    ///
    /// # Errors
    /// When a slot has no room left.
    pub fn advance(&mut self, decoder: &Decoder, parts: &[(usize, &[u32])]) -> Result<Tensor<2>, Error> {
        let slots: Vec<usize> = parts.iter().map(|(slot, _)| *slot).collect();
        let lengths: Vec<usize> = parts.iter().map(|(_, tokens)| tokens.len()).collect();
        let tokens: Vec<u32> = parts.iter().flat_map(|(_, tokens)| tokens.iter().copied()).collect();
        let hidden = decoder.advance(Arc::new(tokens), &slots, &lengths, &mut self.cache)?;
        for (slot, tokens) in parts {
            self.slots[*slot].tokens.extend_from_slice(tokens);
        }
        Ok(hidden)
    }
}
