//! Batches of entries of different lengths for tests of packing, made without tensors for Miri.

#![allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]

mod damage;
mod vectors;

use std::path::Path;
use std::sync::Arc;

use uard_core::random::{Draws, uniform};

use super::builder::Builder;
use super::file::{decode, encode};
use super::fragments::{Fragments, Shape};
use super::layout::Kind;
use super::source::Batch;
use super::storage::{Bytes, Lines};
use crate::{Precision, Result};

const KINDS: [Kind; 2] = [Kind::Regions, Kind::Words];
const PRECISIONS: [Precision; 3] = [Precision::F32, Precision::Bf16, Precision::Exact];

/// Padded entries. The padding is NaN, because it must not be read.
struct Entries {
    numbers: Vec<f32>,
    counts: Vec<usize>,
    longest: usize,
    width: usize,
}

impl Entries {
    fn new(counts: &[usize], width: usize) -> Self {
        let longest = counts.iter().copied().max().unwrap_or(0);
        let mut stream = Draws::new(7).stream("packed", &[]);
        let mut numbers = uniform(&mut stream, -1.0, 1.0, counts.len() * longest * width);
        for (entry, &count) in counts.iter().enumerate() {
            let end = (entry + 1) * longest * width;
            numbers[end - (longest - count) * width..end].fill(f32::NAN);
        }
        Self {
            numbers,
            counts: counts.to_vec(),
            longest,
            width,
        }
    }

    fn batch(&self, entries: std::ops::Range<usize>) -> Batch<'_> {
        let size = self.longest * self.width;
        Batch {
            numbers: &self.numbers[entries.start * size..entries.end * size],
            counts: &self.counts[entries],
            longest: self.longest,
            width: self.width,
        }
    }

    fn whole(&self) -> Batch<'_> {
        self.batch(0..self.counts.len())
    }

    fn packed(&self, kind: Kind, precision: Precision) -> Fragments {
        let mut builder = builder(kind, self.width, precision);
        builder.push(self.whole()).unwrap();
        builder.finish()
    }
}

fn builder(kind: Kind, width: usize, precision: Precision) -> Builder {
    Builder::new(kind, Shape::new(width, precision).unwrap())
}

/// The bytes of the file of these fragments.
fn encoded(fragments: &Fragments) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(fragments, &mut bytes).unwrap();
    bytes
}

/// Reads a file from its bytes in memory.
fn decoded(file: &[u8], kind: Kind) -> Result<Fragments> {
    let mut lines = Lines::default();
    lines.grow(file.len());
    lines.numbers_mut().copy_from_slice(file);
    decode(Path::new("a.packed"), &Arc::new(Bytes::Owned(lines)), kind)
}
