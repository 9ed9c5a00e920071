//! The seeded ragged batches of the self-test, and the matchers that they are checked with.

use candle_core::{DType, Device, Tensor};
use uard_attention::{Matcher, MatcherConfig, Precision, Sides, WeightRule};
use uard_core::random::{Draws, Stream, normal};
use uard_core::{Regions, Words};

use super::Extent;

/// The sizes of a batch: the number of regions of each image and of words of each caption, and the width.
#[derive(Debug, Clone)]
pub struct BatchShape {
    pub regions: Vec<usize>,
    pub words: Vec<usize>,
    pub width: usize,
}

impl BatchShape {
    pub fn new(regions: Vec<usize>, words: Vec<usize>, width: usize) -> Self {
        Self {
            regions,
            words,
            width,
        }
    }
}

/// `count` varying numbers, each at least `from` and below `to`.
fn cycle(count: usize, from: usize, to: usize) -> Vec<usize> {
    (0..count).map(|at| from + at * 7 % (to - from)).collect()
}

/// The shapes of the batches of exact rows, each with a number, which is the name and the seed of
/// the batch.
pub fn batches(extent: Extent) -> Vec<(u64, BatchShape)> {
    let mut batches = vec![
        BatchShape::new(vec![1], vec![1], 1),
        BatchShape::new(vec![5, 2, 7], vec![4, 1, 6, 3], 8),
        BatchShape::new(
            vec![36, 20, 36, 36, 31],
            vec![8, 20, 13, 9, 30, 11, 12, 25, 14],
            100,
        ),
        BatchShape::new(vec![150, 9], vec![3, 40], 70),
    ];
    if extent == Extent::Full {
        batches.push(BatchShape::new(vec![36; 67], cycle(131, 4, 30), 1024));
        batches.push(BatchShape::new(cycle(40, 10, 101), cycle(60, 1, 78), 256));
        batches.push(BatchShape::new(vec![196; 9], cycle(33, 5, 40), 768));
    }
    let batches = (0..).zip(batches);
    match extent {
        // The batch with several tiles of regions and of words.
        Extent::Smallest => batches.skip(2).take(1).collect(),
        Extent::Quick | Extent::Full => batches.collect(),
    }
}

/// The shapes of the batches of rounded rows: with more images and captions than a list has entries, and
/// the width of a model. None in the smallest extent.
pub fn batches_of_lists(extent: Extent) -> Vec<(u64, BatchShape)> {
    let batches = [
        BatchShape::new(cycle(12, 3, 9), cycle(14, 2, 11), 256),
        BatchShape::new(vec![36; 40], cycle(90, 8, 21), 1024),
    ];
    let count = match extent {
        Extent::Smallest => 0,
        Extent::Quick => 1,
        Extent::Full => 2,
    };
    (100..).zip(batches).take(count).collect()
}

/// Matchers of these rules with each choice of sides. In the smallest extent only with both sides, and
/// without nearest and zero, whose kernels differ from the masked rule's in one comparison.
pub fn matchers(rules: &[WeightRule], extent: Extent) -> anyhow::Result<Vec<Matcher>> {
    let mut matchers = Vec::new();
    let is_small = extent == Extent::Smallest;
    for &rule in rules {
        if is_small && matches!(rule, WeightRule::Nearest | WeightRule::Zero) {
            continue;
        }
        for &sides in extent.select(&[Sides::Both, Sides::Words, Sides::Regions]) {
            matchers.push(Matcher::new(MatcherConfig {
                rule,
                sides,
                inverse_temperature: None,
            })?);
        }
    }
    Ok(matchers)
}

/// The share of cells above the threshold in batches of drawn rows, about as large as with a
/// learned threshold. Few cells lie near such a threshold.
const KEPT_CELLS: f64 = 0.025;

/// An upper bound of the change of a cell's relevance if its sum is computed in another order.
const SUM_TOLERANCE: f64 = 1e-5;

/// A seeded batch on the CPU. All rows have a common direction, so that some relevance lies above the
/// threshold and some below it.
pub struct Sample {
    pub name: String,
    pub regions: Regions,
    pub words: Words,
    pub threshold: f64,
    /// Whether the rows are those of [`Sample::exact`], with the same relevance in every precision.
    pub is_exact: bool,
}

impl Sample {
    /// Rows of unit length that every precision holds exactly, as it does their products and sums
    /// of products: integers of at most eight binary digits over a power of two. Every relevance is
    /// a multiple of one number, and the threshold lies in the middle between two multiples, so
    /// every engine must find the same cells above it.
    pub fn exact(seed: u64, shape: &BatchShape) -> anyhow::Result<Self> {
        let length = row_length(shape.width);
        let [regions, words] = padded_rows(seed, shape, |stream, count| {
            let rows = (0..count).flat_map(|_| integer_row(stream, shape.width, length));
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

    /// Rows of normal draws, and the threshold above which the share [`KEPT_CELLS`] of all cells
    /// lies, those of padding included.
    pub fn drawn(seed: u64, shape: &BatchShape) -> anyhow::Result<Self> {
        let [regions, words] = padded_rows(seed, shape, |stream, count| {
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

    /// For every pair [I, C], whether rounding the rows moves one of its cells across the threshold, or a
    /// cell lies so near the threshold that the order of its sum may move it.
    pub fn mask_moved(&self, precision: Precision) -> anyhow::Result<Vec<bool>> {
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
                || (exact - threshold).abs() < SUM_TOLERANCE
                || (rounded - threshold).abs() < SUM_TOLERANCE;
        }
        Ok(moved)
    }

    /// Relevance [C, W, I, R] in f64 of the rows rounded to a dtype.
    fn relevance(&self, rounded: DType) -> anyhow::Result<Vec<f64>> {
        let flat = |rows: &Tensor| -> anyhow::Result<Tensor> {
            let rows = rows.to_dtype(rounded)?.to_dtype(DType::F64)?;
            Ok(rows.flatten_to(1)?)
        };
        let relevance = flat(self.words.rows())?.matmul(&flat(self.regions.rows())?.t()?)?;
        Ok(relevance.flatten_all()?.to_vec1()?)
    }
}

/// Rows [entries, longest, width] of regions and of words; `draw` makes the given number of rows, padding
/// included.
fn padded_rows(
    seed: u64,
    shape: &BatchShape,
    mut draw: impl FnMut(&mut Stream, usize) -> Vec<f32>,
) -> anyhow::Result<[Tensor; 2]> {
    let mut rows = |label: &str, counts: &[usize]| -> anyhow::Result<Tensor> {
        let longest = counts.iter().copied().max().unwrap_or(1);
        let numbers = draw(
            &mut Draws::new(seed).stream(label, &[]),
            counts.len() * longest,
        );
        let shape = (counts.len(), longest, shape.width);
        Ok(Tensor::from_vec(numbers, shape, &Device::Cpu)?)
    };
    Ok([
        rows("regions", &shape.regions)?,
        rows("words", &shape.words)?,
    ])
}

/// The length of an integer row: the least power of two of at least 16 √width.
fn row_length(width: usize) -> i64 {
    let least = (16.0 * (width as f64).sqrt()).ceil() as u64;
    least.next_power_of_two() as i64
}

/// The largest integer of eight binary digits, the precision of bf16.
const LARGEST: i64 = 255;

/// A row of integers whose Euclidean length is exactly `length`.
fn integer_row(stream: &mut Stream, width: usize, length: i64) -> Vec<i64> {
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

/// A row whose first number is the same in all rows, and whose last four bring it to its length, because
/// every natural number is a sum of four squares. `None` if one of the four would exceed [`LARGEST`].
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

/// Four numbers of at most [`LARGEST`] whose squares have this sum, of similar size if possible.
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
    fn exact_rows_have_the_same_relevance_in_every_precision() {
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
            let length = row_length(shape.width);
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
    fn every_natural_number_is_the_sum_of_four_squares() {
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
