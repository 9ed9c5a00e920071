//! Are the bytes the ones that were written? CRC-32 of each part.
//!
//! It is there for accidents (a broken disk, a copy that stopped), not against forgery: CRC-32 finds
//! every run of wrong bits up to 32 long and misses one in four thousand million of the others. It
//! runs at memory speed, parts of it can be computed side by side and joined to the same number,
//! and every language has it.

use crc32fast::Hasher;

use super::super::work;

/// Bytes whose checksum is one task.
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
