//! How can products in bf16 give the lists and ranks of f32? With a reach for every pair.
//!
//! `docs/exactness.md` derives what is used here. bf16 shows every relevance to within a proven
//! bound; from that follows a *reach* for every pair, which its similarity in f32 does not
//! exceed. A pair whose reach stays below
//! the *bar* of its image and of its caption is done;
//! any other is computed in f32, by the kernel that computes all pairs in f32, to the same bits.

pub(crate) mod bound;
