//! How does a large array come to disk without lying in memory as a whole? Computed into its file.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use memmap2::MmapMut;

use super::write::header;
use crate::{Error, Result};

/// An array of f32 whose numbers are written in any order, into the file itself.
///
/// The file has its full size from the beginning: a disk that is too small is an error of
/// [`InPlaceF32::create`], not a fault in the middle of the work.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// # let path = dir.path().join("two.npy");
/// use uard_features::npy::{InPlaceF32, read_f32};
///
/// let mut array = InPlaceF32::create(&path, &[2, 2])?;
/// array.values().copy_from_slice(&[1.0, 2.0, 3.0, 4.0]);
/// array.finish()?;
/// assert_eq!(read_f32(&path)?.values, [1.0, 2.0, 3.0, 4.0]);
/// # Ok::<(), uard_features::Error>(())
/// ```
#[derive(Debug)]
pub struct InPlaceF32 {
    path: PathBuf,
    map: MmapMut,
    data_start: usize,
}

impl InPlaceF32 {
    /// Creates (or replaces) the file as an array of zeros.
    ///
    /// # Errors
    /// The file cannot be created, written or mapped.
    pub fn create(path: &Path, shape: &[usize]) -> Result<Self> {
        let header = header("<f4", shape);
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(path)
            .map_err(Error::io(path, "create"))?;
        let numbers: usize = shape.iter().product();
        reserve(&file, &header, numbers).map_err(Error::io(path, "write"))?;
        // SAFETY: the file was created by this call and has its full length, every block of it
        // written. That nobody shortens it while it is mapped cannot be enforced by any process;
        // callers give it a name that only they know until it is whole.
        let map = unsafe { MmapMut::map_mut(&file) }.map_err(Error::io(path, "map"))?;
        Ok(Self {
            path: path.to_owned(),
            map,
            data_start: header.len(),
        })
    }

    /// The numbers, in C order.
    pub fn values(&mut self) -> &mut [f32] {
        bytemuck::cast_slice_mut(&mut self.map[self.data_start..])
    }

    /// Brings everything to disk.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn finish(mut self) -> Result<()> {
        if cfg!(target_endian = "big") {
            for value in self.values() {
                *value = f32::from_bits(value.to_bits().to_le());
            }
        }
        self.map.flush().map_err(Error::io(&self.path, "write"))
    }
}

/// Writes every byte once: a file with holes would meet a full disk as a fault of the map.
fn reserve(file: &File, header: &[u8], numbers: usize) -> std::io::Result<()> {
    static PIECE: [u8; 1 << 16] = [0; 1 << 16];
    let mut file = BufWriter::new(file);
    file.write_all(header)?;
    let mut left = numbers * size_of::<f32>();
    while left > 0 {
        let piece = left.min(PIECE.len());
        file.write_all(&PIECE[..piece])?;
        left -= piece;
    }
    file.flush()
}
