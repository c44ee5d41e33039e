//! Matrix products of bfloat16 values with sums in `f32`, on processors that multiply pairs of them in one instruction
//! (AVX512-BF16). Where that instruction is issued as often as a fused multiply-add it is twice the arithmetic of `f32`
//! products, for the last sixteen bits of their factors.
//!
//! Blocked and packed as in Goto and van de Geijn 2008, "Anatomy of High-Performance Matrix Multiplication": a stretch
//! of the inner dimension at a time, both factors are rounded and laid out in the order in which the innermost loop reads
//! them, pairs of the inner dimension side by side.

use super::matmul::{Matrix, Output, Threads};
use super::vectorised;
use rayon::prelude::*;
use std::cell::RefCell;

/// Rows of the output that one innermost loop computes.
const ROWS: usize = 6;
/// Columns of the output that one innermost loop computes: four vectors of 16.
const COLUMNS: usize = 64;
/// Stretch of the inner dimension that is packed at a time; even.
const DEPTH: usize = 512;
/// Columns that are packed at a time.
const WIDTH: usize = 2048;
/// Most rows that one task packs and multiplies.
const HEIGHT: usize = 96;

/// Whether this processor has the instruction.
pub fn available() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        static FOUND: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
        *FOUND.get_or_init(|| {
            is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512bf16")
        })
    }
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// Whether products are faster so than in `f32`: not on Intel's processors, where a training step was found to take 1.65 times
/// as long (EXPERIMENTS.md, "bfloat16 on an Intel processor"). By the maker and not by a measurement on the spot: what a
/// training computes must not depend on how busy a machine is.
pub fn is_faster() -> bool {
    available() && !is_intel()
}

#[cfg(target_arch = "x86_64")]
fn is_intel() -> bool {
    let leaf = std::arch::x86_64::__cpuid(0);
    [leaf.ebx, leaf.edx, leaf.ecx].map(u32::to_le_bytes).concat() == b"GenuineIntel"
}

#[cfg(not(target_arch = "x86_64"))]
fn is_intel() -> bool {
    false
}

/// The nearest bfloat16, ties to even, in the low half. Not-a-number stays not a number.
#[inline(always)]
fn rounded(value: f32) -> u32 {
    let bits = value.to_bits();
    let nearest = (bits.wrapping_add(0x7fff + ((bits >> 16) & 1))) >> 16;
    if value.is_nan() { (bits >> 16) | 0x40 } else { nearest }
}

vectorised! {
    /// Entries of two neighbouring values of the inner dimension that lie in one line each: `low[i]` with `high[i]`.
    fn pair_across(entries: &mut [u32], low: &[f32], high: &[f32]) {
        for ((entry, &low), &high) in entries.iter_mut().zip(low).zip(high) {
            *entry = rounded(low) | rounded(high) << 16;
        }
    }
}

vectorised! {
    /// Entries of neighbouring values of one line: `values[2·i]` with `values[2·i + 1]`.
    fn pair_along(entries: &mut [u32], values: &[f32]) {
        for (entry, pair) in entries.iter_mut().zip(values.as_chunks::<2>().0) {
            *entry = rounded(pair[0]) | rounded(pair[1]) << 16;
        }
    }
}

/// `out (+)= alpha · a·b` as [`matmul`](super::matmul::matmul), with the factors rounded to bfloat16; the same for any
/// number of threads.
///
/// # Panics
/// When the shapes do not fit, or the processor lacks the instruction ([`available`]).
pub fn matmul(out: &mut [f32], a: Matrix<'_>, b: Matrix<'_>, alpha: f32, output: Output, threads: Threads) {
    assert!(available(), "a processor with AVX512-BF16");
    assert_eq!(a.columns(), b.rows(), "inner dimensions");
    let (rows, columns, depth) = (a.rows(), b.columns(), a.columns());
    assert!(out.len() >= rows * columns, "output size");
    if rows == 0 || columns == 0 {
        return;
    }
    if depth == 0 && output == Output::Replace {
        out[..rows * columns].fill(0.0);
    }
    // Two tasks a thread or more, so that none waits long for another; rows are independent, so it decides no sum.
    let share = rows.div_ceil(2 * rayon::current_num_threads()).next_multiple_of(ROWS);
    let height = share.min(HEIGHT);
    let mut packed = PACKED_COLUMNS.take();
    for left in (0..columns).step_by(WIDTH) {
        let width = WIDTH.min(columns - left);
        for front in (0..depth).step_by(DEPTH) {
            let stretch = Stretch { front, depth: DEPTH.min(depth - front) };
            pack_columns(&mut packed, b, left, width, stretch, threads);
            let first = front == 0 && output == Output::Replace;
            let packed = packed.as_slice();
            let task = |(index, out): (usize, &mut [f32])| {
                let block = Block { top: index * height, left, width, stretch, alpha, replace: first };
                multiply(out, columns, a, packed, &block);
            };
            let chunks = height * columns;
            match threads {
                Threads::All => out[..rows * columns].par_chunks_mut(chunks).enumerate().for_each(task),
                Threads::One => out[..rows * columns].chunks_mut(chunks).enumerate().for_each(task),
            }
        }
    }
    PACKED_COLUMNS.set(packed);
}

thread_local! {
    // Kept, because fresh memory costs more than filling it. Taken out while in use: a thread that waits may begin
    // another product.
    static PACKED_COLUMNS: RefCell<Vec<u32>> = const { RefCell::new(Vec::new()) };
    static PACKED_ROWS: RefCell<Vec<u32>> = const { RefCell::new(Vec::new()) };
}

/// A stretch of the inner dimension.
#[derive(Clone, Copy)]
struct Stretch {
    front: usize,
    depth: usize,
}

impl Stretch {
    fn pairs(self) -> usize {
        self.depth.div_ceil(2)
    }
}

/// The part of the output that a task computes.
#[derive(Clone, Copy)]
struct Block {
    top: usize,
    left: usize,
    width: usize,
    stretch: Stretch,
    alpha: f32,
    replace: bool,
}

/// Lays panels of [`COLUMNS`] columns one after another: of each, pair by pair of the inner dimension, one entry a column.
fn pack_columns(packed: &mut Vec<u32>, b: Matrix<'_>, left: usize, width: usize, stretch: Stretch, threads: Threads) {
    let panel_size = stretch.pairs() * COLUMNS;
    packed.resize(width.div_ceil(COLUMNS) * panel_size, 0);
    let task = |(panel, packed): (usize, &mut [u32])| {
        let first = left + panel * COLUMNS;
        pack::<COLUMNS>(packed, b.transposed(), first, COLUMNS.min(left + width - first), stretch);
    };
    match threads {
        Threads::All => packed.par_chunks_mut(panel_size).enumerate().for_each(task),
        Threads::One => packed.chunks_mut(panel_size).enumerate().for_each(task),
    }
}

/// Fills a panel of `LINES` lines with `count` rows of `x` (the rest is zero), from row `first`: pair by pair of the
/// columns of the stretch, one entry a line.
fn pack<const LINES: usize>(packed: &mut [u32], x: Matrix<'_>, first: usize, count: usize, stretch: Stretch) {
    let whole = stretch.depth / 2;
    if count < LINES {
        packed.fill(0);
    }
    if x.column_stride() == 1 {
        // Along each line, sixteen pairs at a time, turned by way of a small table.
        let mut table = [[0u32; 16]; LINES];
        for start in (0..whole).step_by(16) {
            let pairs = 16.min(whole - start);
            for (line, table) in table.iter_mut().enumerate().take(count) {
                let at = (first + line) * x.row_stride() + stretch.front + 2 * start;
                pair_along(&mut table[..pairs], &x.values()[at..at + 2 * pairs]);
            }
            for (pair, entries) in packed[start * LINES..(start + pairs) * LINES].chunks_exact_mut(LINES).enumerate() {
                for (entry, table) in entries.iter_mut().zip(&table).take(count) {
                    *entry = table[pair];
                }
            }
        }
    } else {
        debug_assert_eq!(x.row_stride(), 1, "a matrix is stored one way or the other");
        for (pair, entries) in packed[..whole * LINES].chunks_exact_mut(LINES).enumerate() {
            let at = (stretch.front + 2 * pair) * x.column_stride() + first;
            let next = at + x.column_stride();
            let values = x.values();
            pair_across(&mut entries[..count], &values[at..at + count], &values[next..next + count]);
        }
    }
    if stretch.depth % 2 == 1 {
        for (line, entry) in packed[whole * LINES..].iter_mut().enumerate().take(count) {
            *entry = rounded(x.at(first + line, stretch.front + stretch.depth - 1));
        }
    }
}

/// Multiplies the rows of one task with the packed columns.
fn multiply(out: &mut [f32], stride: usize, a: Matrix<'_>, packed: &[u32], block: &Block) {
    let mut packed_rows = PACKED_ROWS.take();
    let rows = out.len() / stride;
    let pairs = block.stretch.pairs();
    packed_rows.resize(rows.div_ceil(ROWS) * pairs * ROWS, 0);
    for (panel, lines) in packed_rows.chunks_exact_mut(pairs * ROWS).enumerate() {
        let count = ROWS.min(rows - panel * ROWS);
        pack::<ROWS>(lines, a, block.top + panel * ROWS, count, block.stretch);
    }
    let mut tile = [0.0f32; ROWS * COLUMNS];
    for (panel, columns) in packed.chunks_exact(pairs * COLUMNS).enumerate() {
        let left = panel * COLUMNS;
        let width = COLUMNS.min(block.width - left);
        for (index, lines) in packed_rows.chunks_exact(pairs * ROWS).enumerate() {
            let height = ROWS.min(rows - index * ROWS);
            let start = index * ROWS * stride + block.left + left;
            let part = &mut out[start..start + (height - 1) * stride + width];
            if height == ROWS && width == COLUMNS {
                sums_of_pairs(part, stride, lines, columns, block);
                continue;
            }
            let whole = Block { alpha: 1.0, replace: true, ..*block };
            sums_of_pairs(&mut tile, COLUMNS, lines, columns, &whole);
            for (target, sums) in part.chunks_mut(stride).zip(tile.chunks_exact(COLUMNS)) {
                for (target, sum) in target.iter_mut().zip(&sums[..width]) {
                    *target = if block.replace { block.alpha * sum } else { block.alpha * sum + *target };
                }
            }
        }
    }
    PACKED_ROWS.set(packed_rows);
}

/// A whole tile: `out (+)= alpha · rows · columns` over all pairs of the inner dimension.
fn sums_of_pairs(out: &mut [f32], stride: usize, rows: &[u32], columns: &[u32], block: &Block) {
    assert!(out.len() >= (ROWS - 1) * stride + COLUMNS, "a whole tile");
    #[cfg(target_arch = "x86_64")]
    // SAFETY: `matmul` made sure that the processor has the instructions; the tile is inside `out`.
    #[allow(unsafe_code)]
    unsafe {
        kernel(out.as_mut_ptr(), stride, rows, columns, block.alpha, block.replace);
    }
    #[cfg(not(target_arch = "x86_64"))]
    unreachable!("`matmul` found no instruction for {} pairs", rows.len() + columns.len() + block.top + stride);
}

/// The innermost loop.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
#[allow(unsafe_code)]
unsafe fn kernel(out: *mut f32, stride: usize, rows: &[u32], columns: &[u32], alpha: f32, replace: bool) {
    use std::arch::x86_64::{
        __m512bh, __m512i, _mm512_dpbf16_ps, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_loadu_si512, _mm512_mul_ps,
        _mm512_set1_epi32, _mm512_set1_ps, _mm512_setzero_ps, _mm512_storeu_ps,
    };
    const VECTORS: usize = COLUMNS / 16;
    let pairs = (rows.len() / ROWS).min(columns.len() / COLUMNS);
    let mut sums = [[_mm512_setzero_ps(); VECTORS]; ROWS];
    let (mut row, mut column) = (rows.as_ptr(), columns.as_ptr());
    // Plain counted loops: iterators over vectors are not inlined into a function with more features than they have, and
    // the sums must stay in registers.
    for _ in 0..pairs {
        // SAFETY: both pointers move one pair's entries at a time and `pairs` times at most; vectors of pairs are the
        // same bits whatever they are called.
        unsafe {
            let right: [__m512bh; VECTORS] = [
                std::mem::transmute::<__m512i, __m512bh>(_mm512_loadu_si512(column.cast())),
                std::mem::transmute::<__m512i, __m512bh>(_mm512_loadu_si512(column.add(16).cast())),
                std::mem::transmute::<__m512i, __m512bh>(_mm512_loadu_si512(column.add(32).cast())),
                std::mem::transmute::<__m512i, __m512bh>(_mm512_loadu_si512(column.add(48).cast())),
            ];
            let mut index = 0;
            while index < ROWS {
                let left = std::mem::transmute::<__m512i, __m512bh>(_mm512_set1_epi32((*row.add(index)).cast_signed()));
                let mut vector = 0;
                while vector < VECTORS {
                    sums[index][vector] = _mm512_dpbf16_ps(sums[index][vector], left, right[vector]);
                    vector += 1;
                }
                index += 1;
            }
            row = row.add(ROWS);
            column = column.add(COLUMNS);
        }
    }
    let factor = _mm512_set1_ps(alpha);
    let mut index = 0;
    while index < ROWS {
        let mut vector = 0;
        while vector < VECTORS {
            // SAFETY: the caller has a whole tile at `out`.
            unsafe {
                let place = out.add(index * stride + 16 * vector);
                let sum = sums[index][vector];
                let value = if replace {
                    _mm512_mul_ps(sum, factor)
                } else {
                    _mm512_fmadd_ps(sum, factor, _mm512_loadu_ps(place))
                };
                _mm512_storeu_ps(place, value);
            }
            vector += 1;
        }
        index += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sampling::Random;

    fn random(count: usize, seed: u64) -> Vec<f32> {
        let mut random = Random::new(seed, 0);
        (0..count).map(|_| random.normal() as f32).collect()
    }

    fn bf16(value: f32) -> f64 {
        f64::from(f32::from_bits(rounded(value) << 16))
    }

    #[test]
    fn rounding_is_that_of_the_half_crate() {
        for value in random(10_000, 3).into_iter().chain([0.0, -0.0, f32::INFINITY, f32::MAX, 1.003_906_3, 1.011_718_8])
        {
            assert_eq!(rounded(value), u32::from(half::bf16::from_f32(value).to_bits()), "{value}");
        }
        assert!(f32::from_bits(rounded(f32::NAN) << 16).is_nan());
    }

    #[test]
    fn products_match_f64_products_of_rounded_factors() {
        if !available() {
            eprintln!("skipped: this processor has no AVX512-BF16");
            return;
        }
        let shapes = [(1, 1, 1), (6, 64, 2), (7, 65, 3), (5, 130, 511), (97, 63, 513), (200, 2100, 30), (13, 48, 1100)];
        for (m, n, k) in shapes {
            let (a, b) = (random(m * k, 1), random(k * n, 2));
            for (a_turned, b_turned) in [(false, false), (true, false), (false, true), (true, true)] {
                let a_at = |i: usize, p: usize| if a_turned { a[p * m + i] } else { a[i * k + p] };
                let b_at = |p: usize, j: usize| if b_turned { b[j * k + p] } else { b[p * n + j] };
                let left = if a_turned { Matrix::new(&a, k, m).transposed() } else { Matrix::new(&a, m, k) };
                let right = if b_turned { Matrix::new(&b, n, k).transposed() } else { Matrix::new(&b, k, n) };
                for (output, threads) in [(Output::Replace, Threads::All), (Output::Accumulate, Threads::One)] {
                    let mut out = vec![0.5; m * n];
                    matmul(&mut out, left, right, 2.0, output, threads);
                    for (i, row) in out.chunks(n).enumerate() {
                        for (j, &found) in row.iter().enumerate().step_by(7) {
                            let sum: f64 = (0..k).map(|p| bf16(a_at(i, p)) * bf16(b_at(p, j))).sum();
                            let before = if output == Output::Accumulate { 0.5 } else { 0.0 };
                            let expected = before + 2.0 * sum;
                            let error = (f64::from(found) - expected).abs();
                            assert!(error < 1e-5 * (k as f64).max(8.0), "{m}x{n}x{k}: {found} against {expected}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn threads_change_nothing() {
        if !available() {
            eprintln!("skipped: this processor has no AVX512-BF16");
            return;
        }
        let (a, b) = (random(300 * 700, 4), random(700 * 500, 5));
        let product = |threads| {
            let mut out = vec![0.0; 300 * 500];
            matmul(&mut out, Matrix::new(&a, 300, 700), Matrix::new(&b, 700, 500), 1.0, Output::Replace, threads);
            out
        };
        assert_eq!(product(Threads::All), product(Threads::One));
    }
}
