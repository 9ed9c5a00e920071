//! Where do the numbers of a trained network come from? From safetensors, mapped into memory, or
//! from the pickle of PyTorch, by name.

use std::fmt;
use std::ops::Deref;
use std::path::{Path, PathBuf};

use candle_core::pickle::PthTensors;
use candle_core::safetensors::Load;
use candle_core::{DType, Device, Tensor};
use safetensors::SafeTensors;
use safetensors::tensor::{Metadata, TensorView};
use uard_core::random::{Draws, uniform};

use crate::mapped::Mapped;
use crate::{Error, Result};

/// What the weights of a published folder are called, the first before the second.
pub const FILES: [&str; 2] = ["model.safetensors", "pytorch_model.bin"];

/// Bytes before the header of a safetensors file: its length.
const LENGTH_BYTES: usize = 8;

/// How a zip file begins, which is what `torch.save` writes.
const ZIP: &[u8] = b"PK\x03\x04";

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
    Pickle(PthTensors),
    Drawn(Draws),
}

enum Bytes {
    Mapped(Mapped),
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
    /// Opens a safetensors file, or what `torch.save` wrote of a state dict since PyTorch 1.6.
    ///
    /// # Errors
    /// When it cannot be read, or is neither.
    pub fn open(path: &Path) -> Result<Self> {
        let map = Mapped::open(path)?;
        if map.starts_with(ZIP) {
            let tensors = PthTensors::new(path, None).map_err(|cause| unreadable(path, &cause))?;
            return Ok(Self {
                origin: path.to_owned(),
                source: Source::Pickle(tensors),
            });
        }
        Self::safetensors(path.to_owned(), Bytes::Mapped(map))
    }

    /// Opens `model.safetensors` of a folder or, where there is none, `pytorch_model.bin`.
    ///
    /// # Errors
    /// Neither file is there; the file is damaged or of another form.
    pub fn open_folder(folder: &Path) -> Result<Self> {
        let paths = FILES.map(|name| folder.join(name));
        match paths.iter().find(|path| path.exists()) {
            Some(path) => Self::open(path),
            None => Err(Error::MissingWeights {
                folder: folder.to_owned(),
            }),
        }
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
        let (header, metadata) = read.map_err(|cause| unreadable(&origin, &cause))?;
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
            Source::Pickle(tensors) => tensors.tensor_infos().contains_key(name),
            Source::Drawn(_) => true,
        }
    }

    /// Whether a file holds a tensor of a name; drawn weights hold none before they are asked.
    pub(crate) fn is_stored(&self, name: &str) -> bool {
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
            Source::Safetensors {
                metadata,
                first,
                bytes,
            } => view(metadata, &bytes[*first..], name)
                .map(|view| view.load(&Device::Cpu))
                .transpose(),
            Source::Pickle(tensors) => tensors.get(name),
        };
        match tensor.map_err(|cause| unreadable(&self.origin, &cause))? {
            Some(tensor) => self.checked(name, &tensor, shape),
            None => Err(Error::MissingWeight {
                path: self.origin.clone(),
                tensor: name.to_owned(),
                expected: shape.to_vec(),
            }),
        }
    }

    fn checked(&self, name: &str, tensor: &Tensor, shape: &[usize]) -> Result<Vec<f32>> {
        if tensor.dims() != shape {
            return Err(Error::WeightShape {
                path: self.origin.clone(),
                tensor: name.to_owned(),
                expected: shape.to_vec(),
                found: tensor.dims().to_vec(),
            });
        }
        if !tensor.dtype().is_float() {
            return Err(Error::WeightType {
                path: self.origin.clone(),
                tensor: name.to_owned(),
                found: tensor.dtype().as_str(),
            });
        }
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
