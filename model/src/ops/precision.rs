//! How exactly large matrix products are computed.

use crate::cpu::bf16;
use crate::cpu::matmul::{self, Matrix, Output, Threads};
use serde::{Deserialize, Serialize};
use std::cell::Cell;

/// What the factors of large products are rounded to; sums are always `f32`, and so are weights and all else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// Not at all.
    #[default]
    F32,
    /// To bfloat16, on processors that multiply it faster ([`bf16::is_faster`]) and on GPUs that have it, which round the
    /// product too; elsewhere not at all.
    Bf16,
}

thread_local! {
    static CHOSEN: Cell<Precision> = const { Cell::new(Precision::F32) };
}

impl Precision {
    /// Products narrower than this are bound by memory and would be padded: they are not rounded.
    pub(super) const NARROW: usize = 64;

    /// Computes `work` with this precision for the operations it calls on this thread, and for their gradients.
    pub fn during<T>(self, work: impl FnOnce() -> T) -> T {
        /// Puts back what was chosen before, also when the work panics.
        struct Before(Precision);
        impl Drop for Before {
            fn drop(&mut self) {
                CHOSEN.set(self.0);
            }
        }
        let _before = Before(CHOSEN.replace(self));
        work()
    }

    /// The precision chosen for this thread.
    pub(super) fn chosen() -> Self {
        CHOSEN.get()
    }

    /// `out (+)= alpha · a·b`, as [`matmul::matmul`].
    pub(super) fn matmul(self, out: &mut [f32], a: Matrix<'_>, b: Matrix<'_>, alpha: f32, output: Output) {
        let wide = a.rows().min(b.columns()).min(a.columns()) >= Self::NARROW;
        if self == Self::Bf16 && wide && bf16::is_faster() {
            bf16::matmul(out, a, b, alpha, output, Threads::All);
        } else {
            matmul::matmul(out, a, b, alpha, output, Threads::All);
        }
    }
}
