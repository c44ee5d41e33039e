//! Kernels over `f32` slices for the CPU backend.
//!
//! Every kernel is a plain function over row-major matrices, so that it can be held against a naive
//! `f64` computation. What runs where is decided in [`crate::ops`].

pub mod adamw;
pub mod attention;
pub mod bf16;
pub mod blocks;
pub mod divergence;
pub mod exp;
pub mod matmul;
pub mod rms_norm;
pub mod rotary;
mod shared_rows;
pub mod swiglu;

/// Compiles a loop once per instruction set and picks the widest one the machine has.
///
/// The body is inlined into each copy, so the compiler vectorises it for that set; results differ
/// between sets only where the body asks for fused multiply-add.
macro_rules! vectorised {
    ($(#[$doc:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? $body:block) => {
        $(#[$doc])*
        #[allow(clippy::too_many_arguments)]
        $vis fn $name($($arg: $ty),*) $(-> $ret)? {
            #[inline(always)]
            #[allow(clippy::too_many_arguments)]
            fn portable($($arg: $ty),*) $(-> $ret)? $body

            #[cfg(target_arch = "x86_64")]
            #[allow(unsafe_code)]
            {
                #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
                #[allow(clippy::too_many_arguments)]
                fn avx512($($arg: $ty),*) $(-> $ret)? { portable($($arg),*) }
                #[target_feature(enable = "avx2,fma")]
                #[allow(clippy::too_many_arguments)]
                fn avx2($($arg: $ty),*) $(-> $ret)? { portable($($arg),*) }
                match $crate::cpu::instruction_set() {
                    // SAFETY: `instruction_set` found every enabled feature on this machine.
                    $crate::cpu::InstructionSet::Avx512 => return unsafe { avx512($($arg),*) },
                    // SAFETY: as above.
                    $crate::cpu::InstructionSet::Avx2 => return unsafe { avx2($($arg),*) },
                    $crate::cpu::InstructionSet::Portable => {}
                }
            }
            portable($($arg),*)
        }
    };
}
pub(crate) use vectorised;

/// The widest instruction set that the kernels are compiled for and this machine has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InstructionSet {
    /// 512-bit vectors.
    Avx512,
    /// 256-bit vectors with fused multiply-add.
    Avx2,
    /// Whatever the compiler's target guarantees.
    Portable,
}

/// Finds the instruction set once per process.
pub fn instruction_set() -> InstructionSet {
    static FOUND: std::sync::OnceLock<InstructionSet> = std::sync::OnceLock::new();
    *FOUND.get_or_init(|| {
        #[cfg(target_arch = "x86_64")]
        {
            let fma = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            let wide = is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq");
            if fma && wide {
                return InstructionSet::Avx512;
            }
            if fma {
                return InstructionSet::Avx2;
            }
        }
        InstructionSet::Portable
    })
}

/// Rows that one parallel task takes, so that a task moves about 64 Ki values.
fn rows_per_task(columns: usize) -> usize {
    (65_536 / columns.max(1)).max(1)
}
