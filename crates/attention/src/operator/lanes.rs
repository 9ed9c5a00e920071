//! How wide is a vector here? Arrays of fixed length that the compiler keeps in registers.

use crate::side::Real;

/// Numbers of one vector: a whole register of AVX-512 in f32.
pub(super) const LANES: usize = 16;

/// One vector.
pub(super) type Lanes<T> = [T; LANES];

/// `f` lane by lane.
#[inline(always)]
pub(super) fn zip<T: Real>(a: &Lanes<T>, b: &Lanes<T>, f: impl Fn(T, T) -> T) -> Lanes<T> {
    let mut out = [T::zero(); LANES];
    for lane in 0..LANES {
        out[lane] = f(a[lane], b[lane]);
    }
    out
}

/// The sum of the lanes, halves first.
#[inline(always)]
pub(super) fn total<T: Real>(lanes: Lanes<T>) -> T {
    fold(lanes, |a, b| a + b)
}

/// The highest lane; one that is NaN loses.
#[inline(always)]
pub(super) fn highest<T: Real>(lanes: Lanes<T>) -> T {
    fold(lanes, |a, b| if b > a { b } else { a })
}

#[inline(always)]
fn fold<T: Real>(mut lanes: Lanes<T>, f: impl Fn(T, T) -> T) -> T {
    let mut half = LANES / 2;
    while half > 0 {
        for lane in 0..half {
            lanes[lane] = f(lanes[lane], lanes[lane + half]);
        }
        half /= 2;
    }
    lanes[0]
}
