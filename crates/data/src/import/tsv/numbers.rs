//! Decodes the base64 numbers in the columns of a TSV, and detects numbers that are not f32.
//!
//! Bytes of f16 or f64 can be read as f32 too, as wrong but finite numbers. The length of the first
//! line's features does not show the type, because their width is not known; so the bytes
//! themselves are tested.

use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use half::f16;

use super::Problem;

/// The magnitudes of features of networks, except zeros.
const PLAUSIBLE: std::ops::Range<f64> = 1e-9..1e9;

/// If more than this percentage of numbers is implausible, they are of another type.
const IMPLAUSIBLE_PERCENT: usize = 1;

/// With fewer different lower halves than this, [`holds_halves`] decides nothing.
const LEAST_HALVES: usize = 24;

/// A column without the `b'…'` that Python 3 prints around bytes; base64 has no quotes.
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

/// Decodes f32 numbers, `width` for each region.
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

/// Decodes features in f32; without a known width any multiple of the regions is accepted.
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

/// The type of the numbers if they are recognised as f16 or f64; `None` for f32.
fn other_type(bytes: &[u8]) -> Option<&'static str> {
    let implausible = are_implausible(f32s(bytes).map(f64::from));
    if holds_halves(bytes) || implausible && !are_implausible(f16s(bytes)) {
        return Some("f16");
    }
    let (words, rest) = bytes.as_chunks::<8>();
    // Round f64 numbers have zeros in their lower halves, which are plausible as f32.
    let is_round = words.len() > 1 && words.iter().all(|word| word[..4] == [0; 4]);
    let is_f64 = rest.is_empty() && (implausible || is_round) && !are_implausible(f64s(bytes));
    is_f64.then_some("f64")
}

/// Whether a number is not finite, or more than [`IMPLAUSIBLE_PERCENT`] have a magnitude outside
/// [`PLAUSIBLE`].
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

/// Whether the lower half of each f32 is an f16 number itself, so that the numbers are f16.
///
/// The lower bits of true f32 are evenly distributed. So of the different lower halves, read as
/// f16, about a quarter are below 2^-14, at least 2^10, or not finite; of f16 features hardly any.
/// Halves that end in zeros are not counted: f32 numbers that were converted from f16 or integers
/// have such halves.
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
        // NaN counts too, because it is in no range.
        odd += usize::from(!(f32::from(f16::MIN_POSITIVE)..1024.0).contains(&magnitude));
    }
    // The limit is about a tenth, and lower if there are few halves: true f32 numbers with as few
    // as `LEAST_HALVES` would be taken for f16 by chance once in a thousand times.
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
