//! One matrix written by several tasks, each its own columns.

/// A row-major matrix whose disjoint parts are written from several threads.
pub(super) struct SharedRows<'a> {
    start: *mut f32,
    columns: usize,
    rows: usize,
    borrowed: std::marker::PhantomData<&'a mut [f32]>,
}

// SAFETY: access goes through `part`, whose caller promises that parts do not overlap.
#[allow(unsafe_code)]
unsafe impl Sync for SharedRows<'_> {}

impl<'a> SharedRows<'a> {
    pub(super) fn new(values: &'a mut [f32], columns: usize) -> Self {
        assert_eq!(values.len() % columns, 0, "a matrix of whole rows");
        Self { start: values.as_mut_ptr(), columns, rows: values.len() / columns, borrowed: std::marker::PhantomData }
    }

    /// `width` values of `row` from `column` on.
    ///
    /// # Safety
    /// No two threads may hold overlapping parts at the same time.
    #[allow(unsafe_code, clippy::mut_from_ref)]
    pub(super) unsafe fn part(&self, row: usize, column: usize, width: usize) -> &mut [f32] {
        assert!(row < self.rows && column + width <= self.columns, "part inside the matrix");
        // SAFETY: in bounds by the assertion; exclusive by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(row * self.columns + column), width) }
    }
}
