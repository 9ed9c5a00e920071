//! `Weights` are the tensors of a trained network by name: of safetensors mapped into memory, of a
//! pickle of PyTorch, or of several files of either with an index.

mod pickle;
mod shards;

use std::fmt;
use std::path::{Path, PathBuf};

use candle_core::safetensors::Load;
use candle_core::{DType, Device, Tensor};
use safetensors::SafeTensors;
use safetensors::tensor::{Metadata, TensorView};
use uard_core::random::{Draws, uniform};
use uard_files::{FieldsHash, FileError, MappedFile, file_sha256};

use crate::{Error, Result};
use pickle::PickledTensors;
use shards::Shards;
pub(crate) use shards::shard_names;

/// The names that the weights of a published folder may have; the first that exists is used. An
/// index lists the files of weights that are too large for one.
pub const FILES: [&str; 4] = [
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
];

/// Bytes of the header's length, with which a safetensors file begins.
const LENGTH_BYTES: usize = 8;

/// What errors say of a file that holds no weights.
const EXPECTED: &str = "weights: safetensors, what torch.save writes, or an index of such files";

/// The tensors of a trained network by name. Tensors are read one by one, on demand.
pub struct Weights {
    origin: PathBuf,
    storage: Storage,
}

enum Storage {
    Safetensors {
        metadata: Metadata,
        /// The byte at which the numbers begin.
        first: usize,
        bytes: MappedFile,
    },
    Pickle(PickledTensors),
    Shards(Shards),
    Drawn(Draws),
}

impl fmt::Debug for Weights {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Weights({})", self.origin.display())
    }
}

impl Weights {
    /// Opens a safetensors file, a state dict that `torch.save` wrote since PyTorch 1.6, or the
    /// index (`model.safetensors.index.json`) of several such files beside it.
    ///
    /// # Errors
    /// The file cannot be read, or is none of these.
    pub fn open(path: &Path) -> Result<Self> {
        let map = MappedFile::open(path).map_err(Error::io(path, "open"))?;
        if let Some(old) = pickle::old_pickle_error(path, &map) {
            return Err(old);
        }
        let storage = if map.starts_with(pickle::ZIP) {
            Storage::Pickle(PickledTensors::open(path, &map)?)
        } else if map.first() == Some(&b'{') {
            Storage::Shards(Shards::open(path)?)
        } else {
            safetensors(path, map)?
        };
        Ok(Self {
            origin: path.to_owned(),
            storage,
        })
    }

    /// Opens the first of [`FILES`] that a folder has.
    ///
    /// # Errors
    /// The folder has none of them; the file is damaged or of another format.
    pub fn open_folder(folder: &Path) -> Result<Self> {
        Self::open(&file_of(folder)?)
    }

    /// Random weights for tensors of any name and shape. A tensor of several axes is uniform in
    /// ±√(6 / fan-in), which keeps the scale of activations through layers with ReLU. A tensor of
    /// one axis is all ones if its name ends in `weight`, `running_var` or `lambda1`, else all
    /// zeros. For tests, and for benches of networks at full size.
    pub fn drawn(draws: Draws) -> Self {
        Self {
            origin: PathBuf::from("drawn weights"),
            storage: Storage::Drawn(draws),
        }
    }

    /// The path of the file, or the name that errors give to weights without one.
    pub fn path(&self) -> &Path {
        &self.origin
    }

    /// Whether there is a tensor of this name. Drawn weights have tensors of all names.
    pub fn has(&self, name: &str) -> bool {
        match &self.storage {
            Storage::Safetensors { metadata, .. } => metadata.info(name).is_some(),
            Storage::Pickle(tensors) => tensors.has(name),
            Storage::Shards(shards) => shards.shard_with(name).is_some_and(|shard| shard.has(name)),
            Storage::Drawn(_) => true,
        }
    }

    /// Whether a file holds a tensor of this name. False for drawn weights.
    pub fn is_stored(&self, name: &str) -> bool {
        !matches!(self.storage, Storage::Drawn(_)) && self.has(name)
    }

    /// The numbers of the tensor `name`, which must have this shape, as f32 in row-major order.
    ///
    /// # Errors
    /// The tensor is missing, has another shape, holds integers or a number that is not finite, or
    /// cannot be read.
    pub fn numbers(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let tensor = match &self.storage {
            Storage::Drawn(draws) => return Ok(drawn(draws, name, shape)),
            Storage::Shards(shards) => match shards.shard_with(name) {
                Some(shard) => return shard.numbers(name, shape),
                None => None,
            },
            Storage::Safetensors {
                metadata,
                first,
                bytes,
            } => view(metadata, &bytes[*first..], name)
                .map(|view| view.load(&Device::Cpu))
                .transpose()
                .map_err(|cause| unreadable(&self.origin, &cause))?,
            Storage::Pickle(tensors) => {
                // Checked before the numbers are read, because a damaged pickle may state any shape.
                if let Some((found, dtype)) = tensors.info(name) {
                    self.check(name, shape, &found, dtype)?;
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
        self.check(name, shape, tensor.dims(), tensor.dtype())?;
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

    /// Compares the shape `found` of a tensor with `expected`, and refuses dtypes other than floats
    /// of 16 bits or more.
    fn check(&self, name: &str, expected: &[usize], found: &[usize], dtype: DType) -> Result<()> {
        if found != expected {
            return Err(Error::WeightShape {
                path: self.origin.clone(),
                tensor: name.to_owned(),
                expected: expected.to_vec(),
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

/// SHA-256 of a file of weights, in hex; of an index, the SHA-256 over its own sum and those of the
/// files that it lists.
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

/// The file of weights in a folder: the first of [`FILES`]. The path of a file is returned unchanged.
///
/// # Errors
/// The folder holds none.
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

fn safetensors(path: &Path, bytes: MappedFile) -> Result<Storage> {
    let checked = SafeTensors::deserialize(&bytes);
    let read = checked.and_then(|_| SafeTensors::read_metadata(&bytes));
    let (header, metadata) = read.map_err(|cause| {
        FileError::other_file(path, EXPECTED, &bytes)
            .map(Error::from)
            .unwrap_or_else(|| unreadable(path, &cause))
    })?;
    Ok(Storage::Safetensors {
        metadata,
        first: LENGTH_BYTES + header,
        bytes,
    })
}

fn unreadable(path: &Path, cause: &dyn fmt::Display) -> Error {
    Error::UnreadableWeights {
        path: path.to_owned(),
        cause: cause.to_string(),
    }
}

/// A tensor of a safetensors file, whose offsets were checked when it was opened.
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
