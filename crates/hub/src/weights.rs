//! The numbers of a trained network by name: from safetensors, mapped into memory, from the pickle
//! of PyTorch, or from several files of either with an index.

mod pickle;
mod shards;

use std::fmt;
use std::ops::Deref;
use std::path::{Path, PathBuf};

use candle_core::safetensors::Load;
use candle_core::{DType, Device, Tensor};
use safetensors::SafeTensors;
use safetensors::tensor::{Metadata, TensorView};
use uard_core::random::{Draws, uniform};
use uard_files::{FieldsHash, FileError, MappedFile, file_sha256};

use crate::{Error, Result};
use pickle::Pickled;
use shards::Shards;
pub(crate) use shards::shard_names;

/// What the weights of a published folder are called, each before those behind it. An index names
/// the files that weights too large for one are cut into.
pub const FILES: [&str; 4] = [
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
];

/// Bytes before the header of a safetensors file: its length.
const LENGTH_BYTES: usize = 8;

/// What files of weights are, for those that are none.
const EXPECTED: &str = "weights: safetensors, what torch.save writes, or an index of such files";

/// The tensors of a trained network by name; those that nobody asks for are never read.
pub struct Weights {
    origin: PathBuf,
    source: Source,
}

enum Source {
    Safetensors {
        metadata: Metadata,
        /// Where the numbers begin.
        first: usize,
        bytes: Bytes,
    },
    Pickle(Pickled),
    Shards(Shards),
    Drawn(Draws),
}

enum Bytes {
    Mapped(MappedFile),
    Owned(Vec<u8>),
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Owned(bytes) => bytes,
        }
    }
}

impl fmt::Debug for Weights {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Weights({})", self.origin.display())
    }
}

impl Weights {
    /// Opens a safetensors file, what `torch.save` wrote of a state dict since PyTorch 1.6, or
    /// the index (`model.safetensors.index.json`) of several such files beside it.
    ///
    /// # Errors
    /// When it cannot be read, or is none of them.
    pub fn open(path: &Path) -> Result<Self> {
        let map = MappedFile::open(path).map_err(Error::io(path, "open"))?;
        if let Some(old) = pickle::bare(path, &map) {
            return Err(old);
        }
        let source = if map.starts_with(pickle::ZIP) {
            Source::Pickle(Pickled::open(path, &map)?)
        } else if map.first() == Some(&b'{') {
            Source::Shards(Shards::open(path)?)
        } else {
            return Self::safetensors(path.to_owned(), Bytes::Mapped(map));
        };
        Ok(Self {
            origin: path.to_owned(),
            source,
        })
    }

    /// Opens the first of [`FILES`] that a folder has.
    ///
    /// # Errors
    /// None of them is there; the file is damaged or of another form.
    pub fn open_folder(folder: &Path) -> Result<Self> {
        Self::open(&file_of(folder)?)
    }

    /// The bytes of a safetensors file; messages name `origin`.
    ///
    /// # Errors
    /// When they are not those of a safetensors file.
    pub fn from_bytes(origin: impl Into<PathBuf>, bytes: Vec<u8>) -> Result<Self> {
        Self::safetensors(origin.into(), Bytes::Owned(bytes))
    }

    fn safetensors(origin: PathBuf, bytes: Bytes) -> Result<Self> {
        let checked = SafeTensors::deserialize(&bytes);
        let read = checked.and_then(|_| SafeTensors::read_metadata(&bytes));
        let (header, metadata) = read.map_err(|cause| {
            FileError::other_file(&origin, EXPECTED, &bytes)
                .map(Error::from)
                .unwrap_or_else(|| unreadable(&origin, &cause))
        })?;
        Ok(Self {
            origin,
            source: Source::Safetensors {
                metadata,
                first: LENGTH_BYTES + header,
                bytes,
            },
        })
    }

    /// Drawn numbers for every name and shape that is asked for: tensors of several axes uniform
    /// in ±√(6 / inputs of a sum), which keeps the size of what flows through ReLU; of one axis
    /// ones where the name ends in `weight`, `running_var` or `lambda1`, else zeros. For tests and benches of
    /// sizes; such a network knows nothing.
    pub fn drawn(draws: Draws) -> Self {
        Self {
            origin: PathBuf::from("drawn weights"),
            source: Source::Drawn(draws),
        }
    }

    /// The file, or whatever else messages name.
    pub fn path(&self) -> &Path {
        &self.origin
    }

    /// Whether there is a tensor of a name; of drawn weights there is every one.
    pub fn has(&self, name: &str) -> bool {
        match &self.source {
            Source::Safetensors { metadata, .. } => metadata.info(name).is_some(),
            Source::Pickle(tensors) => tensors.has(name),
            Source::Shards(shards) => shards.of(name).is_some_and(|shard| shard.has(name)),
            Source::Drawn(_) => true,
        }
    }

    /// Whether a file holds a tensor of a name; drawn weights hold none before they are asked.
    pub fn is_stored(&self, name: &str) -> bool {
        !matches!(self.source, Source::Drawn(_)) && self.has(name)
    }

    /// The numbers of a tensor of a shape, as f32.
    ///
    /// # Errors
    /// The tensor is missing, has another shape, holds integers or a number that is not finite, or
    /// cannot be read.
    pub fn numbers(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let tensor = match &self.source {
            Source::Drawn(draws) => return Ok(drawn(draws, name, shape)),
            Source::Shards(shards) => match shards.of(name) {
                Some(shard) => return shard.numbers(name, shape),
                None => None,
            },
            Source::Safetensors {
                metadata,
                first,
                bytes,
            } => view(metadata, &bytes[*first..], name)
                .map(|view| view.load(&Device::Cpu))
                .transpose()
                .map_err(|cause| unreadable(&self.origin, &cause))?,
            Source::Pickle(tensors) => {
                // Before anything is read: the pickle may say any shape.
                if let Some((found, dtype)) = tensors.info(name) {
                    self.check(name, (&found, dtype), shape)?;
                }
                tensors
                    .read(name)
                    .map_err(|cause| unreadable(&self.origin, &cause))?
            }
        };
        match tensor {
            Some(tensor) => self.checked(name, &tensor, shape),
            None => Err(Error::MissingWeight {
                path: self.origin.clone(),
                tensor: name.to_owned(),
                expected: shape.to_vec(),
            }),
        }
    }

    fn checked(&self, name: &str, tensor: &Tensor, shape: &[usize]) -> Result<Vec<f32>> {
        self.check(name, (tensor.dims(), tensor.dtype()), shape)?;
        let numbers = tensor.to_dtype(DType::F32)?.flatten_all()?;
        let numbers = numbers.to_vec1::<f32>()?;
        match numbers.iter().find(|number| !number.is_finite()) {
            Some(&value) => Err(Error::WeightNotFinite {
                path: self.origin.clone(),
                tensor: name.to_owned(),
                value,
            }),
            None => Ok(numbers),
        }
    }

    /// Whether what is there is of the shape that was asked for, and real numbers.
    fn check(&self, name: &str, (found, dtype): (&[usize], DType), shape: &[usize]) -> Result<()> {
        if found != shape {
            return Err(Error::WeightShape {
                path: self.origin.clone(),
                tensor: name.to_owned(),
                expected: shape.to_vec(),
                found: found.to_vec(),
            });
        }
        if !matches!(dtype, DType::F16 | DType::BF16 | DType::F32 | DType::F64) {
            return Err(Error::WeightType {
                path: self.origin.clone(),
                tensor: name.to_owned(),
                found: dtype.as_str(),
            });
        }
        Ok(())
    }
}

/// SHA-256 of a file of weights, in hex; of an index with those of the files that it names.
pub fn sha256(path: &Path) -> Result<String> {
    let own = file_sha256(path).map_err(Error::io(path, "read"))?;
    if !shards::is_index(path) {
        return Ok(own);
    }
    let mut fields = FieldsHash::default();
    fields.add(own.as_bytes());
    for shard in shard_names(path)? {
        let shard = path.with_file_name(shard);
        let sum = file_sha256(&shard).map_err(Error::io(&shard, "read"))?;
        fields.add(sum.as_bytes());
    }
    Ok(fields.hex())
}

/// The file of weights in a folder; a file itself.
///
/// # Errors
/// A folder that holds none.
pub fn file_of(path: &Path) -> Result<PathBuf> {
    if !path.is_dir() {
        return Ok(path.to_owned());
    }
    let mut paths = FILES.iter().map(|name| path.join(name));
    let found = paths.find(|path| path.exists());
    found.ok_or_else(|| Error::MissingWeights {
        folder: path.to_owned(),
    })
}

fn unreadable(path: &Path, cause: &dyn fmt::Display) -> Error {
    Error::UnreadableWeights {
        path: path.to_owned(),
        cause: cause.to_string(),
    }
}

/// A tensor of a file that was checked as a whole when it was opened.
fn view<'a>(metadata: &Metadata, numbers: &'a [u8], name: &str) -> Option<TensorView<'a>> {
    let info = metadata.info(name)?;
    let (start, end) = info.data_offsets;
    TensorView::new(info.dtype, info.shape.clone(), &numbers[start..end]).ok()
}

fn drawn(draws: &Draws, name: &str, shape: &[usize]) -> Vec<f32> {
    let count = shape.iter().product();
    let scales = ["weight", "running_var", "lambda1"];
    let is_scale = scales.iter().any(|scale| name.ends_with(scale));
    match shape {
        [_] if is_scale => vec![1.0; count],
        [_] => vec![0.0; count],
        _ => {
            let inputs: usize = shape.iter().skip(1).product();
            let bound = (6.0 / inputs as f32).sqrt();
            uniform(&mut draws.stream(name, &[]), -bound, bound, count)
        }
    }
}

#[cfg(test)]
mod tests;
