//! Writes sixteen vectors into a panel, in words of four bytes.
//!
//! A word is one f32 or a pair of bf16. Counted in words, the layouts of [`uard_linalg::panels`] are the
//! same for both: rows keep the sixteen words of a line together, columns transpose them.
//!
//! ```text
//! rows     [line][16 rows ][16 words]
//! columns  [line][16 words][16 columns]
//! ```

use uard_linalg::panels::{Element, PANEL, line};

use super::layout::Kind;

/// Words of one vector that lie in a line: 64 bytes.
const LINE_WORDS: usize = 16;

/// One line of every vector of a panel.
type Block = [u32; PANEL * LINE_WORDS];

/// The vectors that are written into a panel, by their place in it; the other places are not changed.
pub type Vectors<'a> = [Option<&'a [f32]>; PANEL];

/// Rounds vectors to `T` and writes them into one panel: of columns for regions, of rows for words.
///
/// Depths beyond the end of a vector are not written; they are zero in a new panel.
pub fn fill<T: Element>(kind: Kind, panel: &mut [u32], vectors: &Vectors) {
    let (blocks, _) = panel.as_chunks_mut();
    for (at_line, block) in blocks.iter_mut().enumerate() {
        let vectors = vectors.iter().enumerate();
        let lines = vectors.filter_map(|(at, vector)| Some((at, part::<T>((*vector)?, at_line)?)));
        for (at, numbers) in lines {
            let words = line::<T>(numbers);
            match kind {
                Kind::Words => place_row(block, at, words),
                Kind::Regions => place_column(block, at, words),
            }
        }
    }
}

/// Writes a line of row `at`.
fn place_row(block: &mut Block, at: usize, words: [u32; LINE_WORDS]) {
    block[at * LINE_WORDS..][..LINE_WORDS].copy_from_slice(&words);
}

/// Writes a line of column `at`. Blocks are filled line by line because they then stay in the L1 cache;
/// a whole vector at once would write one word to every cache line of the panel.
fn place_column(block: &mut Block, at: usize, words: [u32; LINE_WORDS]) {
    for (k, word) in words.into_iter().enumerate() {
        block[k * PANEL + at] = word;
    }
}

/// The numbers of one line of a vector; fewer where the vector ends, `None` after its end.
fn part<T: Element>(vector: &[f32], line: usize) -> Option<&[f32]> {
    let rest = vector.get(line * T::LINE..)?;
    Some(&rest[..rest.len().min(T::LINE)])
}
