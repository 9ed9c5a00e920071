//! Parses the header of an npy file: element type, order and shape.
//!
//! The header is a Python dictionary with three keys, which numpy always writes in the same form. Only
//! that form is read, with checked arithmetic, so that no file causes a panic.

use std::path::Path;

use uard_files::FileError;

use super::NpyError;
use crate::{Error, Result};

/// The first bytes of an npy file.
const MAGIC: &[u8] = b"\x93NUMPY";

/// Element type and shape of an array in C order.
#[derive(Debug)]
pub(super) struct Header {
    /// The dtype in numpy's short form, `<f4`, or the whole description of a record.
    pub(super) descr: String,
    pub(super) shape: Vec<usize>,
}

impl Header {
    /// The header, and the offset of the numbers.
    pub(super) fn parse(path: &Path, bytes: &[u8]) -> Result<(Self, usize)> {
        let refuse = |cause: String| NpyError::NpyHeader {
            path: path.to_owned(),
            cause,
        };
        if !bytes.starts_with(MAGIC)
            && let Some(other) = FileError::other_file(path, "an npy file", bytes)
        {
            return Err(other.into());
        }
        let (text, data_start) = header_text(bytes).map_err(refuse)?;
        let missing = |key: &str| refuse(format!("its header lacks `{key}`: {}", text.trim()));
        let descr = descr(text).ok_or_else(|| missing("descr"))?;
        let shape = shape(text).ok_or_else(|| missing("shape"))?;
        let order = after_key(text, "fortran_order").ok_or_else(|| missing("fortran_order"))?;
        if order.starts_with("True") && shape.len() > 1 {
            return Err(NpyError::FortranOrder {
                path: path.to_owned(),
            }
            .into());
        }
        Ok((Self { descr, shape }, data_start))
    }

    /// Refuses a file with more or fewer bytes of numbers than the shape needs.
    pub(super) fn check_length(
        &self,
        path: &Path,
        dtype: &'static str,
        size: usize,
        found: usize,
    ) -> Result<()> {
        let needed = self.shape.iter().try_fold(size as u128, |product, &axis| {
            product.checked_mul(axis as u128)
        });
        let needed = needed.unwrap_or(u128::MAX);
        let (path, shape, found) = (path.to_owned(), self.shape.clone(), found as u64);
        match needed.cmp(&u128::from(found)) {
            std::cmp::Ordering::Equal => Ok(()),
            std::cmp::Ordering::Greater => Err(NpyError::Truncated {
                path,
                shape,
                dtype,
                needed,
                found,
            }
            .into()),
            std::cmp::Ordering::Less => Err(NpyError::TooLong {
                path,
                shape,
                dtype,
                needed,
                found,
            }
            .into()),
        }
    }

    /// The error for a dtype that is not read.
    pub(super) fn refused_dtype(&self, path: &Path, expected: &'static str) -> Error {
        let path = path.to_owned();
        let found = format!("'{}'", self.descr);
        if self.descr.contains('O') {
            return NpyError::ObjectArray {
                path,
                found,
                expected,
            }
            .into();
        }
        if self.descr.starts_with('>') {
            return NpyError::BigEndian {
                path,
                expected,
                found,
            }
            .into();
        }
        NpyError::Dtype {
            path,
            expected,
            found,
        }
        .into()
    }
}

/// The text of the dictionary, and the offset behind it.
fn header_text(bytes: &[u8]) -> std::result::Result<(&str, usize), String> {
    let Some(rest) = bytes.strip_prefix(MAGIC) else {
        let first = bytes[..bytes.len().min(6)].escape_ascii();
        return Err(format!(
            "it has {} bytes and begins with `{first}`",
            bytes.len()
        ));
    };
    let (start, length) = match *rest {
        [1, _, a, b, ..] => (10, usize::from(u16::from_le_bytes([a, b]))),
        [2 | 3, _, a, b, c, d, ..] => (12, u32::from_le_bytes([a, b, c, d]) as usize),
        [version, ..] if version == 0 || version > 3 => {
            return Err(format!("its format version is {version}"));
        }
        _ => return Err("it ends within the header".to_owned()),
    };
    let text = bytes
        .get(start..start + length)
        .ok_or("it ends within the header")?;
    let text = std::str::from_utf8(text).map_err(|_| "its header is not text".to_owned())?;
    Ok((text, start + length))
}

/// The text after `'key':`.
fn after_key<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let (_, rest) = text
        .split_once(&format!("'{key}'"))
        .or_else(|| text.split_once(&format!("\"{key}\"")))?;
    rest.trim_start().strip_prefix(':').map(str::trim_start)
}

/// The dtype: a quoted name, or the unchanged list of a record's fields.
fn descr(text: &str) -> Option<String> {
    let rest = after_key(text, "descr")?;
    let quote = rest.chars().next()?;
    if quote == '[' {
        let end = rest.rfind(']')?;
        return Some(rest[..=end].to_owned());
    }
    if quote != '\'' && quote != '"' {
        return None;
    }
    let name = rest[1..].split(quote).next()?;
    // `=` means the byte order of the computer that wrote the file, which is taken as little-endian.
    Some(match name.strip_prefix('=') {
        Some(native) => format!("<{native}"),
        None => name.to_owned(),
    })
}

/// The shape: `()`, `(5,)`, `(3, 4)`, also with the `L` of Python 2.
fn shape(text: &str) -> Option<Vec<usize>> {
    let inner = after_key(text, "shape")?.strip_prefix('(')?;
    let inner = inner.split(')').next()?;
    let sizes = inner
        .split(',')
        .map(|size| size.trim().trim_end_matches('L'));
    let sizes = sizes.filter(|size| !size.is_empty());
    sizes.map(|size| size.parse().ok()).collect()
}
