//! The numbers in a column of a TSV: base64, and the signs that they are of another type than f32.
//!
//! The bytes of f16 or f64 are bytes of f32 as well, of other numbers: nonsense that would be
//! finite. The length cannot tell, for any width may be; so the bytes have to.

use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use half::f16;

use super::Problem;

/// Features of networks lie between these, but for zeros.
const PLAUSIBLE: std::ops::Range<f64> = 1e-9..1e9;

/// In this many implausible numbers of a hundred a type shows.
const IMPLAUSIBLE_PERCENT: usize = 1;

/// Fewer different lower halves than this tell nothing.
const LEAST_HALVES: usize = 24;

/// A column as it was written. Python 3 prints bytes as `b'…'`, which base64 never holds.
pub(super) fn plain(field: &[u8]) -> &[u8] {
    let printed = [(&b"b'"[..], &b"'"[..]), (b"b\"", b"\"")];
    let inside = printed
        .iter()
        .find_map(|(begin, end)| field.strip_prefix(*begin)?.strip_suffix(*end));
    inside.unwrap_or(field)
}

pub(super) fn number<T: FromStr>(
    field: &[u8],
    column: &'static str,
    expected: &'static str,
) -> Result<T, Problem> {
    let text = std::str::from_utf8(field).ok();
    let value = text.and_then(|text| text.trim().parse().ok());
    value.ok_or_else(|| Problem::Number {
        column,
        expected,
        found: field[..field.len().min(20)].escape_ascii().to_string(),
    })
}

pub(super) fn bytes(field: &[u8], column: &'static str) -> Result<Vec<u8>, Problem> {
    let decoded = STANDARD.decode(field);
    decoded.map_err(|cause| Problem::Base64 { column, cause })
}

/// Numbers of f32, `width` for each region.
pub(super) fn floats(
    field: &[u8],
    column: &'static str,
    regions: usize,
    width: usize,
) -> Result<Vec<f32>, Problem> {
    let bytes = bytes(field, column)?;
    check_length(&bytes, column, regions, width)?;
    Ok(f32s(&bytes).collect())
}

/// Features of f32; as long as no width is known, any.
pub(super) fn features(
    field: &[u8],
    column: &'static str,
    regions: usize,
    width: Option<usize>,
) -> Result<Vec<f32>, Problem> {
    let bytes = bytes(field, column)?;
    match width {
        Some(width) => check_length(&bytes, column, regions, width)?,
        None if bytes.is_empty() || !bytes.len().is_multiple_of(regions.saturating_mul(4)) => {
            return Err(Problem::Bytes {
                column,
                expected: format!("a multiple of {regions} regions x 4"),
                found: bytes.len(),
            });
        }
        None => {}
    }
    match other_type(&bytes) {
        Some(found) => Err(Problem::NumberType { column, found }),
        None => Ok(f32s(&bytes).collect()),
    }
}

fn check_length(
    bytes: &[u8],
    column: &'static str,
    regions: usize,
    width: usize,
) -> Result<(), Problem> {
    let numbers = regions.checked_mul(width);
    let has_size = |size| numbers.and_then(|all| all.checked_mul(size)) == Some(bytes.len());
    if has_size(4) {
        return Ok(());
    }
    Err(if has_size(2) {
        let found = "f16";
        Problem::NumberType { column, found }
    } else if has_size(8) {
        let found = "f64";
        Problem::NumberType { column, found }
    } else {
        Problem::Bytes {
            column,
            expected: format!("{regions} regions x {width} numbers x 4"),
            found: bytes.len(),
        }
    })
}

/// The type of numbers that are not f32, if they show that they are not.
fn other_type(bytes: &[u8]) -> Option<&'static str> {
    let implausible = are_implausible(f32s(bytes).map(f64::from));
    if holds_halves(bytes) || implausible && !are_implausible(f16s(bytes)) {
        return Some("f16");
    }
    let (words, rest) = bytes.as_chunks::<8>();
    // Of round f64 the lower halves are zeros, which are plausible f32.
    let is_round = words.len() > 1 && words.iter().all(|word| word[..4] == [0; 4]);
    let is_f64 = rest.is_empty() && (implausible || is_round) && !are_implausible(f64s(bytes));
    is_f64.then_some("f64")
}

/// Whether one number is not finite, or a share of them has a size that no network gives.
fn are_implausible(numbers: impl Iterator<Item = f64>) -> bool {
    let (mut all, mut odd) = (0, 0);
    for number in numbers.filter(|&number| number != 0.0) {
        if !number.is_finite() {
            return true;
        }
        all += 1;
        odd += usize::from(!PLAUSIBLE.contains(&number.abs()));
    }
    odd * 100 > all * IMPLAUSIBLE_PERCENT
}

/// Whether the lower half of each f32 is a number itself.
///
/// Of real f32 the lower bits are evenly spread, so one different half of four is, read as f16, below
/// 2^-14, from 2^10 on, or no number; of f16 features hardly one. Bits that were rounded away tell
/// nothing: f32 that were f16 or integers before end in zeros.
fn holds_halves(bytes: &[u8]) -> bool {
    const ROUNDED: u16 = 0x1fff;
    let mut seen = vec![false; 1 << 16];
    let (pairs, _) = bytes.as_chunks::<4>();
    for &[low, high, ..] in pairs {
        seen[usize::from(u16::from_le_bytes([low, high]))] = true;
    }
    let halves = (1..=u16::MAX).filter(|&half| seen[usize::from(half)] && half & ROUNDED != 0);
    let (mut all, mut odd) = (0, 0);
    for half in halves {
        let magnitude = f16::from_bits(half).to_f32().abs();
        all += 1;
        // NaN is in no range.
        odd += usize::from(!(f32::from(f16::MIN_POSITIVE)..1024.0).contains(&magnitude));
    }
    // A tenth of them, less where they are few: an accident of one in a thousand at the fewest.
    all >= LEAST_HALVES && odd * 10 < all.saturating_sub(16)
}

fn f32s(bytes: &[u8]) -> impl Iterator<Item = f32> {
    let (numbers, _) = bytes.as_chunks::<4>();
    numbers.iter().map(|&number| f32::from_le_bytes(number))
}

fn f16s(bytes: &[u8]) -> impl Iterator<Item = f64> {
    let (numbers, _) = bytes.as_chunks::<2>();
    numbers
        .iter()
        .map(|&number| f16::from_le_bytes(number).to_f64())
}

fn f64s(bytes: &[u8]) -> impl Iterator<Item = f64> {
    let (numbers, _) = bytes.as_chunks::<8>();
    numbers.iter().map(|&number| f64::from_le_bytes(number))
}
