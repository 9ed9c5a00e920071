//! Seeded ragged batches, and the matchers that they are checked with.

use candle_core::{DType, Device, Tensor};
use uard_attention::{Matcher, MatcherConfig, Precision, Sides, WeightRule};
use uard_core::random::{Draws, Stream, normal};
use uard_core::{Regions, Words};

use super::Extent;

/// Counts of regions and of words, and the width.
#[derive(Debug, Clone)]
pub struct Shape {
    pub regions: Vec<usize>,
    pub words: Vec<usize>,
    pub width: usize,
}

impl Shape {
    pub fn new(regions: Vec<usize>, words: Vec<usize>, width: usize) -> Self {
        Self {
            regions,
            words,
            width,
        }
    }
}

/// So many counts of at least `from` and below `to`.
fn cycle(count: usize, from: usize, to: usize) -> Vec<usize> {
    (0..count).map(|at| from + at * 7 % (to - from)).collect()
}

/// Their numbers name them and are their seeds.
pub fn batches(extent: Extent) -> Vec<(u64, Shape)> {
    let mut batches = vec![
        Shape::new(vec![1], vec![1], 1),
        Shape::new(vec![5, 2, 7], vec![4, 1, 6, 3], 8),
        Shape::new(
            vec![36, 20, 36, 36, 31],
            vec![8, 20, 13, 9, 30, 11, 12, 25, 14],
            100,
        ),
        Shape::new(vec![150, 9], vec![3, 40], 70),
    ];
    if extent == Extent::Full {
        batches.push(Shape::new(vec![36; 67], cycle(131, 4, 30), 1024));
        batches.push(Shape::new(cycle(40, 10, 101), cycle(60, 1, 78), 256));
        batches.push(Shape::new(vec![196; 9], cycle(33, 5, 40), 768));
    }
    let batches = (0..).zip(batches);
    match extent {
        // Several tiles on either side.
        Extent::Smallest => batches.skip(2).take(1).collect(),
        Extent::Quick | Extent::Full => batches.collect(),
    }
}

/// The same with more images and captions than a list is long, as wide as models are; none in the
/// smallest extent.
pub fn batches_of_lists(extent: Extent) -> Vec<(u64, Shape)> {
    let batches = [
        Shape::new(cycle(12, 3, 9), cycle(14, 2, 11), 256),
        Shape::new(vec![36; 40], cycle(90, 8, 21), 1024),
    ];
    let count = match extent {
        Extent::Smallest => 0,
        Extent::Quick => 1,
        Extent::Full => 2,
    };
    (100..).zip(batches).take(count).collect()
}

/// Those rules with each side; in the smallest extent with both, and without the rules that are the
/// masked rule but for a comparison.
pub fn matchers(rules: &[WeightRule], extent: Extent) -> anyhow::Result<Vec<Matcher>> {
    let mut matchers = Vec::new();
    let is_small = extent == Extent::Smallest;
    for &rule in rules {
        if is_small && matches!(rule, WeightRule::Nearest | WeightRule::Zero) {
            continue;
        }
        for &sides in extent.of(&[Sides::Both, Sides::Words, Sides::Regions]) {
            matchers.push(Matcher::new(MatcherConfig {
                rule,
                sides,
                inverse_temperature: None,
            })?);
        }
    }
    Ok(matchers)
}

/// The share of cells above the threshold of drawn rows, as a learned one leaves it: few lie near it.
const KEPT_CELLS: f64 = 0.025;

/// Sums in another order move a cell by less.
const SUMS: f64 = 1e-5;

/// A seeded batch on the CPU; all rows share a direction, so that relevance lies on both sides of the
/// threshold.
pub struct Sample {
    pub name: String,
    pub regions: Regions,
    pub words: Words,
    pub threshold: f64,
    /// Whether every precision computes the same relevance.
    pub is_exact: bool,
}

impl Sample {
    /// Rows that every precision holds exactly, and whose products and their sums it holds exactly
    /// too: whole numbers of at most eight digits over a power of two, of length one. Relevance is a
    /// multiple of the same number for every engine, the threshold lies between two of them, and so
    /// what is above it is beyond dispute.
    pub fn exact(seed: u64, shape: &Shape) -> anyhow::Result<Self> {
        let length = length(shape.width);
        let [regions, words] = sides(seed, shape, |stream, count| {
            let rows = (0..count).flat_map(|_| whole_row(stream, shape.width, length));
            rows.map(|number| number as f32 / length as f32).collect()
        })?;
        let squared = (length * length) as f64;
        Ok(Self {
            name: format!("batch {seed}"),
            regions: Regions::normalized(&regions, shape.regions.clone())?,
            words: Words::normalized(&words, shape.words.clone())?,
            threshold: ((0.2 * squared).floor() + 0.5) / squared,
            is_exact: true,
        })
    }

    /// Rows of any numbers, and the threshold that leaves [`KEPT_CELLS`], padding among those below it.
    pub fn drawn(seed: u64, shape: &Shape) -> anyhow::Result<Self> {
        let [regions, words] = sides(seed, shape, |stream, count| {
            let mut numbers = normal(stream, 1.0, count * shape.width);
            let shared = 0.5 * (shape.width as f32).sqrt();
            let rows = numbers.chunks_mut(shape.width);
            rows.for_each(|row| row[0] += shared);
            numbers
        })?;
        let mut sample = Self {
            name: format!("batch {seed}"),
            regions: Regions::normalized(&regions, shape.regions.clone())?,
            words: Words::normalized(&words, shape.words.clone())?,
            threshold: 0.0,
            is_exact: false,
        };
        let mut cells = sample.relevance(DType::F64)?;
        let at = ((1.0 - KEPT_CELLS) * cells.len() as f64) as usize;
        let at = at.min(cells.len() - 1);
        sample.threshold = *cells.select_nth_unstable_by(at, f64::total_cmp).1;
        Ok(sample)
    }

    /// For every pair [I, C], whether a cell of it lies on the other side of the threshold once rows
    /// are rounded, or so near that the order of a sum may decide.
    pub fn moved(&self, precision: Precision) -> anyhow::Result<Vec<bool>> {
        let (images, captions) = (self.regions.images(), self.words.captions());
        let mut moved = vec![false; images * captions];
        if self.is_exact {
            return Ok(moved);
        }
        let rounded = match precision {
            Precision::Bf16 => DType::BF16,
            Precision::F16 => DType::F16,
            Precision::F32 | Precision::Exact => DType::F32,
        };
        let (exact, rounded) = (self.relevance(DType::F64)?, self.relevance(rounded)?);
        let (words, regions) = (self.words.longest(), self.regions.longest());
        let threshold = self.threshold;
        for (at, (&exact, &rounded)) in exact.iter().zip(&rounded).enumerate() {
            let (caption, image) = (at / (words * images * regions), at / regions % images);
            moved[image * captions + caption] |= (exact > threshold) != (rounded > threshold)
                || (exact - threshold).abs() < SUMS
                || (rounded - threshold).abs() < SUMS;
        }
        Ok(moved)
    }

    /// Relevance [C, W, I, R] in f64 of rows that were rounded to a type.
    fn relevance(&self, rounded: DType) -> anyhow::Result<Vec<f64>> {
        let flat = |rows: &Tensor| -> anyhow::Result<Tensor> {
            let rows = rows.to_dtype(rounded)?.to_dtype(DType::F64)?;
            Ok(rows.flatten_to(1)?)
        };
        let relevance = flat(self.words.rows())?.matmul(&flat(self.regions.rows())?.t()?)?;
        Ok(relevance.flatten_all()?.to_vec1()?)
    }
}

/// Rows of regions and of words, padding included, from what draws so many of them.
fn sides(
    seed: u64,
    shape: &Shape,
    mut draw: impl FnMut(&mut Stream, usize) -> Vec<f32>,
) -> anyhow::Result<[Tensor; 2]> {
    let mut side = |label: &str, counts: &[usize]| -> anyhow::Result<Tensor> {
        let longest = counts.iter().copied().max().unwrap_or(1);
        let numbers = draw(
            &mut Draws::new(seed).stream(label, &[]),
            counts.len() * longest,
        );
        let shape = (counts.len(), longest, shape.width);
        Ok(Tensor::from_vec(numbers, shape, &Device::Cpu)?)
    };
    Ok([
        side("regions", &shape.regions)?,
        side("words", &shape.words)?,
    ])
}

/// The length of rows of whole numbers: a power of two, about 16 a number and more.
fn length(width: usize) -> i64 {
    let least = (16.0 * (width as f64).sqrt()).ceil() as u64;
    least.next_power_of_two() as i64
}

/// The largest whole number that bf16 holds with all below it, but for its power of two.
const LARGEST: i64 = 255;

/// A row of whole numbers of exactly that length.
fn whole_row(stream: &mut Stream, width: usize, length: i64) -> Vec<i64> {
    if width < 5 {
        let mut row = vec![0; width];
        row[0] = length;
        return row;
    }
    loop {
        if let Some(row) = drawn_row(stream, width, length) {
            return row;
        }
    }
}

/// The first number is what all rows share, the last four bring the row to its length: every whole
/// number is the sum of four squares. Nothing where they would be too large.
fn drawn_row(stream: &mut Stream, width: usize, length: i64) -> Option<Vec<i64>> {
    let shared = (0.45 * length as f64) as i64 & !3;
    let mut rest = length * length - shared * shared;
    let drawn = width - 5;
    let std = (0.9 * rest as f64 / (drawn + 1) as f64).sqrt();
    let mut row = vec![shared];
    for number in normal(stream, std as f32, drawn) {
        let number = (number as i64).clamp(-LARGEST, LARGEST);
        rest -= number * number;
        row.push(number);
    }
    let last = four_squares(rest)?;
    let signs = normal(stream, 1.0, 4);
    row.extend(
        last.into_iter()
            .zip(signs)
            .map(|(number, sign)| number * sign.signum() as i64),
    );
    Some(row)
}

/// Four numbers of at most [`LARGEST`] whose squares have that sum, alike in size where possible.
fn four_squares(sum: i64) -> Option<[i64; 4]> {
    let root = |number: i64| (number.max(0) as f64).sqrt() as i64;
    let from = |rest: i64, terms: i64| (0..=root(rest / terms).min(LARGEST)).rev();
    if sum < 0 {
        return None;
    }
    for a in from(sum, 4) {
        for b in from(sum - a * a, 3) {
            let rest = sum - a * a - b * b;
            for c in from(rest, 2) {
                let d = root(rest - c * c);
                if d <= LARGEST && d * d == rest - c * c {
                    return Some([a, b, c, d]);
                }
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_every_precision_holds_stay_what_they_are() {
        for (at, shape) in batches(Extent::Full) {
            let sample = Sample::exact(at, &shape).unwrap();
            let exact = sample.relevance(DType::F64).unwrap();
            for rounded in [DType::F32, DType::F16, DType::BF16] {
                assert_eq!(exact, sample.relevance(rounded).unwrap(), "{shape:?}");
            }
            let above = exact
                .iter()
                .filter(|cell| **cell > sample.threshold)
                .count();
            assert!(
                above > 0 && (exact.len() == 1 || above < exact.len()),
                "{shape:?}"
            );
            let length = length(shape.width);
            let grid = (length * length) as f64;
            assert!(exact.iter().all(|cell| (cell * grid).fract() == 0.0));
            let rows = sample
                .words
                .valid_rows()
                .unwrap()
                .sqr()
                .unwrap()
                .sum(1)
                .unwrap();
            assert!(
                rows.to_vec1::<f32>()
                    .unwrap()
                    .iter()
                    .all(|length| *length == 1.0)
            );
        }
    }

    #[test]
    fn every_whole_number_is_the_sum_of_four_squares() {
        for sum in (0..2000).chain([65_535, 200_000]) {
            let squares = four_squares(sum).unwrap();
            assert_eq!(
                squares.iter().map(|number| number * number).sum::<i64>(),
                sum
            );
        }
        assert_eq!(four_squares(-1), None);
        assert_eq!(four_squares(4 * LARGEST * LARGEST + 1), None);
    }
}
