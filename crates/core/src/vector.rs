//! How do plain loops run on the widest vectors of this machine? Compiled for each, chosen once.
//!
//! The workspace is compiled for every processor of its architecture, so a plain loop gets the
//! narrowest vectors. Inside [`vectorised`] the same loop is compiled for AVX2 and AVX-512 as
//! well. Rust never fuses a product with a sum by itself: all of them give the same bytes.

/// Work over slices that the compiler shall turn into vector instructions.
///
/// Mark [`Loops::run`] and what it calls `#[inline(always)]`: only code inlined there is compiled
/// for the wide vectors.
pub trait Loops {
    /// What the work gives.
    type Output;

    /// Does the work.
    fn run(self) -> Self::Output;
}

/// Runs loops with the widest vectors that this machine has.
///
/// ```
/// use uard_core::vector::{Loops, vectorised};
///
/// struct Sum<'a>(&'a [f32]);
///
/// impl Loops for Sum<'_> {
///     type Output = f32;
///
///     #[inline(always)]
///     fn run(self) -> f32 {
///         self.0.iter().sum()
///     }
/// }
/// assert_eq!(vectorised(Sum(&[1.0, 2.0])), 3.0);
/// ```
pub fn vectorised<L: Loops>(loops: L) -> L::Output {
    pulp::Arch::new().dispatch(Dispatched(loops))
}

struct Dispatched<L>(L);

impl<L: Loops> pulp::WithSimd for Dispatched<L> {
    type Output = L::Output;

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) -> L::Output {
        self.0.run()
    }
}
