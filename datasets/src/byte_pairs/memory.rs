//! What one thread remembers of short words.

use super::merges::Scratch;
use crate::words::mix;

/// Bytes of a word that is remembered.
const LONGEST: usize = 15;
/// Ids of a word that is remembered.
const MOST: usize = 4;
/// Words remembered, one a place.
const PLACES: usize = 1 << 15;

#[derive(Clone, Copy, Default)]
struct Word {
    /// The word and, in its last byte, its length; 0 for none.
    key: [u64; 2],
    ids: [u32; MOST],
    count: u32,
}

/// Ids of words that came lately. A word takes the place of another with the same hash.
pub(super) struct Memory {
    words: Vec<Word>,
    scratch: Scratch,
}

impl Default for Memory {
    fn default() -> Self {
        Self { words: vec![Word::default(); PLACES], scratch: Scratch::default() }
    }
}

impl Memory {
    /// Appends the ids of a piece, which `encode` makes where they are not remembered.
    #[inline]
    pub fn encode(&mut self, piece: &[u8], ids: &mut Vec<u32>, encode: impl FnOnce(&[u8], &mut Scratch)) {
        if piece.len() > LONGEST {
            encode(piece, &mut self.scratch);
            ids.extend_from_slice(&self.scratch.ids);
            return;
        }
        let mut key = [0u8; 16];
        key[..piece.len()].copy_from_slice(piece);
        key[LONGEST] = piece.len() as u8;
        let key = u128::from_le_bytes(key);
        let key = [key as u64, (key >> 64) as u64];
        let place = mix(key[0] ^ key[1].rotate_left(29)) as usize % PLACES;
        let word = &mut self.words[place];
        if word.key != key {
            encode(piece, &mut self.scratch);
            let found = &self.scratch.ids;
            if found.len() > MOST {
                ids.extend_from_slice(found);
                return;
            }
            word.key = key;
            word.count = found.len() as u32;
            word.ids[..found.len()].copy_from_slice(found);
        }
        ids.extend_from_slice(&word.ids[..word.count as usize]);
    }
}
