//! Writes numpy arrays. A file gets its name only when it is complete.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use uard_files::UnfinishedFile;

use super::ElementType;
use super::NpyError;
use crate::{Error, Result};

/// Writes an array piece by piece, so that it is never held in memory as a whole.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// # let path = dir.path().join("two.npy");
/// use uard_data::npy::{NpyWriter, read_f32};
///
/// let mut writer = NpyWriter::create(&path, &[2, 3])?;
/// writer.write(&[1.0, 2.0, 3.0])?;
/// writer.write(&[4.0, 5.0, 6.0])?;
/// writer.finish()?;
/// assert_eq!(read_f32(&path)?.shape, [2, 3]);
/// # Ok::<(), uard_data::Error>(())
/// ```
#[derive(Debug)]
pub struct NpyWriter {
    path: PathBuf,
    file: BufWriter<UnfinishedFile>,
    shape: Vec<usize>,
    /// Bytes of a number.
    size: usize,
    /// Bytes of numbers that were written.
    written: usize,
}

impl NpyWriter {
    /// Begins a file with the header of an array of f32 of this shape. [`finish`](Self::finish) replaces
    /// an existing file by it.
    ///
    /// # Errors
    /// The file cannot be created or written.
    pub fn create(path: &Path, shape: &[usize]) -> Result<Self> {
        Self::encoded(path, ElementType::F32, shape)
    }

    /// As [`create`](Self::create), for real numbers of any type, which are written as bytes.
    pub(crate) fn encoded(path: &Path, element: ElementType, shape: &[usize]) -> Result<Self> {
        Self::begin(path, element.descr(), element.size(), shape)
    }

    fn begin(path: &Path, descr: &str, size: usize, shape: &[usize]) -> Result<Self> {
        let file = UnfinishedFile::create(path).map_err(Error::io(path, "create"))?;
        let mut file = BufWriter::new(file);
        let header = header(descr, shape);
        file.write_all(&header).map_err(Error::io(path, "write"))?;
        Ok(Self {
            path: path.to_owned(),
            file,
            shape: shape.to_vec(),
            size,
            written: 0,
        })
    }

    /// Appends numbers in C order.
    ///
    /// # Errors
    /// The file cannot be written, for example to a full disk.
    pub fn write(&mut self, values: &[f32]) -> Result<()> {
        debug_assert_eq!(self.size, size_of::<f32>(), "an array of another type");
        for piece in values.chunks(1 << 16) {
            let bytes = piece.iter().flat_map(|value| value.to_le_bytes());
            self.write_bytes(&bytes.collect::<Vec<u8>>())?;
        }
        Ok(())
    }

    /// Appends the bytes of numbers in C order.
    pub(crate) fn write_bytes(&mut self, bytes: &[u8]) -> Result<()> {
        self.written += bytes.len();
        let written = self.file.write_all(bytes);
        written.map_err(Error::io(&self.path, "write"))
    }

    /// Checks that the whole shape was written, and gives the file its name.
    ///
    /// # Errors
    /// More or fewer numbers than the shape holds; the file cannot be written.
    pub fn finish(self) -> Result<()> {
        let (expected, found) = (self.shape.iter().product(), self.written / self.size);
        if expected != found {
            return Err(NpyError::WrittenCount {
                path: self.path,
                shape: self.shape,
                expected,
                found,
            }
            .into());
        }
        let file = self.file.into_inner().map_err(|error| error.into_error());
        file.and_then(UnfinishedFile::finish)
            .map_err(Error::io(&self.path, "write"))
    }
}

/// Writes a whole array of f32.
///
/// # Errors
/// As [`NpyWriter`].
pub fn write_f32(path: &Path, shape: &[usize], values: &[f32]) -> Result<()> {
    let mut writer = NpyWriter::create(path, shape)?;
    writer.write(values)?;
    writer.finish()
}

/// Writes a whole array of i64: counts, indices.
///
/// # Errors
/// As [`NpyWriter`].
pub fn write_i64(path: &Path, shape: &[usize], values: &[i64]) -> Result<()> {
    let mut writer = NpyWriter::begin(path, "<i8", size_of::<i64>(), shape)?;
    let bytes: Vec<u8> = values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect();
    writer.write_bytes(&bytes)?;
    writer.finish()
}

/// A version 1 header, padded so that the numbers begin at a multiple of 64 bytes.
pub(crate) fn header(descr: &str, shape: &[usize]) -> Vec<u8> {
    const BEFORE_TEXT: usize = 10;
    let sizes: String = shape.iter().map(|size| format!("{size}, ")).collect();
    let sizes = match shape {
        [_] => sizes.trim_end(),
        _ => sizes.trim_end_matches(", "),
    };
    let mut text = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({sizes}), }}");
    let length = (BEFORE_TEXT + text.len() + 1).next_multiple_of(64) - BEFORE_TEXT;
    text.push_str(&" ".repeat(length - 1 - text.len()));
    text.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((length as u16).to_le_bytes());
    bytes.extend(text.into_bytes());
    bytes
}
