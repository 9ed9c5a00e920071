//! Who else does this work?

pub mod composed;
pub mod literal;
pub mod numkong;
pub mod python;
pub mod reference;
