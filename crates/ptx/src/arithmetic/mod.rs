//! What do the instructions compute that touch registers only?
//!
//! Each is a function of register contents, chosen once when the text is decoded.

pub(crate) mod bits;
pub(crate) mod convert;
pub(crate) mod double;
pub(crate) mod half;
pub(crate) mod integer;
pub(crate) mod rounding;
pub(crate) mod single;
