//! One pair under any rule: its cells out of a tile, its answers, its gradients.

use uard_linalg::vector::vectorised;

use super::listed;
use super::masked::{Answers, Backward, Cells, Forward, Grams, Masked, PairGradients, Scratch};
use super::rows::Lists;
use super::tiles::Place;
use crate::config::{MatcherConfig, QuerySide, WeightRule};
use crate::side::{self, Block, BlockGradients, Real, Side};

/// The rule with its numbers in the precision of the tensors.
#[derive(Debug, Clone, Copy)]
pub(super) enum Rule<T> {
    Masked(Masked<T>),
    /// What each side does, if it asks.
    Dense([Option<Side<T>>; 2]),
}

impl<T> Rule<T> {
    /// The masked rule, if it is that.
    pub(super) fn masked(&self) -> Option<&Masked<T>> {
        match self {
            Self::Masked(masked) => Some(masked),
            Self::Dense(_) => None,
        }
    }
}

/// What one thread reuses from pair to pair.
#[derive(Debug, Default)]
pub(super) struct Worker<T> {
    cells: Cells<T>,
    scratch: Scratch<T>,
    /// The gradient of the cells.
    pub gradient: Vec<T>,
    dense: DenseScratch<T>,
    pub listed: listed::Scratch<T>,
    /// Of a tile, where it is not kept.
    pub relevance: Vec<T>,
    pub lists: Lists<T>,
}

/// One pair's relevance in both orders, for rules without masks.
#[derive(Debug, Default)]
struct DenseScratch<T> {
    words_by_regions: Vec<T>,
    regions_by_words: Vec<T>,
    gradient: Vec<T>,
    side: side::Scratch<T>,
}

impl<T: Real> Rule<T> {
    pub(super) fn new(config: &MatcherConfig, threshold: f64) -> Self {
        let asks = |side| config.sides.asking().contains(&side);
        let sharpness = |side| asks(side).then(|| T::from_f64(config.inverse_temperature(side)));
        match config.rule {
            WeightRule::Masked | WeightRule::Nearest | WeightRule::Zero => Self::Masked(Masked {
                threshold: T::from_f64(config.threshold(threshold)),
                answers_below: config.rule.answers_below(),
                words: sharpness(QuerySide::Words),
                regions: sharpness(QuerySide::Regions),
            }),
            WeightRule::Scan | WeightRule::MaxSim => Self::Dense(
                [QuerySide::Words, QuerySide::Regions]
                    .map(|side| asks(side).then(|| Side::new(config, side)).flatten()),
            ),
        }
    }
}

impl<T: Real> Worker<T> {
    /// Takes a pair out of its tile; `padded` is the row length of its cells.
    pub(super) fn load(&mut self, tile: &[T], stride: usize, place: &Place, padded: usize) {
        self.cells.load(tile, stride, place, padded);
    }

    /// What the loaded pair answers.
    pub(super) fn forward(&mut self, rule: &Rule<T>, grams: Grams<'_, T>) -> Answers<T> {
        let (cells, scratch) = (&self.cells, &mut self.scratch);
        let masked = match rule {
            Rule::Masked(masked) => *masked,
            Rule::Dense(_) => Masked::maxima_only(),
        };
        let mut answers = vectorised(Forward {
            rule: masked,
            cells,
            grams,
            scratch,
        });
        if let Rule::Dense(sides) = rule {
            self.dense.load(cells);
            (answers.words, answers.regions) = self.dense.forward(cells, grams, sides);
        }
        answers
    }

    /// Highest relevance of each word of the pair last asked.
    pub(super) fn word_maxima(&self) -> &[T] {
        self.scratch.best()
    }

    /// Adds the gradients of the loaded pair's Gram matrices and keeps that of its cells; `each` is
    /// upstream of a word's answer and of a region's.
    pub(super) fn backward(
        &mut self,
        rule: &Rule<T>,
        grams: Grams<'_, T>,
        each: (T, T),
        (to_regions, to_words): (&mut [T], &mut [T]),
    ) {
        let cells = &self.cells;
        let mut gradients = PairGradients {
            cells: &mut self.gradient,
            regions: to_regions,
            words: to_words,
        };
        match rule {
            Rule::Masked(rule) => vectorised(Backward {
                rule: *rule,
                cells,
                grams,
                each,
                gradients,
                scratch: &mut self.scratch,
            }),
            Rule::Dense(sides) => {
                self.dense.load(cells);
                self.dense
                    .backward((cells, grams), sides, each, &mut gradients);
            }
        }
    }

    /// Puts the gradient of the cells into the tile, where the cells were.
    pub(super) fn store(&self, tile: &mut [T], stride: usize, place: &Place) {
        let rows = self.gradient.chunks_exact(self.cells.stride);
        for (to, from) in tile[place.start..].chunks_mut(stride).zip(rows) {
            to[..place.regions].copy_from_slice(&from[..place.regions]);
        }
    }
}

impl<T: Real> DenseScratch<T> {
    fn load(&mut self, cells: &Cells<T>) {
        self.words_by_regions.clear();
        for word in 0..cells.words {
            let row = cells.row(word);
            self.words_by_regions
                .extend_from_slice(&row[..cells.regions]);
        }
        self.regions_by_words.clear();
        for region in 0..cells.regions {
            let column = self.words_by_regions[region..].iter();
            self.regions_by_words.extend(column.step_by(cells.regions));
        }
    }

    /// The sums of R over words and over regions.
    fn forward(
        &mut self,
        cells: &Cells<T>,
        grams: Grams<'_, T>,
        sides: &[Option<Side<T>>; 2],
    ) -> (T, T) {
        let mut scratch = std::mem::take(&mut self.side);
        let blocks = self.blocks(cells, grams);
        let mut asked = |at: usize| match sides[at] {
            Some(side) => side.forward(&blocks[at], &mut scratch),
            None => T::zero(),
        };
        let answers = (asked(0), asked(1));
        self.side = scratch;
        answers
    }

    /// The loaded pair as words and as regions see it.
    fn blocks<'a>(&'a self, cells: &Cells<T>, grams: Grams<'a, T>) -> [Block<'a, T>; 2] {
        [
            Block {
                relevance: &self.words_by_regions,
                queries: cells.words,
                context: cells.regions,
                gram: grams.regions,
                stride: cells.stride,
            },
            Block {
                relevance: &self.regions_by_words,
                queries: cells.regions,
                context: cells.words,
                gram: grams.words,
                stride: grams.word_stride,
            },
        ]
    }

    fn backward(
        &mut self,
        (cells, grams): (&Cells<T>, Grams<'_, T>),
        sides: &[Option<Side<T>>; 2],
        each: (T, T),
        gradients: &mut PairGradients<'_, T>,
    ) {
        let (words, regions, stride) = (cells.words, cells.regions, cells.stride);
        gradients.cells.clear();
        gradients.cells.resize(cells.len(), T::zero());
        let to_cells = &mut gradients.cells[..];
        let mut of_block = std::mem::take(&mut self.gradient);
        let mut scratch = std::mem::take(&mut self.side);
        let [by_words, by_regions] = self.blocks(cells, grams);
        if let Some(side) = sides[0] {
            let gram = &mut *gradients.regions;
            let relevance = cleared(&mut of_block, words * regions);
            let mut to = BlockGradients { relevance, gram };
            side.backward(&by_words, each.0, &mut to, &mut scratch);
            for (to, from) in to_cells
                .chunks_exact_mut(stride)
                .zip(of_block.chunks_exact(regions))
            {
                to[..regions].copy_from_slice(from);
            }
        }
        if let Some(side) = sides[1] {
            let gram = &mut *gradients.words;
            let relevance = cleared(&mut of_block, words * regions);
            let mut to = BlockGradients { relevance, gram };
            side.backward(&by_regions, each.1, &mut to, &mut scratch);
            for (region, column) in of_block.chunks_exact(words).enumerate() {
                for (word, &gradient) in column.iter().enumerate() {
                    to_cells[word * stride + region] += gradient;
                }
            }
        }
        (self.gradient, self.side) = (of_block, scratch);
    }
}

fn cleared<T: Real>(values: &mut Vec<T>, len: usize) -> &mut [T] {
    values.clear();
    values.resize(len, T::zero());
    values
}
