//! Block formats of ggml, expanded to `f32`.
//!
//! A row is a sequence of blocks; each block has one or two half-precision scales and small integers.
//! Formats ending in `_0` are symmetric (`d·q`), in `_1` have an offset (`d·q + m`); `_K` formats hold 256
//! values in sub-blocks whose scales are themselves quantised.

use half::{bf16, f16};

/// A tensor type of ggml this crate reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, non_camel_case_types)] // ggml's own names
pub enum BlockFormat {
    F32,
    F16,
    BF16,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q4_K,
    Q5_K,
    Q6_K,
}

use BlockFormat::{BF16, F16, F32, Q4_0, Q4_1, Q4_K, Q5_0, Q5_1, Q5_K, Q6_K, Q8_0};

impl BlockFormat {
    /// Every format this crate reads.
    pub const ALL: [Self; 11] = [F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K, Q6_K];

    /// The format with this number in GGUF's tensor table.
    pub fn from_id(id: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.id() == id)
    }

    /// The number in GGUF's tensor table.
    pub fn id(self) -> u32 {
        match self {
            F32 => 0,
            F16 => 1,
            Q4_0 => 2,
            Q4_1 => 3,
            Q5_0 => 6,
            Q5_1 => 7,
            Q8_0 => 8,
            Q4_K => 12,
            Q5_K => 13,
            Q6_K => 14,
            BF16 => 30,
        }
    }

    /// ggml's name of the format.
    pub fn name(self) -> &'static str {
        match self {
            F32 => "F32",
            F16 => "F16",
            BF16 => "BF16",
            Q4_0 => "Q4_0",
            Q4_1 => "Q4_1",
            Q5_0 => "Q5_0",
            Q5_1 => "Q5_1",
            Q8_0 => "Q8_0",
            Q4_K => "Q4_K",
            Q5_K => "Q5_K",
            Q6_K => "Q6_K",
        }
    }

    /// Number of values in one block.
    pub fn block_values(self) -> usize {
        match self {
            F32 | F16 | BF16 => 1,
            Q4_0 | Q4_1 | Q5_0 | Q5_1 | Q8_0 => 32,
            Q4_K | Q5_K | Q6_K => 256,
        }
    }

    /// Number of bytes of one block.
    pub fn block_bytes(self) -> usize {
        match self {
            F32 => 4,
            F16 | BF16 => 2,
            Q4_0 => 18,
            Q4_1 => 20,
            Q5_0 => 22,
            Q5_1 => 24,
            Q8_0 => 34,
            Q4_K => 144,
            Q5_K => 176,
            Q6_K => 210,
        }
    }

    /// Expands the blocks of `bytes` into `values`.
    ///
    /// # Panics
    /// If the two do not hold the same whole number of blocks.
    pub fn dequantise(self, bytes: &[u8], values: &mut [f32]) {
        assert_eq!(values.len() % self.block_values(), 0, "values fill whole blocks");
        assert_eq!(values.len() / self.block_values() * self.block_bytes(), bytes.len(), "bytes match values");
        match self {
            F32 => blocks::<4, 1>(bytes, values, |block, out| out[0] = f32::from_le_bytes(*block)),
            F16 => blocks::<2, 1>(bytes, values, |block, out| out[0] = f16::from_le_bytes(*block).to_f32()),
            BF16 => blocks::<2, 1>(bytes, values, |block, out| out[0] = bf16::from_le_bytes(*block).to_f32()),
            Q4_0 => blocks(bytes, values, q4_0),
            Q4_1 => blocks(bytes, values, q4_1),
            Q5_0 => blocks(bytes, values, q5_0),
            Q5_1 => blocks(bytes, values, q5_1),
            Q8_0 => blocks(bytes, values, q8_0),
            Q4_K => blocks(bytes, values, q4_k),
            Q5_K => blocks(bytes, values, q5_k),
            Q6_K => blocks(bytes, values, q6_k),
        }
    }
}

/// Applies `expand` to each block of `B` bytes and `V` values.
fn blocks<const B: usize, const V: usize>(bytes: &[u8], values: &mut [f32], expand: impl Fn(&[u8; B], &mut [f32; V])) {
    let (blocks, _) = bytes.as_chunks::<B>();
    let (outputs, _) = values.as_chunks_mut::<V>();
    for (block, output) in blocks.iter().zip(outputs) {
        expand(block, output);
    }
}

/// The half-precision number at `at`.
fn half_at(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

fn q4_0(block: &[u8; 18], out: &mut [f32; 32]) {
    let d = half_at(block, 0);
    for (j, &byte) in block[2..].iter().enumerate() {
        out[j] = d * (f32::from(byte & 15) - 8.0);
        out[j + 16] = d * (f32::from(byte >> 4) - 8.0);
    }
}

fn q4_1(block: &[u8; 20], out: &mut [f32; 32]) {
    let (d, m) = (half_at(block, 0), half_at(block, 2));
    for (j, &byte) in block[4..].iter().enumerate() {
        out[j] = d * f32::from(byte & 15) + m;
        out[j + 16] = d * f32::from(byte >> 4) + m;
    }
}

/// The 32 five-bit numbers of low nibbles `low` and one high bit each in `high`.
fn five_bits(high: &[u8], low: &[u8]) -> [f32; 32] {
    let high = u32::from_le_bytes([high[0], high[1], high[2], high[3]]);
    let mut numbers = [0.0; 32];
    for (j, &byte) in low.iter().enumerate() {
        numbers[j] = f32::from(byte & 15) + 16.0 * ((high >> j) & 1) as f32;
        numbers[j + 16] = f32::from(byte >> 4) + 16.0 * ((high >> (j + 16)) & 1) as f32;
    }
    numbers
}

fn q5_0(block: &[u8; 22], out: &mut [f32; 32]) {
    let d = half_at(block, 0);
    *out = five_bits(&block[2..6], &block[6..]).map(|q| d * (q - 16.0));
}

fn q5_1(block: &[u8; 24], out: &mut [f32; 32]) {
    let (d, m) = (half_at(block, 0), half_at(block, 2));
    *out = five_bits(&block[4..8], &block[8..]).map(|q| d * q + m);
}

fn q8_0(block: &[u8; 34], out: &mut [f32; 32]) {
    let d = half_at(block, 0);
    for (value, &byte) in out.iter_mut().zip(&block[2..]) {
        *value = d * f32::from(byte.cast_signed());
    }
}

/// The six-bit scale and minimum of sub-block `j` of eight, packed in twelve bytes: the first four pairs in
/// the low bits of bytes 0–7, the others split between bytes 8–11 and the top bits of bytes 0–7.
fn scale_and_minimum(packed: &[u8], j: usize) -> (f32, f32) {
    let (scale, minimum) = if j < 4 {
        (packed[j] & 63, packed[j + 4] & 63)
    } else {
        let low = packed[j + 4];
        ((low & 15) | ((packed[j - 4] >> 6) << 4), (low >> 4) | ((packed[j] >> 6) << 4))
    };
    (f32::from(scale), f32::from(minimum))
}

fn q4_k(block: &[u8; 144], out: &mut [f32; 256]) {
    let (d, d_min) = (half_at(block, 0), half_at(block, 2));
    for (j, sub) in out.chunks_exact_mut(32).enumerate() {
        let (scale, minimum) = scale_and_minimum(&block[4..16], j);
        let (scale, minimum) = (d * scale, d_min * minimum);
        let nibbles = &block[16 + j / 2 * 32..][..32];
        for (value, &byte) in sub.iter_mut().zip(nibbles) {
            *value = scale * f32::from((byte >> (4 * (j % 2))) & 15) - minimum;
        }
    }
}

fn q5_k(block: &[u8; 176], out: &mut [f32; 256]) {
    let (d, d_min) = (half_at(block, 0), half_at(block, 2));
    let high = &block[16..48];
    for (j, sub) in out.chunks_exact_mut(32).enumerate() {
        let (scale, minimum) = scale_and_minimum(&block[4..16], j);
        let (scale, minimum) = (d * scale, d_min * minimum);
        let nibbles = &block[48 + j / 2 * 32..][..32];
        for ((value, &byte), &bits) in sub.iter_mut().zip(nibbles).zip(high) {
            let q = ((byte >> (4 * (j % 2))) & 15) | (((bits >> j) & 1) << 4);
            *value = scale * f32::from(q) - minimum;
        }
    }
}

fn q6_k(block: &[u8; 210], out: &mut [f32; 256]) {
    let d = half_at(block, 208);
    for (j, sub) in out.chunks_exact_mut(32).enumerate() {
        // Each half of 128 values uses 64 bytes of nibbles (low then high) and 32 bytes of bit pairs.
        let (part, quarter) = (j / 4, j % 4);
        let nibbles = &block[part * 64 + quarter % 2 * 32..][..32];
        let high = &block[128 + part * 32..][..32];
        for (i, value) in sub.iter_mut().enumerate() {
            let low = (nibbles[i] >> (4 * (quarter / 2))) & 15;
            let q = low | (((high[i] >> (2 * quarter)) & 3) << 4);
            let scale = f32::from(block[192 + j * 2 + i / 16].cast_signed());
            *value = (d * scale) * (f32::from(q) - 32.0);
        }
    }
}
