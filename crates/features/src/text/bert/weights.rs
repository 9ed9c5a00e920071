//! Where do the numbers of a trained BERT come from? `model.safetensors`, mapped into memory, or
//! `pytorch_model.bin`.

use std::path::{Path, PathBuf};

use candle_core::pickle::PthTensors;
use candle_core::safetensors::Load;
use candle_core::{DType, Device, Tensor};
use safetensors::SafeTensors;

use crate::mapped::Mapped;
use crate::{Error, Result};

const SAFETENSORS: &str = "model.safetensors";
const PICKLE: &str = "pytorch_model.bin";

/// Files whose model has heads above the encoder put this before the names.
const PREFIX: &str = "bert.";

/// The tensors of a file, by Hugging Face's names; those that nobody asks for are never read.
#[derive(Debug)]
pub struct BertWeights {
    path: PathBuf,
    file: WeightFile,
}

enum WeightFile {
    Safetensors(Mapped),
    Pickle(PthTensors),
}

impl std::fmt::Debug for WeightFile {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Safetensors(_) => "Safetensors",
            Self::Pickle(_) => "Pickle",
        })
    }
}

impl BertWeights {
    /// Opens `model.safetensors` of a folder or, where there is none, `pytorch_model.bin`.
    ///
    /// # Errors
    /// Neither file is there; the file is damaged or of another form.
    pub fn open(folder: &Path) -> Result<Self> {
        let (safetensors, pickle) = (folder.join(SAFETENSORS), folder.join(PICKLE));
        if safetensors.exists() {
            let map = Mapped::open(&safetensors)?;
            SafeTensors::deserialize(&map).map_err(|cause| unreadable(&safetensors, &cause))?;
            Ok(Self {
                path: safetensors,
                file: WeightFile::Safetensors(map),
            })
        } else if pickle.exists() {
            let tensors =
                PthTensors::new(&pickle, None).map_err(|cause| unreadable(&pickle, &cause))?;
            Ok(Self {
                path: pickle,
                file: WeightFile::Pickle(tensors),
            })
        } else {
            Err(Error::MissingWeights {
                folder: folder.to_owned(),
            })
        }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The numbers of a tensor as f32.
    ///
    /// `name` is without `bert.`; files with it, and with `LayerNorm.gamma` and `beta` as of 2018,
    /// are read as well.
    ///
    /// # Errors
    /// The tensor is missing, has another shape, holds integers or a number that is not finite, or
    /// cannot be read.
    pub(super) fn numbers(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        for known in known_names(name) {
            if let Some(tensor) = self.tensor(&known)? {
                return self.checked(&known, &tensor, shape);
            }
        }
        Err(Error::MissingWeight {
            path: self.path.clone(),
            tensor: name.to_owned(),
            expected: shape.to_vec(),
        })
    }

    fn tensor(&self, name: &str) -> Result<Option<Tensor>> {
        match &self.file {
            WeightFile::Safetensors(map) => {
                let tensors = SafeTensors::deserialize(map)
                    .map_err(|cause| unreadable(&self.path, &cause))?;
                let Ok(view) = tensors.tensor(name) else {
                    return Ok(None);
                };
                let tensor = view.load(&Device::Cpu);
                Ok(Some(
                    tensor.map_err(|cause| unreadable(&self.path, &cause))?,
                ))
            }
            WeightFile::Pickle(tensors) => {
                let tensor = tensors.get(name);
                tensor.map_err(|cause| unreadable(&self.path, &cause))
            }
        }
    }

    fn checked(&self, name: &str, tensor: &Tensor, shape: &[usize]) -> Result<Vec<f32>> {
        if tensor.dims() != shape {
            return Err(Error::WeightShape {
                path: self.path.clone(),
                tensor: name.to_owned(),
                expected: shape.to_vec(),
                found: tensor.dims().to_vec(),
            });
        }
        if !tensor.dtype().is_float() {
            return Err(Error::WeightType {
                path: self.path.clone(),
                tensor: name.to_owned(),
                found: tensor.dtype().as_str(),
            });
        }
        let numbers = tensor.to_dtype(DType::F32)?.flatten_all()?;
        let numbers = numbers.to_vec1::<f32>()?;
        if let Some(value) = numbers.iter().find(|number| !number.is_finite()) {
            return Err(Error::WeightNotFinite {
                path: self.path.clone(),
                tensor: name.to_owned(),
                value: *value,
            });
        }
        Ok(numbers)
    }
}

fn unreadable(path: &Path, cause: &dyn std::fmt::Display) -> Error {
    Error::UnreadableWeights {
        path: path.to_owned(),
        cause: cause.to_string(),
    }
}

/// The names that a tensor may have in a file, today's first.
fn known_names(name: &str) -> Vec<String> {
    let legacy = match name.rsplit_once("LayerNorm.") {
        Some((before, "weight")) => Some(format!("{before}LayerNorm.gamma")),
        Some((before, "bias")) => Some(format!("{before}LayerNorm.beta")),
        _ => None,
    };
    let names = std::iter::once(name.to_owned()).chain(legacy);
    names
        .flat_map(|name| [name.clone(), format!("{PREFIX}{name}")])
        .collect()
}
