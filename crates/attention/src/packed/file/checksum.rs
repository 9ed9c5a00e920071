//! CRC-32 checksums of the parts of a packed file, computed in parallel.
//!
//! They detect accidents (a broken disk, a copy that stopped), not forgery: CRC-32 finds every run of up
//! to 32 wrong bits and misses one in 2^32 of other errors. It is as fast as memory, checksums of pieces
//! combine to that of the whole, and every language has an implementation.

use crc32fast::Hasher;

use super::super::work;

/// How many bytes one task computes the checksum of.
const BYTES_OF_A_TASK: usize = 4 << 20;

/// The checksum of some bytes, computed in parallel.
pub fn checksum(bytes: &[u8]) -> u32 {
    let chunks = bytes.chunks(BYTES_OF_A_TASK);
    if chunks.len() <= 1 {
        return crc32fast::hash(bytes);
    }
    let hashers = work::map(chunks.len(), |chunk| {
        let rest = &bytes[chunk * BYTES_OF_A_TASK..];
        let mut hasher = Hasher::new();
        hasher.update(&rest[..rest.len().min(BYTES_OF_A_TASK)]);
        hasher
    });
    let mut whole = Hasher::new();
    for hasher in &hashers {
        whole.combine(hasher);
    }
    whole.finalize()
}
