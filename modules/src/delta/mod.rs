//! The change `ΔW` of one projection's matrix: as factors, dense, and by its singular values.
//!
//! A module stores `ΔW` as two thin factors, and most of what is asked of it (norms, inner products, sums,
//! singular values) is answered from them in `O((out + in)·k²)`, without the dense `[out, in]` matrix. All of it
//! is in `f64`: factors come from `f32` files, and the results are rounded once, when they are stored.
//!
//! Factorisations come from `nalgebra`.

mod factors;
mod singular;

pub use factors::Factors;
pub(crate) use singular::zero_update;
pub use singular::{Keep, Kept, Singular, principal};

/// `√Σx²`.
pub fn root_of_squares(values: impl Iterator<Item = f64>) -> f64 {
    values.map(|value| value * value).sum::<f64>().sqrt()
}
