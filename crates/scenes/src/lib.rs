//! A seeded data set of drawn pictures (scenes) with captions, region features and true alignments of words
//! with regions, to train on without any download.
//!
//! A scene is three to six figures of a shape, colour, size, texture and position on a patterned
//! background. Scenes come in families of two to four that differ in **one** attribute of one
//! figure, so that only the word and the region of that figure distinguish them. Each scene has
//! five captions and 36 regions: two boxes on each figure, and boxes that show a part of a figure, lie
//! beside one, enclose two figures, or show the background.
//!
//! # Files
//! ```text
//! {split}_ims.npy          f32 [I, R, F]    features, R 36, F 256
//! {split}_caps.txt         five captions a scene, in order
//! {split}_ids.txt          ids; images/{id}.png is the picture, 192 x 192
//! {split}_boxes.npy        f32 [I, R, 4]    x1 y1 x2 y2 in pixels
//! {split}_alignments.json  {"captions": [[[word, [region, ...]], ...], ...]}
//! {split}_things.json      {"images": [[{"words": [word, ...], "box": [x0, y0, x1, y1]}, ...], ...]}
//! scenes.json              the configuration and the format version, written last
//! ```
//!
//! # True alignments
//! For each caption, each word of shape, colour, size or texture, and each word of the background,
//! with its index among [`uard_data::tokens::tokenize`]'s tokens (without `<start>`). A region
//! answers a word of a figure if its box and the box around the figure's visible part have an
//! intersection over union of at least 0.5; it answers a word of the background if figures cover
//! at most a tenth of it. Words of relations, positions and counts are left out.
//!
//! # Things
//! `{split}_things.json` lists what is true of each scene, whether or not a caption says it, with all
//! synonyms: each figure, in drawing order, with the box around its visible part in pixels, then the
//! background, without a box. Format version 2 added this file; the other files are those of version 1.
//!
//! Pixels, features and files depend only on the seed and the number of scenes, not on threads.
//! A scene of a split does not depend on the size of other splits.

mod attributes;
mod background;
mod captions;
mod chance;
mod claim;
mod descriptor;
mod family;
mod grammar;
mod lexicon;
mod outline;
mod patch;
mod projection;
mod raster;
mod regions;
mod rendering;
mod scene;
mod things;
mod write;

pub use captions::CAPTIONS;
pub use projection::FEATURE_WIDTH;
pub use regions::REGIONS;
pub use scene::CANVAS;
pub use write::{FORMAT_VERSION, is_complete, write};

use serde::{Deserialize, Serialize};

/// The number of scenes of each split, and the seed.
///
/// ```
/// use uard_scenes::ScenesConfig;
///
/// let config = ScenesConfig { dev: 50, ..ScenesConfig::default() };
/// assert_eq!((config.train, config.dev, config.test, config.seed), (1000, 50, 200, 0));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScenesConfig {
    /// The number of scenes to train on.
    pub train: usize,
    /// The number of scenes that choose the best epoch.
    pub dev: usize,
    /// The number of scenes to report on.
    pub test: usize,
    /// The seed of all draws.
    pub seed: u64,
}

impl Default for ScenesConfig {
    fn default() -> Self {
        Self {
            train: 1000,
            dev: 100,
            test: 200,
            seed: 0,
        }
    }
}

impl ScenesConfig {
    /// Name and number of scenes of each split.
    pub fn splits(&self) -> [(&'static str, usize); 3] {
        [
            ("train", self.train),
            ("dev", self.dev),
            ("test", self.test),
        ]
    }

    /// The number of scenes of all splits.
    pub fn scenes(&self) -> usize {
        self.train + self.dev + self.test
    }
}
