//! Rows of block-quantised values, rounded and expanded. Every row begins a block; the last block of a row whose width is
//! no multiple of 32 is filled up with copies of the row's last value.

use super::{rows_per_task, vectorised};
use crate::weights::dequantise::BlockFormat;
use crate::weights::quantise::{q4_0, q4_1, q8_0};
use half::f16;
use rayon::prelude::*;

/// Values in a block.
const BLOCK: usize = 32;

/// Bytes of a row of `columns` values.
pub fn row_bytes(format: BlockFormat, columns: usize) -> usize {
    columns.div_ceil(BLOCK) * format.block_bytes()
}

/// Rounds a row-major matrix to blocks of `format`.
///
/// # Panics
/// For formats other than `Q8_0`, `Q4_0` and `Q4_1`.
pub fn quantise(format: BlockFormat, values: &[f32], columns: usize) -> Vec<u8> {
    let width = row_bytes(format, columns);
    let rows = values.len() / columns;
    let mut bytes = vec![0; rows * width];
    bytes.par_chunks_mut(width).zip(values.par_chunks(columns)).for_each(|(bytes, row)| {
        for (bytes, part) in bytes.chunks_exact_mut(format.block_bytes()).zip(row.chunks(BLOCK)) {
            let mut block = [part[part.len() - 1]; BLOCK];
            block[..part.len()].copy_from_slice(part);
            match format {
                BlockFormat::Q8_0 => bytes.copy_from_slice(&q8_0(&block)),
                BlockFormat::Q4_0 => bytes.copy_from_slice(&q4_0(&block)),
                BlockFormat::Q4_1 => bytes.copy_from_slice(&q4_1(&block)),
                other => panic!("{} is not a format that weights are quantised to", other.name()),
            }
        }
    });
    bytes
}

/// Expands the rows of a matrix into `out`, on all threads. The same numbers as [`BlockFormat::dequantise`] gives.
///
/// # Panics
/// When the sizes do not fit, or for other formats than [`quantise`] makes.
pub fn dequantise(format: BlockFormat, bytes: &[u8], out: &mut [f32], columns: usize) {
    let width = row_bytes(format, columns);
    assert_eq!(out.len() / columns * width, bytes.len(), "bytes of every row");
    let rows = rows_per_task(columns);
    bytes.par_chunks(rows * width).zip(out.par_chunks_mut(rows * columns)).for_each(|(bytes, out)| {
        for (bytes, out) in bytes.chunks_exact(width).zip(out.chunks_exact_mut(columns)) {
            match format {
                BlockFormat::Q8_0 => row_of_q8_0(bytes, out),
                BlockFormat::Q4_0 => row_of_q4_0(bytes, out),
                BlockFormat::Q4_1 => row_of_q4_1(bytes, out),
                other => panic!("{} is not a format that weights are quantised to", other.name()),
            }
        }
    });
}

vectorised! {
    fn row_of_q8_0(bytes: &[u8], out: &mut [f32]) {
        for (block, out) in bytes.as_chunks::<34>().0.iter().zip(out.chunks_mut(BLOCK)) {
            let unit = half_at(block, 0);
            for (value, &byte) in out.iter_mut().zip(&block[2..]) {
                *value = unit * f32::from(byte.cast_signed());
            }
        }
    }
}

vectorised! {
    fn row_of_q4_0(bytes: &[u8], out: &mut [f32]) {
        for (block, out) in bytes.as_chunks::<18>().0.iter().zip(out.chunks_mut(BLOCK)) {
            let unit = half_at(block, 0);
            let (low, high) = out.split_at_mut(out.len().min(BLOCK / 2));
            for (value, &byte) in low.iter_mut().zip(&block[2..]) {
                *value = unit * (f32::from(byte & 15) - 8.0);
            }
            for (value, &byte) in high.iter_mut().zip(&block[2..]) {
                *value = unit * (f32::from(byte >> 4) - 8.0);
            }
        }
    }
}

vectorised! {
    fn row_of_q4_1(bytes: &[u8], out: &mut [f32]) {
        for (block, out) in bytes.as_chunks::<20>().0.iter().zip(out.chunks_mut(BLOCK)) {
            let (unit, least) = (half_at(block, 0), half_at(block, 2));
            let (low, high) = out.split_at_mut(out.len().min(BLOCK / 2));
            for (value, &byte) in low.iter_mut().zip(&block[4..]) {
                *value = unit * f32::from(byte & 15) + least;
            }
            for (value, &byte) in high.iter_mut().zip(&block[4..]) {
                *value = unit * f32::from(byte >> 4) + least;
            }
        }
    }
}

#[inline(always)]
fn half_at(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sampling::Random;

    /// Widths of whole blocks and of less; the expansion of every block by the reader of files.
    #[test]
    fn rows_expand_as_in_files() {
        let mut random = Random::new(5, 9);
        for format in [BlockFormat::Q8_0, BlockFormat::Q4_0, BlockFormat::Q4_1] {
            for (rows, columns) in [(1, 32), (3, 64), (70, 1536), (5, 48), (2, 7), (4, 33)] {
                let values: Vec<f32> = (0..rows * columns).map(|_| random.normal() as f32).collect();
                let bytes = quantise(format, &values, columns);
                assert_eq!(bytes.len(), rows * row_bytes(format, columns));
                let mut found = vec![0.0; rows * columns];
                dequantise(format, &bytes, &mut found, columns);
                let mut padded = vec![0.0; rows * columns.next_multiple_of(32)];
                format.dequantise(&bytes, &mut padded);
                let expected: Vec<f32> =
                    padded.chunks_exact(columns.next_multiple_of(32)).flat_map(|row| row[..columns].to_vec()).collect();
                assert_eq!(found, expected, "{} {rows}×{columns}", format.name());
                let worst = found.iter().zip(&values).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(worst < if format == BlockFormat::Q8_0 { 0.03 } else { 0.6 }, "{}: {worst}", format.name());
            }
        }
    }
}
