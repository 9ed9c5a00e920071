//! The masked rule where few cells of a tile are above the threshold: they are listed, answered,
//! kept for the backward pass and turned into their gradients; nothing else is touched again.

use uard_linalg::vector::{Exponentials, Loops, Simd, vectorised};

use super::masked::{Answers, Cells, Grams, Masked, best_of};
use super::tiles::{Place, Tile};
use crate::side::{Real, SMALLEST_SQUARED_LENGTH};

/// A tile with more cells above the threshold than one in so many is not listed: its pairs have
/// whole rows of weights, and vectors of neighbouring cells are cheaper.
const FEWEST_CELLS_TO_ONE: usize = 8;

/// A number of a tile.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Cell<T> {
    pub row: u32,
    pub column: u32,
    /// Relevance; after the backward pass its gradient.
    pub value: T,
}

/// A number of the gradient `dG + dG^T` of an image's regions.
#[derive(Debug, Clone, Copy)]
pub(super) struct GramEntry<T> {
    /// The image, counted in the tile.
    pub image: u32,
    pub row: u32,
    pub column: u32,
    pub value: T,
}

/// The cells of a tile above the threshold.
#[derive(Debug)]
pub(super) struct Listed<T> {
    pub rule: Masked<T>,
    /// Pair by pair, by row, then column.
    pub cells: Vec<Cell<T>>,
    /// The end of each pair's cells, in the order of [`super::tiles::Tiles::places`].
    ends: Vec<usize>,
    /// Left by the backward pass.
    pub region_grams: Vec<GramEntry<T>>,
}

/// Buffers that are reused from pair to pair.
#[derive(Debug, Default)]
pub(super) struct Scratch<T> {
    /// Cells by row, then column: as they are listed.
    by_row: Vec<u32>,
    /// Cells by column, then row.
    by_column: Vec<u32>,
    /// Of the cells in either order.
    weights: Vec<T>,
    products: Vec<T>,
}

/// One pair's cells, and what its queries look through.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pair<'a, T> {
    cells: &'a [Cell<T>],
    grams: Grams<'a, T>,
    stride: usize,
    /// The row of its first word and the column of its first region.
    first: (u32, u32),
}

/// Where the gradients of a pair go.
#[derive(Debug)]
pub(super) struct Gradients<'a, T> {
    /// Of its cells, in their order; overwritten.
    pub cells: &'a mut Vec<T>,
    /// The image, counted in the tile; and where its entries go.
    pub regions: (u32, &'a mut Vec<GramEntry<T>>),
    /// `dH + dH^T` of the words, laid out as their Gram matrix; added to.
    pub words: &'a mut [T],
}

/// One side of a pair: its cells in an order in which those of a query are neighbours.
#[derive(Clone, Copy)]
struct Side<'a, T> {
    pair: &'a Pair<'a, T>,
    order: &'a [u32],
    /// Whether words ask, and not regions.
    words_ask: bool,
    gram: &'a [T],
    gram_stride: usize,
}

/// A query: its cells, their places in the order, and what they add up to.
struct Asked<T> {
    dot: T,
    /// At least [`SMALLEST_SQUARED_LENGTH`].
    squared: T,
}

impl<T: Real> Listed<T> {
    /// Lists the pairs of a tile, until they are too many cells; tells `on_pair` every pair's place
    /// and its highest relevance word by word.
    pub(super) fn of_tile(
        (tile, rule): (&Tile, &Masked<T>),
        places: impl Iterator<Item = Place>,
        mut load: impl FnMut(&Place, &mut Cells<T>),
        mut on_pair: impl FnMut(&Place, &[T]),
    ) -> Option<Self> {
        let most = tile.rows * tile.columns / FEWEST_CELLS_TO_ONE;
        let mut found = Self {
            rule: *rule,
            cells: Vec::new(),
            ends: Vec::new(),
            region_grams: Vec::new(),
        };
        let (mut cells, mut best) = (Cells::default(), Vec::new());
        for place in places {
            load(&place, &mut cells);
            vectorised(ListAbove {
                cells: &cells,
                threshold: rule.threshold,
                first: place.corner(tile),
                best: &mut best,
                found: &mut found.cells,
            });
            if found.cells.len() > most {
                return None;
            }
            found.ends.push(found.cells.len());
            on_pair(&place, &best);
        }
        Some(found)
    }

    /// Adds what the backward pass left to the gradients of the Gram matrices of the tile's images,
    /// R rows `stride` apart; no sums yet are zeros.
    pub(super) fn add_region_grams(&self, sums: &mut [Vec<T>], (longest, stride): (usize, usize)) {
        for entry in &self.region_grams {
            let sums = &mut sums[entry.image as usize];
            sums.resize(longest * stride, T::zero());
            sums[entry.row as usize * stride + entry.column as usize] += entry.value;
        }
    }

    /// The cells of each pair.
    pub(super) fn pairs(&self) -> impl Iterator<Item = std::ops::Range<usize>> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, &end)| start..end)
    }
}

/// Lists what is above the threshold in one pair, row by row.
struct ListAbove<'a, T> {
    cells: &'a Cells<T>,
    threshold: T,
    first: (u32, u32),
    /// The highest relevance of each word.
    best: &'a mut Vec<T>,
    found: &'a mut Vec<Cell<T>>,
}

impl<T: Real> Loops for ListAbove<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        self.best.clear();
        for word in 0..self.cells.words {
            let row = self.cells.row(word);
            let best = best_of(simd, row);
            self.best.push(best);
            // Padding is below every threshold that any cell exceeds.
            if best > self.threshold {
                let above = |(_, value): &(u32, &T)| **value > self.threshold;
                let row = (self.first.1..).zip(row).filter(above);
                self.found.extend(row.map(|(column, &value)| Cell {
                    row: self.first.0 + word as u32,
                    column,
                    value,
                }));
            }
        }
    }
}

impl<'a, T: Real> Pair<'a, T> {
    /// Cells of a tile's pair; region Gram rows are `stride` apart.
    pub(super) fn new(
        cells: &'a [Cell<T>],
        (grams, stride): (Grams<'a, T>, usize),
        first: (u32, u32),
    ) -> Self {
        Self {
            cells,
            grams,
            stride,
            first,
        }
    }

    fn sides<'b>(&'b self, (by_row, by_column): (&'b [u32], &'b [u32])) -> [Side<'b, T>; 2] {
        let words = Side {
            pair: self,
            order: by_row,
            words_ask: true,
            gram: self.grams.regions,
            gram_stride: self.stride,
        };
        let regions = Side {
            order: by_column,
            words_ask: false,
            gram: self.grams.words,
            gram_stride: self.grams.word_stride,
            ..words
        };
        [words, regions]
    }
}

impl<T: Real> Scratch<T> {
    /// What the pair answers.
    pub(super) fn forward(&mut self, rule: &Masked<T>, pair: &Pair<'_, T>) -> Answers<T> {
        self.order(pair.cells);
        let [words, regions] = pair.sides((&self.by_row, &self.by_column));
        let (weights, products) = (&mut self.weights, &mut self.products);
        let mut answers = Answers {
            word_queries: words.queries().count() as u64,
            region_queries: regions.queries().count() as u64,
            cells: pair.cells.len() as u64,
            ..Answers::default()
        };
        if let Some(sharpness) = rule.words {
            answers.words = words.answer(sharpness, weights, products);
        }
        if let Some(sharpness) = rule.regions {
            answers.regions = regions.answer(sharpness, weights, products);
        }
        answers
    }

    /// Adds upstream, of a word's answer and of a region's, times the gradient of each query's R.
    pub(super) fn backward(
        &mut self,
        rule: &Masked<T>,
        pair: &Pair<'_, T>,
        each: (T, T),
        gradients: &mut Gradients<'_, T>,
    ) {
        self.order(pair.cells);
        let [words, regions] = pair.sides((&self.by_row, &self.by_column));
        let (weights, products) = (&mut self.weights, &mut self.products);
        gradients.cells.clear();
        gradients.cells.resize(pair.cells.len(), T::zero());
        if let Some(sharpness) = rule.words {
            let (image, entries) = (gradients.regions.0, &mut *gradients.regions.1);
            let to_gram = |(row, column): (usize, usize), value| {
                entries.push(GramEntry {
                    image,
                    row: row as u32,
                    column: column as u32,
                    value,
                });
            };
            let numbers = (each.0, sharpness);
            words.backward(numbers, gradients.cells, to_gram, (weights, products));
        }
        if let Some(sharpness) = rule.regions {
            let (to, stride) = (&mut *gradients.words, regions.gram_stride);
            let to_gram = |(row, column): (usize, usize), value| to[row * stride + column] += value;
            let numbers = (each.1, sharpness);
            regions.backward(numbers, gradients.cells, to_gram, (weights, products));
        }
    }

    fn order(&mut self, cells: &[Cell<T>]) {
        for order in [&mut self.by_row, &mut self.by_column] {
            order.clear();
            order.extend(0..cells.len() as u32);
        }
        let place = |&at: &u32| (cells[at as usize].column, at);
        self.by_column.sort_unstable_by_key(place);
    }
}

impl<'a, T: Real> Side<'a, T> {
    fn cell(&self, at: u32) -> &'a Cell<T> {
        &self.pair.cells[at as usize]
    }

    /// Which query asks.
    fn query(&self, at: u32) -> u32 {
        let cell = self.cell(at);
        if self.words_ask {
            cell.row
        } else {
            cell.column
        }
    }

    /// What is looked at, counted in the pair.
    fn fragment(&self, at: u32) -> usize {
        let (cell, first) = (self.cell(at), self.pair.first);
        let fragment = if self.words_ask {
            cell.column - first.1
        } else {
            cell.row - first.0
        };
        fragment as usize
    }

    /// The cells of each query.
    fn queries(&self) -> impl Iterator<Item = &'a [u32]> + use<'a, T> {
        let side = *self;
        side.order
            .chunk_by(move |&a, &b| side.query(a) == side.query(b))
    }

    /// `e = exp(λ (s - best s))` of every cell.
    fn weigh(&self, sharpness: T, weights: &mut Vec<T>) {
        weights.clear();
        for query in self.queries() {
            let values = query.iter().map(|&at| self.cell(at).value);
            let best = values
                .clone()
                .fold(T::neg_infinity(), num_traits::Float::max);
            weights.extend(values.map(|value| sharpness * (value - best)));
        }
        vectorised(Exponentials {
            line: weights,
            highest: T::zero(),
            scale: T::one(),
        });
    }

    /// N and Q of a query; `G e` stays in the products.
    fn ask(&self, cells: &[u32], weights: &[T], products: &mut Vec<T>) -> Asked<T> {
        products.clear();
        let (mut dot, mut squared) = (T::zero(), T::zero());
        for (&at, &weight) in cells.iter().zip(weights) {
            let gram = &self.gram[self.fragment(at) * self.gram_stride..];
            let terms = cells.iter().zip(weights);
            let product = terms.fold(T::zero(), |sum, (&other, &weight)| {
                sum + gram[self.fragment(other)] * weight
            });
            products.push(product);
            dot += weight * self.cell(at).value;
            squared += weight * product;
        }
        let smallest = T::from_f64(SMALLEST_SQUARED_LENGTH);
        Asked {
            dot,
            squared: num_traits::Float::max(squared, smallest),
        }
    }

    /// The sum of R over the queries.
    fn answer(&self, sharpness: T, weights: &mut Vec<T>, products: &mut Vec<T>) -> T {
        self.weigh(sharpness, weights);
        let (mut rest, mut answers) = (&weights[..], T::zero());
        for query in self.queries() {
            let (own, others) = rest.split_at(query.len());
            rest = others;
            let asked = self.ask(query, own, products);
            answers += asked.dot / asked.squared.sqrt();
        }
        answers
    }

    /// The gradient of every cell, and of the entries of the Gram matrix.
    fn backward(
        &self,
        (upstream, sharpness): (T, T),
        to_cells: &mut [T],
        mut to_gram: impl FnMut((usize, usize), T),
        (weights, products): (&mut Vec<T>, &mut Vec<T>),
    ) {
        self.weigh(sharpness, weights);
        let mut rest = &weights[..];
        for query in self.queries() {
            let (own, others) = rest.split_at(query.len());
            rest = others;
            let Asked { dot, squared } = self.ask(query, own, products);
            let by_dot = upstream / squared.sqrt();
            // Zero where Q was bounded.
            let by_squared = if squared > T::from_f64(SMALLEST_SQUARED_LENGTH) {
                -(dot / squared) * by_dot
            } else {
                T::zero()
            };
            for ((&at, &weight), &product) in query.iter().zip(own).zip(&*products) {
                let by_weight = self.cell(at).value * by_dot + product * by_squared;
                to_cells[at as usize] += weight * (by_dot + sharpness * by_weight);
                for (&other, &other_weight) in query.iter().zip(own) {
                    let value = weight * other_weight * by_squared;
                    to_gram((self.fragment(at), self.fragment(other)), value);
                }
            }
        }
    }
}
