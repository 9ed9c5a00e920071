//! Writes numpy arrays. A file gets its name only when it is complete.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use uard_files::UnfinishedFile;

use super::ElementType;
use super::NpyError;
use crate::{Error, Result};

/// Writes an array of f32 piece by piece, so that it is never held in memory as a whole.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// # let path = dir.path().join("two.npy");
/// use uard_data::npy::{F32Writer, read_f32};
///
/// let mut writer = F32Writer::create(&path, &[2, 3])?;
/// writer.write(&[1.0, 2.0, 3.0])?;
/// writer.write(&[4.0, 5.0, 6.0])?;
/// writer.finish()?;
/// assert_eq!(read_f32(&path)?.shape, [2, 3]);
/// # Ok::<(), uard_data::Error>(())
/// ```
#[derive(Debug)]
pub struct F32Writer {
    path: PathBuf,
    file: BufWriter<UnfinishedFile>,
    shape: Vec<usize>,
    written: usize,
}

impl F32Writer {
    /// Begins a file with the header of an array of this shape. [`finish`](Self::finish) replaces an
    /// existing file by it.
    ///
    /// # Errors
    /// The file cannot be created or written.
    pub fn create(path: &Path, shape: &[usize]) -> Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            file: create(path, "<f4", shape)?,
            shape: shape.to_vec(),
            written: 0,
        })
    }

    /// Appends numbers in C order.
    ///
    /// # Errors
    /// The file cannot be written, for example to a full disk.
    pub fn write(&mut self, values: &[f32]) -> Result<()> {
        self.written += values.len();
        write_all(&mut self.file, &self.path, values, f32::to_le_bytes)
    }

    /// Checks that the whole shape was written, and gives the file its name.
    ///
    /// # Errors
    /// More or fewer numbers than the shape holds; the file cannot be written.
    pub fn finish(self) -> Result<()> {
        let expected = self.shape.iter().product();
        check_count(&self.path, &self.shape, expected, self.written)?;
        close(self.file, &self.path)
    }
}

/// Writes an array of any real type from the bytes of its numbers.
#[derive(Debug)]
pub(crate) struct EncodedWriter {
    path: PathBuf,
    file: BufWriter<UnfinishedFile>,
    shape: Vec<usize>,
    element: ElementType,
    written: usize,
}

impl EncodedWriter {
    /// As [`F32Writer::create`].
    pub(crate) fn create(path: &Path, element: ElementType, shape: &[usize]) -> Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            file: create(path, element.descr(), shape)?,
            shape: shape.to_vec(),
            element,
            written: 0,
        })
    }

    /// Appends the bytes of whole numbers in C order.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.written += bytes.len() / self.element.size();
        let written = self.file.write_all(bytes);
        written.map_err(Error::io(&self.path, "write"))
    }

    /// As [`F32Writer::finish`].
    pub(crate) fn finish(self) -> Result<()> {
        let expected = self.shape.iter().product();
        check_count(&self.path, &self.shape, expected, self.written)?;
        close(self.file, &self.path)
    }
}

/// Writes a whole array of f32.
///
/// # Errors
/// As [`F32Writer`].
pub fn write_f32(path: &Path, shape: &[usize], values: &[f32]) -> Result<()> {
    let mut writer = F32Writer::create(path, shape)?;
    writer.write(values)?;
    writer.finish()
}

/// Writes a whole array of i64: counts, indices.
///
/// # Errors
/// As [`F32Writer`].
pub fn write_i64(path: &Path, shape: &[usize], values: &[i64]) -> Result<()> {
    check_count(path, shape, shape.iter().product(), values.len())?;
    let mut file = create(path, "<i8", shape)?;
    write_all(&mut file, path, values, i64::to_le_bytes)?;
    close(file, path)
}

fn create(path: &Path, descr: &str, shape: &[usize]) -> Result<BufWriter<UnfinishedFile>> {
    let file = UnfinishedFile::create(path).map_err(Error::io(path, "create"))?;
    let mut file = BufWriter::new(file);
    let header = header(descr, shape);
    file.write_all(&header).map_err(Error::io(path, "write"))?;
    Ok(file)
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

fn write_all<T: Copy, const SIZE: usize>(
    file: &mut BufWriter<UnfinishedFile>,
    path: &Path,
    values: &[T],
    encode: impl Fn(T) -> [u8; SIZE],
) -> Result<()> {
    for &value in values {
        file.write_all(&encode(value))
            .map_err(Error::io(path, "write"))?;
    }
    Ok(())
}

fn check_count(path: &Path, shape: &[usize], expected: usize, found: usize) -> Result<()> {
    if expected == found {
        return Ok(());
    }
    Err(NpyError::WrittenCount {
        path: path.to_owned(),
        shape: shape.to_vec(),
        expected,
        found,
    }
    .into())
}

fn close(file: BufWriter<UnfinishedFile>, path: &Path) -> Result<()> {
    let file = file.into_inner().map_err(|error| error.into_error());
    file.and_then(UnfinishedFile::finish)
        .map_err(Error::io(path, "write"))
}
