//! Writes a large array through a memory map, so that it is never held in memory as a whole.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use uard_files::{MappedFileMut, UnfinishedFile};

use super::header;
use crate::{Error, Result};

/// An array of f32 whose numbers are written in any order into the mapped file.
///
/// The file has its full size from the beginning, so a full disk is an error of [`InPlaceF32::create`],
/// not a fault of the memory map later.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// # let path = dir.path().join("two.npy");
/// use uard_data::npy::{InPlaceF32, read_f32};
///
/// let mut array = InPlaceF32::create(&path, &[2, 2])?;
/// array.values().copy_from_slice(&[1.0, 2.0, 3.0, 4.0]);
/// array.finish()?;
/// assert_eq!(read_f32(&path)?.values, [1.0, 2.0, 3.0, 4.0]);
/// # Ok::<(), uard_data::Error>(())
/// ```
#[derive(Debug)]
pub struct InPlaceF32 {
    path: PathBuf,
    file: UnfinishedFile,
    map: MappedFileMut,
    data_start: usize,
}

impl InPlaceF32 {
    /// Begins a file as an array of zeros. [`finish`](Self::finish) replaces an existing file by it.
    ///
    /// # Errors
    /// The file cannot be created, written or mapped; the size of the shape overflows `usize`.
    pub fn create(path: &Path, shape: &[usize]) -> Result<Self> {
        let header = header("<f4", shape);
        let bytes = shape
            .iter()
            .try_fold(size_of::<f32>(), |bytes, &axis| bytes.checked_mul(axis))
            .ok_or_else(|| io::Error::from(io::ErrorKind::FileTooLarge))
            .map_err(Error::io(path, "create"))?;
        let mut file = UnfinishedFile::create(path).map_err(Error::io(path, "create"))?;
        reserve(&mut file, &header, bytes).map_err(Error::io(path, "write"))?;
        let map = MappedFileMut::new(file.file()).map_err(Error::io(path, "map"))?;
        Ok(Self {
            path: path.to_owned(),
            file,
            map,
            data_start: header.len(),
        })
    }

    /// The numbers, in C order.
    pub fn values(&mut self) -> &mut [f32] {
        bytemuck::cast_slice_mut(&mut self.map[self.data_start..])
    }

    /// Writes everything to disk and gives the file its name.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn finish(mut self) -> Result<()> {
        if cfg!(target_endian = "big") {
            for value in self.values() {
                *value = f32::from_bits(value.to_bits().to_le());
            }
        }
        let flushed = self.map.flush();
        drop(self.map);
        flushed
            .and_then(|()| self.file.finish())
            .map_err(Error::io(&self.path, "write"))
    }
}

/// Writes every byte once, so that the file has no holes: writing to a hole on a full disk is a fault of
/// the memory map.
fn reserve(file: &mut UnfinishedFile, header: &[u8], bytes: usize) -> io::Result<()> {
    static PIECE: [u8; 1 << 16] = [0; 1 << 16];
    let mut file = BufWriter::new(file);
    file.write_all(header)?;
    let mut left = bytes;
    while left > 0 {
        let piece = left.min(PIECE.len());
        file.write_all(&PIECE[..piece])?;
        left -= piece;
    }
    file.flush()
}
