//! The masked rule for a tile with few cells above the threshold: forward and backward pass on a
//! list of these cells.
//!
//! The list is saved for the backward pass, which writes each cell's gradient over its relevance.
//! All other cells have weight and gradient zero and are read once, to be compared with the
//! threshold.

use uard_linalg::vector::{Exponentials, Loops, Number, Simd, vectorised};

use super::masked::{
    AttendedSums, Grams, Masked, PairAnswers, PairCells, SumGradients, row_maximum,
};
use super::tiles::{CellIndex, PairInTile, QueryUpstream, Tile};
use crate::config::QuerySide;
use crate::kept::Above;
use crate::side::SMALLEST_SQUARED_LENGTH;

/// A tile is listed if at most one cell in this many is above the threshold; with more, vectors of
/// neighbouring cells are faster.
const LISTED_UP_TO_ONE_IN: usize = 8;

/// A cell of a tile.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Cell<T> {
    pub row: u32,
    pub column: u32,
    /// Relevance; after the backward pass its gradient.
    pub value: T,
}

/// A number to be added to the gradient `dG + dG^T` of an image's regions.
#[derive(Debug, Clone, Copy)]
pub(super) struct GramEntry<T> {
    /// The image, counted from the first of the tile.
    pub image: u32,
    pub row: u32,
    pub column: u32,
    pub value: T,
}

/// The cells of a tile above the threshold.
#[derive(Debug)]
pub(super) struct ListedCells<T> {
    pub rule: Masked<T>,
    /// Pair by pair, and in a pair by row, then column.
    pub cells: Vec<Cell<T>>,
    /// The end of each pair's cells, in the order of [`super::tiles::Tiles::pairs`].
    ends: Vec<usize>,
    /// Written by the backward pass.
    pub region_grams: Vec<GramEntry<T>>,
}

/// Buffers that are reused from pair to pair.
#[derive(Debug, Default)]
pub(super) struct Scratch<T> {
    /// Places of the pair's cells in their list, by row, then column.
    by_row: Vec<u32>,
    /// The same by column, then row.
    by_column: Vec<u32>,
    buffers: QueryBuffers<T>,
}

#[derive(Debug, Default)]
struct QueryBuffers<T> {
    /// The weights of all cells of a pair, query by query of the current side.
    weights: Vec<T>,
    /// `G e` for the cells of one query.
    products: Vec<T>,
}

/// One pair's cells above the threshold, with its Gram matrices.
#[derive(Debug, Clone, Copy)]
pub(super) struct ListedPair<'a, T> {
    pub cells: &'a [Cell<T>],
    pub grams: Grams<'a, T>,
    /// The cell of its first word with its first region.
    pub first: CellIndex,
}

/// Where the gradients of a pair go.
#[derive(Debug)]
pub(super) struct ListedGradients<'a, T> {
    /// The gradients of its cells, in the order of the cells; overwritten.
    pub cells: &'a mut Vec<T>,
    /// The image, counted from the first of the tile.
    pub image: u32,
    /// `dG + dG^T` of the image's regions, as a list to which entries are added.
    pub region_gram: &'a mut Vec<GramEntry<T>>,
    /// `dH + dH^T` of the words, laid out as their Gram matrix; added to.
    pub word_gram: &'a mut [T],
}

/// A pair with one of its sides as queries.
#[derive(Clone, Copy)]
struct Side<'a, T> {
    pair: &'a ListedPair<'a, T>,
    /// Places of the pair's cells in their list; those of one query are neighbours.
    order: &'a [u32],
    queries: QuerySide,
    /// None if the rule has no queries on this side.
    inverse_temperature: Option<T>,
    /// The Gram matrix of the other side's fragments.
    gram: &'a [T],
    gram_stride: usize,
}

impl<T: Number> ListedCells<T> {
    /// Lists the cells of a tile's pairs that are above the threshold; none if they are too many.
    /// Calls `on_pair` for each pair with the highest relevance of each of its words, and stops
    /// where the cells become too many.
    pub(super) fn from_tile(
        tile: &Tile,
        rule: &Masked<T>,
        pairs: impl Iterator<Item = PairInTile>,
        mut load: impl FnMut(&PairInTile, &mut PairCells<T>),
        mut on_pair: impl FnMut(&PairInTile, &[T]),
    ) -> Option<Self> {
        let most = tile.rows * tile.columns / LISTED_UP_TO_ONE_IN;
        let mut found = Self {
            rule: *rule,
            cells: Vec::new(),
            ends: Vec::new(),
            region_grams: Vec::new(),
        };
        let (mut cells, mut best) = (PairCells::default(), Vec::new());
        for pair in pairs {
            load(&pair, &mut cells);
            vectorised(ListAbove {
                cells: &cells,
                threshold: rule.threshold,
                first: pair.first_cell(tile),
                best: &mut best,
                found: &mut found.cells,
            });
            if found.cells.len() > most {
                return None;
            }
            found.ends.push(found.cells.len());
            on_pair(&pair, &best);
        }
        Some(found)
    }

    /// Adds the entries that the backward pass has listed to the gradients of the Gram matrices of
    /// the tile's images, each of `longest` rows of `stride` numbers; an empty one is zero.
    pub(super) fn add_region_grams(&self, sums: &mut [Vec<T>], longest: usize, stride: usize) {
        for entry in &self.region_grams {
            let sums = &mut sums[entry.image as usize];
            sums.resize(longest * stride, T::zero());
            sums[entry.row as usize * stride + entry.column as usize] += entry.value;
        }
    }

    /// The places of each pair's cells in the list.
    pub(super) fn pairs(&self) -> impl Iterator<Item = std::ops::Range<usize>> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, &end)| start..end)
    }
}

/// Lists the cells of one pair that are above the threshold, row by row.
struct ListAbove<'a, T> {
    cells: &'a PairCells<T>,
    threshold: T,
    /// The cell of its first word with its first region.
    first: CellIndex,
    /// The highest relevance of each word; overwritten.
    best: &'a mut Vec<T>,
    found: &'a mut Vec<Cell<T>>,
}

impl<T: Number> Loops for ListAbove<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        self.best.clear();
        for word in 0..self.cells.words {
            let row = self.cells.row(word);
            let best = row_maximum(simd, row);
            self.best.push(best);
            // Padding after a row is below every threshold, so it is never listed.
            if best > self.threshold {
                let above = |(_, value): &(u32, &T)| **value > self.threshold;
                let row = (self.first.column..).zip(row).filter(above);
                self.found.extend(row.map(|(column, &value)| Cell {
                    row: self.first.row + word as u32,
                    column,
                    value,
                }));
            }
        }
    }
}

impl<T: Number> ListedPair<'_, T> {
    /// The pair with its words as queries, and with its regions as queries.
    fn sides<'b>(
        &'b self,
        rule: &Masked<T>,
        by_row: &'b [u32],
        by_column: &'b [u32],
    ) -> [Side<'b, T>; 2] {
        let words = Side {
            pair: self,
            order: by_row,
            queries: QuerySide::Words,
            inverse_temperature: rule.words,
            gram: self.grams.regions,
            gram_stride: self.grams.region_stride,
        };
        let regions = Side {
            pair: self,
            order: by_column,
            queries: QuerySide::Regions,
            inverse_temperature: rule.regions,
            gram: self.grams.words,
            gram_stride: self.grams.word_stride,
        };
        [words, regions]
    }
}

impl<T: Number> Scratch<T> {
    /// The sums of R over the pair's queries.
    pub(super) fn forward(&mut self, rule: &Masked<T>, pair: &ListedPair<'_, T>) -> PairAnswers<T> {
        self.order(pair.cells);
        let [words, regions] = pair.sides(rule, &self.by_row, &self.by_column);
        PairAnswers {
            words: words.forward(&mut self.buffers),
            regions: regions.forward(&mut self.buffers),
            above: Above {
                word_queries: words.cells_by_query().count() as u64,
                region_queries: regions.cells_by_query().count() as u64,
                cells: pair.cells.len() as u64,
            },
        }
    }

    /// Writes the gradient of the pair's cells, and adds those of its Gram matrices.
    pub(super) fn backward(
        &mut self,
        rule: &Masked<T>,
        pair: &ListedPair<'_, T>,
        upstream: QueryUpstream<T>,
        gradients: &mut ListedGradients<'_, T>,
    ) {
        self.order(pair.cells);
        let [words, regions] = pair.sides(rule, &self.by_row, &self.by_column);
        let to_cells = &mut *gradients.cells;
        to_cells.clear();
        to_cells.resize(pair.cells.len(), T::zero());
        let (image, entries) = (gradients.image, &mut *gradients.region_gram);
        let to_region_gram = |row: usize, column: usize, value| {
            entries.push(GramEntry {
                image,
                row: row as u32,
                column: column as u32,
                value,
            });
        };
        words.backward(upstream.word, to_cells, to_region_gram, &mut self.buffers);
        let (to, stride) = (&mut *gradients.word_gram, regions.gram_stride);
        let to_word_gram = |row: usize, column: usize, value| to[row * stride + column] += value;
        regions.backward(upstream.region, to_cells, to_word_gram, &mut self.buffers);
    }

    /// Orders the cells, which are given by row, then column.
    fn order(&mut self, cells: &[Cell<T>]) {
        for order in [&mut self.by_row, &mut self.by_column] {
            order.clear();
            order.extend(0..cells.len() as u32);
        }
        let place = |&at: &u32| (cells[at as usize].column, at);
        self.by_column.sort_unstable_by_key(place);
    }
}

impl<'a, T: Number> Side<'a, T> {
    fn cell(&self, at: u32) -> &'a Cell<T> {
        &self.pair.cells[at as usize]
    }

    /// The query of a cell: its row or column in the tile.
    fn query(&self, at: u32) -> u32 {
        let cell = self.cell(at);
        match self.queries {
            QuerySide::Words => cell.row,
            QuerySide::Regions => cell.column,
        }
    }

    /// The fragment of the other side in a cell, counted from the first of the pair.
    fn context(&self, at: u32) -> usize {
        let (cell, first) = (self.cell(at), self.pair.first);
        let context = match self.queries {
            QuerySide::Words => cell.column - first.column,
            QuerySide::Regions => cell.row - first.row,
        };
        context as usize
    }

    /// The cells of each query that has any.
    fn cells_by_query(&self) -> impl Iterator<Item = &'a [u32]> + use<'a, T> {
        let side = *self;
        side.order
            .chunk_by(move |&a, &b| side.query(a) == side.query(b))
    }

    /// Writes `e = exp(λ (s - best s))` of every cell.
    fn weigh(&self, inverse_temperature: T, weights: &mut Vec<T>) {
        weights.clear();
        for query in self.cells_by_query() {
            let values = query.iter().map(|&at| self.cell(at).value);
            let best = values
                .clone()
                .fold(T::neg_infinity(), num_traits::Float::max);
            weights.extend(values.map(|value| inverse_temperature * (value - best)));
        }
        vectorised(Exponentials {
            line: weights,
            highest: T::zero(),
            scale: T::one(),
        });
    }

    /// N and Q of a query with these cells and weights; writes `G e` to `products`.
    fn attend(&self, cells: &[u32], weights: &[T], products: &mut Vec<T>) -> AttendedSums<T> {
        products.clear();
        let (mut dot, mut squared) = (T::zero(), T::zero());
        for (&at, &weight) in cells.iter().zip(weights) {
            let gram = &self.gram[self.context(at) * self.gram_stride..];
            let terms = cells.iter().zip(weights);
            let product = terms.fold(T::zero(), |sum, (&other, &weight)| {
                sum + gram[self.context(other)] * weight
            });
            products.push(product);
            dot += weight * self.cell(at).value;
            squared += weight * product;
        }
        let smallest = T::from_f64(SMALLEST_SQUARED_LENGTH);
        AttendedSums {
            dot,
            squared: num_traits::Float::max(squared, smallest),
        }
    }

    /// The sum of R over the queries.
    fn forward(&self, buffers: &mut QueryBuffers<T>) -> T {
        let Some(inverse_temperature) = self.inverse_temperature else {
            return T::zero();
        };
        let QueryBuffers { weights, products } = buffers;
        self.weigh(inverse_temperature, weights);
        let (mut rest, mut total) = (&weights[..], T::zero());
        for query in self.cells_by_query() {
            let (own, others) = rest.split_at(query.len());
            rest = others;
            let sums = self.attend(query, own, products);
            total += sums.dot / sums.squared.sqrt();
        }
        total
    }

    /// Adds the gradient of every cell to `to_cells`, and passes the entries of the Gram matrix's
    /// gradient to `to_gram` as row, column and value; `upstream` is the gradient of each R.
    fn backward(
        &self,
        upstream: T,
        to_cells: &mut [T],
        mut to_gram: impl FnMut(usize, usize, T),
        buffers: &mut QueryBuffers<T>,
    ) {
        let Some(inverse_temperature) = self.inverse_temperature else {
            return;
        };
        let QueryBuffers { weights, products } = buffers;
        self.weigh(inverse_temperature, weights);
        let mut rest = &weights[..];
        for query in self.cells_by_query() {
            let (own, others) = rest.split_at(query.len());
            rest = others;
            let SumGradients { dot, squared } =
                self.attend(query, own, products).gradient(upstream);
            for ((&at, &weight), &product) in query.iter().zip(own).zip(&*products) {
                let by_weight = self.cell(at).value * dot + product * squared;
                to_cells[at as usize] += weight * (dot + inverse_temperature * by_weight);
                for (&other, &other_weight) in query.iter().zip(own) {
                    let value = weight * other_weight * squared;
                    to_gram(self.context(at), self.context(other), value);
                }
            }
        }
    }
}
