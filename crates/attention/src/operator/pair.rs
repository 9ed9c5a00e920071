//! The forward and backward pass of one pair under any rule, on cells copied out of its tile.

use uard_linalg::vector::{Number, vectorised};

use super::listed;
use super::masked::{
    GramGradients, Grams, Masked, PairAnswers, PairBackward, PairCells, PairForward, PairGradients,
    PairInputs, Scratch,
};
use super::rows::Lists;
use super::tiles::{PairInTile, QueryUpstream};
use crate::config::{MatcherConfig, QuerySide, WeightRule};
use crate::side::{self, Block, BlockGradients, Side};

/// The rule with its numbers in the precision of the tensors.
#[derive(Debug, Clone, Copy)]
pub(super) enum Rule<T> {
    Masked(Masked<T>),
    /// A rule without masks: the attention of the words as queries, and that of the regions; `None`
    /// for a side without queries.
    Dense([Option<Side<T>>; 2]),
}

impl<T> Rule<T> {
    /// The masked rule; none if this is a rule without masks.
    pub(super) fn masked(&self) -> Option<&Masked<T>> {
        match self {
            Self::Masked(masked) => Some(masked),
            Self::Dense(_) => None,
        }
    }
}

/// Buffers of one thread, reused from pair to pair and from tile to tile.
#[derive(Debug, Default)]
pub(super) struct Workspace<T> {
    cells: PairCells<T>,
    scratch: Scratch<T>,
    /// The gradient of a pair's cells.
    pub gradient: Vec<T>,
    dense: DenseScratch<T>,
    pub listed: listed::Scratch<T>,
    /// Relevance of a tile that is not saved for a backward pass.
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

impl<T: Number> Rule<T> {
    pub(super) fn new(config: &MatcherConfig, threshold: f64) -> Self {
        let inverse_temperature = |side| config.query_temperature(side).map(T::from_f64);
        match config.rule {
            WeightRule::Masked | WeightRule::Nearest | WeightRule::Zero => Self::Masked(Masked {
                threshold: T::from_f64(config.threshold(threshold)),
                answers_below: config.rule.answers_below(),
                words: inverse_temperature(QuerySide::Words),
                regions: inverse_temperature(QuerySide::Regions),
            }),
            WeightRule::Scan | WeightRule::MaxSim => {
                Self::Dense([QuerySide::Words, QuerySide::Regions].map(|side| {
                    inverse_temperature(side)
                        .map(|inverse_temperature| Side::new(config.rule, inverse_temperature))
                }))
            }
        }
    }
}

impl<T: Number> Workspace<T> {
    /// Copies the cells of a pair out of its tile, whose rows are `columns` long, into rows of
    /// `stride`.
    pub(super) fn load(&mut self, tile: &[T], columns: usize, pair: &PairInTile, stride: usize) {
        self.cells.load(tile, columns, pair, stride);
    }

    /// The sums of R of the loaded pair.
    pub(super) fn forward(&mut self, rule: &Rule<T>, grams: Grams<'_, T>) -> PairAnswers<T> {
        let cells = &self.cells;
        let inputs = PairInputs { cells, grams };
        let masked = match rule {
            Rule::Masked(masked) => *masked,
            Rule::Dense(_) => Masked::maxima_only(),
        };
        let mut answers = vectorised(PairForward {
            rule: masked,
            inputs,
            scratch: &mut self.scratch,
        });
        if let Rule::Dense(sides) = rule {
            self.dense.load(cells);
            (answers.words, answers.regions) = self.dense.forward(inputs, sides);
        }
        answers
    }

    /// Highest relevance of each word of the pair whose forward pass ran last.
    pub(super) fn word_maxima(&self) -> &[T] {
        self.scratch.best()
    }

    /// Adds the gradients of the loaded pair's Gram matrices to `to_grams`, and writes that of its
    /// cells to `self.gradient`.
    pub(super) fn backward(
        &mut self,
        rule: &Rule<T>,
        grams: Grams<'_, T>,
        upstream: QueryUpstream<T>,
        to_grams: GramGradients<'_, T>,
    ) {
        let cells = &self.cells;
        let inputs = PairInputs { cells, grams };
        let mut gradients = PairGradients {
            cells: &mut self.gradient,
            grams: to_grams,
        };
        match rule {
            Rule::Masked(rule) => vectorised(PairBackward {
                rule: *rule,
                inputs,
                upstream,
                gradients,
                scratch: &mut self.scratch,
            }),
            Rule::Dense(sides) => {
                self.dense.load(cells);
                self.dense.backward(inputs, sides, upstream, &mut gradients);
            }
        }
    }

    /// Writes the gradient of the loaded pair's cells over the cells in their tile, whose rows are
    /// `columns` long.
    pub(super) fn store(&self, tile: &mut [T], columns: usize, pair: &PairInTile) {
        let rows = self.gradient.chunks_exact(self.cells.stride);
        for (to, from) in tile[pair.start..].chunks_mut(columns).zip(rows) {
            to[..pair.regions].copy_from_slice(&from[..pair.regions]);
        }
    }
}

impl<T: Number> DenseScratch<T> {
    fn load(&mut self, cells: &PairCells<T>) {
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
    fn forward(&mut self, inputs: PairInputs<'_, T>, sides: &[Option<Side<T>>; 2]) -> (T, T) {
        let mut scratch = std::mem::take(&mut self.side);
        let blocks = self.blocks(inputs);
        let mut sum = |at: usize| match sides[at] {
            Some(side) => side.forward(&blocks[at], &mut scratch),
            None => T::zero(),
        };
        let answers = (sum(0), sum(1));
        self.side = scratch;
        answers
    }

    /// The loaded pair with its words as queries, and with its regions as queries.
    fn blocks<'a>(&'a self, inputs: PairInputs<'a, T>) -> [Block<'a, T>; 2] {
        let PairInputs { cells, grams } = inputs;
        [
            Block {
                relevance: &self.words_by_regions,
                queries: cells.words,
                context: cells.regions,
                gram: grams.regions,
                stride: grams.region_stride,
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
        inputs: PairInputs<'_, T>,
        sides: &[Option<Side<T>>; 2],
        upstream: QueryUpstream<T>,
        gradients: &mut PairGradients<'_, T>,
    ) {
        let cells = inputs.cells;
        let (words, regions, stride) = (cells.words, cells.regions, cells.stride);
        gradients.cells.clear();
        gradients.cells.resize(cells.len(), T::zero());
        let to_cells = &mut gradients.cells[..];
        let mut of_block = std::mem::take(&mut self.gradient);
        let mut scratch = std::mem::take(&mut self.side);
        let [by_words, by_regions] = self.blocks(inputs);
        if let Some(side) = sides[0] {
            let gram = &mut *gradients.grams.regions;
            let relevance = cleared(&mut of_block, words * regions);
            let mut to = BlockGradients { relevance, gram };
            side.backward(&by_words, upstream.word, &mut to, &mut scratch);
            for (to, from) in to_cells
                .chunks_exact_mut(stride)
                .zip(of_block.chunks_exact(regions))
            {
                to[..regions].copy_from_slice(from);
            }
        }
        if let Some(side) = sides[1] {
            let gram = &mut *gradients.grams.words;
            let relevance = cleared(&mut of_block, words * regions);
            let mut to = BlockGradients { relevance, gram };
            side.backward(&by_regions, upstream.region, &mut to, &mut scratch);
            for (region, column) in of_block.chunks_exact(words).enumerate() {
                for (word, &gradient) in column.iter().enumerate() {
                    to_cells[word * stride + region] += gradient;
                }
            }
        }
        (self.gradient, self.side) = (of_block, scratch);
    }
}

fn cleared<T: Number>(values: &mut Vec<T>, len: usize) -> &mut [T] {
    values.clear();
    values.resize(len, T::zero());
    values
}
