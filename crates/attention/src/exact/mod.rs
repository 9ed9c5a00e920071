//! How can products in bf16 give the lists and ranks of f32? With a reach for every pair.
//!
//! `docs/exactness.md` derives what is used here. bf16 shows every relevance to within a proven
//! bound; from that follows a *reach* for every pair, which its similarity in f32 does not exceed.
//! A pair whose reach stays below the *bar* of its image and of its caption is done; any other is
//! computed in f32, by the kernel that computes all pairs in f32, to the same bits.
//!
//! Captions come in rounds, each with all images. What is held of a round is 24 bytes a pair: some
//! 24 MB, or as much as [`crate::search`]'s shortest range of captions needs.

mod bars;
pub(crate) mod bound;
mod limits;
mod recomputation;
mod round;
mod screening;

use crate::kernel::answers::{Above, Answers};
use crate::search::listed::check_index;
use crate::search::tiles::{Fragments, Task, tasks};
use crate::search::{Progress, Search, TopK};
use crate::{Error, Kept, PackedRegions, PackedWords, Precision, Result, WeightRule};
use bars::{Bars, Query};
use limits::Limits;
use screening::Done;

/// Pairs of a round, if no single range of captions has more.
const PAIRS_IN_A_ROUND: usize = 1 << 20;

/// What of a matrix of similarities must be as in f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Preserve<'a> {
    /// The most similar so many of each image and of each caption, with their order and values.
    pub top: usize,
    /// Matched pairs (image, caption): their values, and the rank of each image's and of each
    /// caption's best, ties counting against it.
    pub matched: &'a [(usize, usize)],
}

/// How a matrix of similarities came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preserved {
    /// How much was above the threshold; with `Precision::Exact` as bf16 shows it.
    pub kept: Kept,
    /// Pairs that bf16 left open and f32 decided; 0 with any other precision.
    pub recomputed: u64,
}

/// One run over all pairs.
struct Course<'a> {
    search: &'a Search,
    fragments: &'a Fragments<'a>,
    answers: Answers,
    limits: Limits,
    on_progress: Progress<'a>,
    done: Done,
    matrix: Option<Matrix<'a>>,
    bars: Bars,
    above: Above,
    recomputed: u64,
}

/// Where similarities go, row-major [I, C].
struct Matrix<'a> {
    values: &'a mut [f32],
    captions: usize,
}

impl Matrix<'_> {
    fn set(&mut self, (image, caption): (usize, usize), similarity: f32) {
        self.values[image * self.captions + caption] = similarity;
    }
}

impl Search {
    /// The similarity of every image with every caption, where only some of it must be as in f32.
    ///
    /// With `Precision::Exact` what `preserve` names is as with `Precision::F32`, to the last bit;
    /// other values are those of bf16. With any other precision this is
    /// [`Search::similarities_into`].
    ///
    /// # Shapes
    /// `out` row-major [I, C], every number of it written.
    ///
    /// # Errors
    /// As [`Search::similarities_into`], and when a matched pair is out of range.
    ///
    /// # Source
    /// `docs/exactness.md`.
    pub fn similarities_preserving(
        &self,
        (regions, words): (&PackedRegions, &PackedWords),
        preserve: &Preserve<'_>,
        out: &mut [f32],
        on_progress: Progress<'_>,
    ) -> Result<Preserved> {
        for &(image, caption) in preserve.matched {
            check_index("image", image, regions.images())?;
            check_index("caption", caption, words.captions())?;
        }
        if self.precision() != Precision::Exact || !self.can_screen() {
            let kept = self.similarities_into(regions, words, out, on_progress)?;
            return Ok(Preserved {
                kept,
                recomputed: 0,
            });
        }
        let fragments = self.fragments(regions, words)?;
        let captions = words.captions();
        if out.len() != regions.images() * captions {
            return Err(Error::OutputLength {
                expected: regions.images() * captions,
                found: out.len(),
            });
        }
        let mut course = Course::new(self, &fragments, preserve.top, on_progress);
        course.matrix = Some(Matrix {
            values: out,
            captions,
        });
        let matched = course.match_pairs(preserve.matched);
        course.run();
        for (pair, similarity) in matched {
            course.set(pair, similarity);
        }
        Ok(Preserved {
            kept: self.kept(&fragments, course.above),
            recomputed: course.recomputed,
        })
    }

    /// Whether bf16 can tell anything about f32.
    ///
    /// With scan every cell matters to all others; with a threshold at zero or below, cells that
    /// cancel may matter.
    pub(crate) fn can_screen(&self) -> bool {
        match self.config().rule {
            WeightRule::Masked | WeightRule::Nearest | WeightRule::Zero => {
                self.config().threshold(self.threshold()) > 0.0
            }
            WeightRule::Scan => false,
            WeightRule::MaxSim => true,
        }
    }

    /// The lists of f32.
    pub(crate) fn top_k_exactly(
        &self,
        fragments: &Fragments<'_>,
        k: usize,
        on_progress: Progress<'_>,
    ) -> TopK {
        let mut course = Course::new(self, fragments, k, on_progress);
        course.run();
        let lists = |queries: Vec<Query>| queries.into_iter().map(|query| query.list).collect();
        TopK {
            captions_of_images: lists(course.bars.images),
            images_of_captions: lists(course.bars.captions),
            kept: self.kept(fragments, course.above),
            recomputed: course.recomputed,
        }
    }
}

impl<'a> Course<'a> {
    fn new(
        search: &'a Search,
        fragments: &'a Fragments<'a>,
        top: usize,
        on_progress: Progress<'a>,
    ) -> Self {
        let (regions, words) = (fragments.regions, fragments.words);
        Self {
            search,
            fragments,
            answers: search.answers(),
            limits: Limits::of(regions, words),
            on_progress,
            done: Done::new(0),
            matrix: None,
            bars: Bars::new(regions.images(), words.captions(), top),
            above: Above::default(),
            recomputed: 0,
        }
    }

    /// Round after round; in f32 once a round shows that screening is in vain.
    fn run(&mut self) {
        let tasks = tasks(self.fragments.regions, self.fragments.words);
        let mut screens = true;
        for round in self.rounds(&tasks) {
            if screens {
                screens = self.screened_round(round);
            } else {
                self.plain_round(round);
            }
        }
    }

    /// Whole ranges of captions, as many as a round may have.
    fn rounds<'t>(&self, tasks: &'t [Task]) -> Vec<&'t [Task]> {
        let images = self.fragments.regions.images();
        let blocks = self.fragments.regions.blocks().len();
        let (mut rounds, mut first, mut pairs) = (Vec::new(), 0, 0);
        for (range, tasks_of_range) in tasks.chunks(blocks.max(1)).enumerate() {
            let more = images * tasks_of_range[0].captions.len();
            if pairs > 0 && pairs + more > PAIRS_IN_A_ROUND {
                rounds.push(&tasks[first..range * blocks]);
                (first, pairs) = (range * blocks, 0);
            }
            pairs += more;
        }
        rounds.push(&tasks[first..]);
        rounds
    }

    /// Whether bf16's own similarity is of use: in a matrix, and where the reach follows from it.
    fn wants_similarities(&self) -> bool {
        self.matrix.is_some() || !self.search.config().has_masks()
    }

    fn set(&mut self, pair: (usize, usize), similarity: f32) {
        if let Some(matrix) = &mut self.matrix {
            matrix.set(pair, similarity);
        }
    }
}
