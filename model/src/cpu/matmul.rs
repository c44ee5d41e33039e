//! Matrix products.

use gemm::Parallelism;
use std::ops::Range;

/// A row-major matrix read as it is or transposed, possibly a column range of a wider one.
#[derive(Clone, Copy)]
pub struct Matrix<'a> {
    values: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// `values` as `[rows, columns]`.
    pub fn new(values: &'a [f32], rows: usize, columns: usize) -> Self {
        Self::strided(values, rows, columns, columns)
    }

    /// `[rows, columns]` whose rows start `row_stride` values apart.
    pub fn strided(values: &'a [f32], rows: usize, columns: usize, row_stride: usize) -> Self {
        if rows > 0 {
            assert!(values.len() >= (rows - 1) * row_stride + columns, "matrix inside its slice");
        }
        Self { values, rows, columns, row_stride, column_stride: 1 }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Some of its rows.
    pub(crate) fn slice(self, rows: Range<usize>) -> Self {
        assert!(rows.end <= self.rows, "rows {rows:?} of {}", self.rows);
        Self { values: &self.values[rows.start * self.row_stride..], rows: rows.len(), ..self }
    }

    /// What it reads.
    pub(super) fn values(&self) -> &'a [f32] {
        self.values
    }

    /// Values between the starts of two rows.
    pub(super) fn row_stride(&self) -> usize {
        self.row_stride
    }

    /// Values between the starts of two columns.
    pub(super) fn column_stride(&self) -> usize {
        self.column_stride
    }

    /// One value.
    #[inline(always)]
    pub(super) fn at(&self, row: usize, column: usize) -> f32 {
        self.values[row * self.row_stride + column * self.column_stride]
    }

    /// The same values with rows and columns exchanged.
    pub fn transposed(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }
}

/// What a product does with the values already in its output.
#[derive(Clone, Copy, PartialEq)]
pub enum Output {
    /// Overwrites them.
    Replace,
    /// Adds to them.
    Accumulate,
}

/// Whether a product may use all threads or runs inside a parallel task already.
#[derive(Clone, Copy, PartialEq)]
pub enum Threads {
    /// The whole thread pool.
    All,
    /// The calling thread only.
    One,
}

/// `out (+)= alpha · a·b` with `out` row-major and contiguous.
///
/// # Panics
/// When the shapes do not fit.
pub fn matmul(out: &mut [f32], a: Matrix<'_>, b: Matrix<'_>, alpha: f32, output: Output, threads: Threads) {
    assert_eq!(a.columns, b.rows, "inner dimensions");
    if a.rows == 0 || b.columns == 0 {
        return;
    }
    assert!(out.len() >= a.rows * b.columns, "output size");
    let parallelism = match threads {
        // Below this a product ends sooner than its threads wake.
        Threads::All if a.rows * b.columns * a.columns > 1 << 18 => Parallelism::Rayon(0),
        _ => Parallelism::None,
    };
    let accumulate = output == Output::Accumulate;
    // SAFETY: `Matrix` and the assertion above keep every access inside its slice.
    #[allow(unsafe_code)]
    unsafe {
        gemm::gemm(
            a.rows,
            b.columns,
            a.columns,
            out.as_mut_ptr(),
            1,
            b.columns as isize,
            accumulate,
            a.values.as_ptr(),
            a.column_stride as isize,
            a.row_stride as isize,
            b.values.as_ptr(),
            b.column_stride as isize,
            b.row_stride as isize,
            if accumulate { 1.0 } else { 0.0 },
            alpha,
            false,
            false,
            false,
            parallelism,
        );
    }
}
