//! Reads and writes numpy arrays (`.npy`), and checks them before use.
//!
//! Large arrays are mapped into memory ([`MappedArray`]), so that only the pages that are read are loaded.
//! Small ones are read whole ([`read_f32`], [`read_i64`]). [`NpyWriter`], [`write_f32`] and [`InPlaceF32`]
//! write arrays.
//!
//! Format versions 1 to 3 are read, little-endian, in C order; everything else is refused with
//! advice on how to convert it. The length of a file must be exactly as its header says: a shorter
//! file is a broken download, a longer one has the header of another array, and either would give
//! wrong numbers.

mod error;
mod header;
mod in_place;
mod write;

use std::path::{Path, PathBuf};

use half::f16;
use uard_files::MappedFile;

pub use error::NpyError;

use crate::{Error, Result};
use header::Header;
pub use in_place::InPlaceF32;
pub(crate) use write::header;
pub use write::{NpyWriter, write_f32, write_i64};

const FLOATS: &str = "'<f2', '<f4' or '<f8'";
const INTEGERS: &str = "an integer ('<i8', '<i4', ..., '|u1')";

/// The type of a stored real number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ElementType {
    /// `<f2`
    F16,
    /// `<f4`
    F32,
    /// `<f8`
    F64,
}

impl ElementType {
    fn from_descr(descr: &str) -> Option<Self> {
        match descr {
            "<f2" => Some(Self::F16),
            "<f4" => Some(Self::F32),
            "<f8" => Some(Self::F64),
            _ => None,
        }
    }

    fn descr(self) -> &'static str {
        match self {
            Self::F16 => "<f2",
            Self::F32 => "<f4",
            Self::F64 => "<f8",
        }
    }

    /// Bytes of one number.
    pub fn size(self) -> usize {
        match self {
            Self::F16 => 2,
            Self::F32 => 4,
            Self::F64 => 8,
        }
    }

    /// The name that numpy prints: `float32`.
    pub fn name(self) -> &'static str {
        match self {
            Self::F16 => "float16",
            Self::F32 => "float32",
            Self::F64 => "float64",
        }
    }

    /// Converts `values.len()` stored numbers of this type to f32 or f64.
    pub(crate) fn convert<T: Float>(self, bytes: &[u8], values: &mut [T]) {
        match self {
            Self::F16 => fill(bytes, values, |b| {
                T::from_f32(f16::from_le_bytes(b).to_f32())
            }),
            Self::F32 => fill(bytes, values, |b| T::from_f32(f32::from_le_bytes(b))),
            Self::F64 => fill(bytes, values, |b| T::from_f64(f64::from_le_bytes(b))),
        }
    }

    /// Converts f32 to this type and appends the bytes.
    pub(crate) fn encode(self, values: &[f32], bytes: &mut Vec<u8>) {
        let values = values.iter();
        match self {
            Self::F16 => bytes.extend(values.flat_map(|&v| f16::from_f32(v).to_le_bytes())),
            Self::F32 => bytes.extend(values.flat_map(|v| v.to_le_bytes())),
            Self::F64 => bytes.extend(values.flat_map(|&v| f64::from(v).to_le_bytes())),
        }
    }
}

/// The types that stored numbers are read as: `f32`, or `f64`, which holds all of them exactly.
pub trait Float: Copy {
    /// Converts a number exactly.
    fn from_f32(number: f32) -> Self;

    /// Rounds to the nearest number.
    fn from_f64(number: f64) -> Self;
}

impl Float for f32 {
    fn from_f32(number: f32) -> Self {
        number
    }

    fn from_f64(number: f64) -> Self {
        number as Self
    }
}

impl Float for f64 {
    fn from_f32(number: f32) -> Self {
        number.into()
    }

    fn from_f64(number: f64) -> Self {
        number
    }
}

fn fill<T, const SIZE: usize>(bytes: &[u8], values: &mut [T], decode: impl Fn([u8; SIZE]) -> T) {
    let (chunks, _) = bytes.as_chunks::<SIZE>();
    for (value, chunk) in values.iter_mut().zip(chunks) {
        *value = decode(*chunk);
    }
}

/// An array of real numbers on disk, mapped into memory; a *row* is one entry of its first axis.
///
/// # Shapes
/// As in the file, at least one axis; rows are read as f32 or f64.
#[derive(Debug)]
pub struct MappedArray {
    path: PathBuf,
    map: MappedFile,
    data_start: usize,
    shape: Vec<usize>,
    element: ElementType,
}

impl MappedArray {
    /// Maps an array, from a pipe too, and checks its header against the length of the file.
    ///
    /// `axes` names the expected axes in order, separated by commas
    /// (`"images, regions, features"`). It appears in the error if the array has another number of
    /// axes.
    ///
    /// # Errors
    /// A missing file; no npy header; an object, big-endian, integer or Fortran-order array;
    /// another number of axes; an axis of size zero; a file that is shorter (truncated) or longer
    /// than its shape needs.
    pub fn open(path: &Path, axes: &'static str) -> Result<Self> {
        let map = MappedFile::open(path).map_err(Error::io(path, "open"))?;
        let (header, data_start) = Header::parse(path, &map)?;
        let element = real_type(path, &header)?;
        let expected = axes.split(',').count();
        if header.shape.len() != expected {
            return Err(NpyError::Rank {
                path: path.to_owned(),
                expected,
                axes,
                shape: header.shape,
            }
            .into());
        }
        if header.shape.contains(&0) {
            return Err(NpyError::EmptyArray {
                path: path.to_owned(),
                shape: header.shape,
                axes,
            }
            .into());
        }
        header.check_length(path, element.name(), element.size(), map.len() - data_start)?;
        Ok(Self {
            path: path.to_owned(),
            map,
            data_start,
            shape: header.shape,
            element,
        })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The size of each axis.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The type of the stored numbers.
    pub fn element(&self) -> ElementType {
        self.element
    }

    /// The size of the first axis.
    pub fn rows(&self) -> usize {
        self.shape[0]
    }

    /// The number of values in a row.
    pub fn row_len(&self) -> usize {
        self.shape[1..].iter().product()
    }

    /// The stored bytes of one row, to compare or to hash.
    ///
    /// # Errors
    /// A row that the file does not have.
    pub fn row_bytes(&self, row: usize) -> Result<&[u8]> {
        if row >= self.rows() {
            return Err(NpyError::ImageOutOfRange {
                path: self.path.clone(),
                image: row,
                images: self.rows(),
            }
            .into());
        }
        let size = self.row_len() * self.element.size();
        let start = self.data_start + row * size;
        Ok(&self.map[start..start + size])
    }

    /// Reads whole rows from `first` on, as many as `values` holds.
    ///
    /// # Shapes
    /// - `values`: a multiple of [`row_len`](Self::row_len)
    ///
    /// # Errors
    /// A row that the file does not have; another length of `values`.
    pub fn read_rows<T: Float>(&self, first: usize, values: &mut [T]) -> Result<()> {
        let row_len = self.row_len();
        check_multiple(&self.path, values.len(), row_len)?;
        for (offset, row) in values.chunks_exact_mut(row_len).enumerate() {
            self.element.convert(self.row_bytes(first + offset)?, row);
        }
        Ok(())
    }
}

fn check_multiple(path: &Path, found: usize, row_len: usize) -> Result<()> {
    if found.is_multiple_of(row_len) {
        return Ok(());
    }
    Err(NpyError::BufferLength {
        path: path.to_owned(),
        expected: found.next_multiple_of(row_len),
        found,
    }
    .into())
}

/// An array in memory, with any number of axes.
#[derive(Debug, Clone, PartialEq)]
pub struct Array<T> {
    /// The size of each axis.
    pub shape: Vec<usize>,
    /// The numbers in C order.
    pub values: Vec<T>,
}

/// Reads a whole array of real numbers (`<f2`, `<f4`, `<f8`) as f32.
///
/// # Errors
/// As [`MappedArray::open`], except that any number of axes is accepted, and an axis may be empty.
pub fn read_f32(path: &Path) -> Result<Array<f32>> {
    decode_f32(
        path,
        &uard_files::read(path).map_err(Error::io(path, "read"))?,
    )
}

/// [`read_f32`] for the bytes of an npy file; errors name `path` as the file.
pub(crate) fn decode_f32(path: &Path, bytes: &[u8]) -> Result<Array<f32>> {
    let (header, data_start) = Header::parse(path, bytes)?;
    let element = real_type(path, &header)?;
    let data = &bytes[data_start..];
    header.check_length(path, element.name(), element.size(), data.len())?;
    let mut values = vec![0.0; data.len() / element.size()];
    element.convert(data, &mut values);
    Ok(Array {
        shape: header.shape,
        values,
    })
}

/// Reads a whole array of integers of 1 to 8 bytes: counts, indices.
///
/// # Errors
/// As [`read_f32`]; also an array of real numbers, and an unsigned number above `i64::MAX`.
pub fn read_i64(path: &Path) -> Result<Array<i64>> {
    decode_i64(
        path,
        &uard_files::read(path).map_err(Error::io(path, "read"))?,
    )
}

/// [`read_i64`] for the bytes of an npy file; errors name `path` as the file.
pub(crate) fn decode_i64(path: &Path, bytes: &[u8]) -> Result<Array<i64>> {
    let (header, data_start) = Header::parse(path, bytes)?;
    let Some((name, size, decode)) = integer_type(&header.descr) else {
        return Err(header.refused_dtype(path, INTEGERS));
    };
    let data = &bytes[data_start..];
    header.check_length(path, name, size, data.len())?;
    let values: Option<Vec<i64>> = data.chunks_exact(size).map(decode).collect();
    let values = values.ok_or_else(|| NpyError::Dtype {
        path: path.to_owned(),
        expected: "integers below 2^63",
        found: "'<u8' with a larger one".to_owned(),
    })?;
    Ok(Array {
        shape: header.shape,
        values,
    })
}

fn real_type(path: &Path, header: &Header) -> Result<ElementType> {
    let element = ElementType::from_descr(&header.descr);
    element.ok_or_else(|| header.refused_dtype(path, FLOATS))
}

type DecodeInteger = fn(&[u8]) -> Option<i64>;

/// The name of an integer dtype, its number of bytes, and the function that decodes it.
fn integer_type(descr: &str) -> Option<(&'static str, usize, DecodeInteger)> {
    let decoded: (&'static str, usize, DecodeInteger) = match descr {
        "|i1" => ("int8", 1, |b| Some(i8::from_le_bytes(sized(b)).into())),
        "|u1" => ("uint8", 1, |b| Some(u8::from_le_bytes(sized(b)).into())),
        "<i2" => ("int16", 2, |b| Some(i16::from_le_bytes(sized(b)).into())),
        "<u2" => ("uint16", 2, |b| Some(u16::from_le_bytes(sized(b)).into())),
        "<i4" => ("int32", 4, |b| Some(i32::from_le_bytes(sized(b)).into())),
        "<u4" => ("uint32", 4, |b| Some(u32::from_le_bytes(sized(b)).into())),
        "<i8" => ("int64", 8, |b| Some(i64::from_le_bytes(sized(b)))),
        "<u8" => ("uint64", 8, |b| {
            i64::try_from(u64::from_le_bytes(sized(b))).ok()
        }),
        _ => return None,
    };
    Some(decoded)
}

fn sized<const SIZE: usize>(bytes: &[u8]) -> [u8; SIZE] {
    let mut array = [0; SIZE];
    array.copy_from_slice(bytes);
    array
}

#[cfg(test)]
mod tests;
