//! The parameters of a model: f32 variables by name, in the order of their names.
//!
//! candle's own map of variables has a different order in every process. These are sorted by name, so
//! that files and updates are the same in every run.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor, Var};
use safetensors::tensor::{Dtype, TensorView};
use safetensors::{SafeTensors, serialize};

use crate::{Error, Result};

/// The parameters of a model.
#[derive(Debug, Clone)]
pub struct Parameters {
    vars: BTreeMap<String, Var>,
    device: Device,
}

impl Parameters {
    /// No parameters yet.
    pub fn new(device: &Device) -> Self {
        Self {
            vars: BTreeMap::new(),
            device: device.clone(),
        }
    }

    /// The device of the parameters.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Adds a parameter and returns its tensor for a layer. The tensor shares the parameter's storage,
    /// so that the layer computes with later updates.
    ///
    /// # Shapes
    /// `values` has the product of `shape` numbers, row-major.
    ///
    /// # Errors
    /// When the name is taken or the shape does not hold the values.
    pub fn create(&mut self, name: &str, values: Vec<f32>, shape: &[usize]) -> Result<Tensor> {
        if self.vars.contains_key(name) {
            return Err(Error::DuplicateParameter {
                name: name.to_owned(),
            });
        }
        let var = Var::from_vec(values, shape, &self.device)?;
        let tensor = var.as_tensor().clone();
        self.vars.insert(name.to_owned(), var);
        Ok(tensor)
    }

    /// One parameter.
    pub fn get(&self, name: &str) -> Option<&Var> {
        self.vars.get(name)
    }

    /// Every parameter, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Var)> {
        self.vars.iter().map(|(name, var)| (name.as_str(), var))
    }

    /// How many numbers all parameters have together.
    pub fn numbers(&self) -> usize {
        self.vars.values().map(|var| var.elem_count()).sum()
    }

    /// The parameters as the bytes of a safetensors file; equal parameters give equal bytes.
    ///
    /// # Errors
    /// When a parameter cannot be copied from its device.
    pub fn to_safetensors(&self) -> Result<Vec<u8>> {
        named_to_safetensors(self.iter().map(|(name, var)| (name, var.as_tensor())))
    }

    /// Sets every parameter from the bytes of a safetensors file.
    ///
    /// # Errors
    /// When the bytes cannot be read, or their names and shapes are not exactly the model's; then no
    /// parameter is changed.
    pub fn load_safetensors(&self, bytes: &[u8], origin: &str) -> Result<()> {
        let stored = named_from_safetensors(bytes, origin, &self.device)?;
        if let Some(name) = stored.keys().find(|name| !self.vars.contains_key(*name)) {
            return Err(mismatch(origin, "unknown", name));
        }
        for (name, var) in &self.vars {
            let found = stored
                .get(name)
                .ok_or_else(|| mismatch(origin, "missing", name))?;
            if found.dims() != var.dims() {
                return Err(Error::ParameterShape {
                    origin: origin.to_owned(),
                    name: name.clone(),
                    expected: var.dims().to_vec(),
                    found: found.dims().to_vec(),
                });
            }
        }
        for (name, var) in &self.vars {
            var.set(&stored[name])?;
        }
        Ok(())
    }
}

/// Named f32 tensors as the bytes of a safetensors file, in the order of their names.
///
/// # Errors
/// When a tensor cannot be copied from its device.
pub fn named_to_safetensors<'a>(
    tensors: impl Iterator<Item = (&'a str, &'a Tensor)>,
) -> Result<Vec<u8>> {
    let mut buffers = BTreeMap::new();
    for (name, tensor) in tensors {
        let values = tensor
            .to_dtype(DType::F32)?
            .flatten_all()?
            .to_vec1::<f32>()?;
        let bytes: Vec<u8> = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        buffers.insert(name.to_owned(), (tensor.dims().to_vec(), bytes));
    }
    let mut views = Vec::with_capacity(buffers.len());
    for (name, (shape, bytes)) in &buffers {
        let view = TensorView::new(Dtype::F32, shape.clone(), bytes)
            .map_err(|cause| unreadable(name, &cause))?;
        views.push((name.as_str(), view));
    }
    serialize(views, None).map_err(|cause| unreadable("parameters", &cause))
}

/// Reads the f32 tensors of a safetensors file.
///
/// # Errors
/// When the bytes are damaged or a tensor is not f32.
pub fn named_from_safetensors(
    bytes: &[u8],
    origin: &str,
    device: &Device,
) -> Result<BTreeMap<String, Tensor>> {
    let file = SafeTensors::deserialize(bytes).map_err(|cause| unreadable(origin, &cause))?;
    let mut tensors = BTreeMap::new();
    for (name, view) in file.tensors() {
        if view.dtype() != Dtype::F32 {
            return Err(unreadable(
                origin,
                &format!("`{name}` is {:?}", view.dtype()),
            ));
        }
        let (numbers, _) = view.data().as_chunks::<4>();
        let values: Vec<f32> = numbers
            .iter()
            .map(|number| f32::from_le_bytes(*number))
            .collect();
        tensors.insert(name, Tensor::from_vec(values, view.shape(), device)?);
    }
    Ok(tensors)
}

fn mismatch(origin: &str, problem: &'static str, name: &str) -> Error {
    Error::ParameterMismatch {
        origin: origin.to_owned(),
        problem,
        name: name.to_owned(),
    }
}

fn unreadable(origin: &str, cause: &dyn std::fmt::Display) -> Error {
    Error::UnreadableParameters {
        origin: origin.to_owned(),
        cause: cause.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two() -> Parameters {
        let mut parameters = Parameters::new(&Device::Cpu);
        parameters
            .create("b.weight", vec![1.0, -2.0, 3.5, 0.1], &[2, 2])
            .unwrap();
        parameters.create("a.bias", vec![0.25], &[1]).unwrap();
        parameters
    }

    #[test]
    fn the_tensor_of_a_layer_follows_updates() {
        let mut parameters = Parameters::new(&Device::Cpu);
        let tensor = parameters.create("x", vec![1.0], &[1]).unwrap();
        let update = Tensor::new(&[2f32], &Device::Cpu).unwrap();
        parameters.get("x").unwrap().set(&update).unwrap();
        assert_eq!(tensor.to_vec1::<f32>().unwrap(), [2.0]);
    }

    #[test]
    fn names_come_sorted() {
        let parameters = two();
        let names: Vec<&str> = parameters.iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["a.bias", "b.weight"]);
        assert_eq!(parameters.numbers(), 5);
    }

    #[test]
    fn bytes_survive_a_round_trip() {
        let bytes = two().to_safetensors().unwrap();
        assert_eq!(bytes, two().to_safetensors().unwrap());
        let other = two();
        other
            .get("a.bias")
            .unwrap()
            .set(&Tensor::new(&[9f32], &Device::Cpu).unwrap())
            .unwrap();
        other.load_safetensors(&bytes, "test").unwrap();
        assert_eq!(other.to_safetensors().unwrap(), bytes);
    }

    #[test]
    fn other_names_and_shapes_are_refused() {
        let bytes = two().to_safetensors().unwrap();
        let mut other = Parameters::new(&Device::Cpu);
        other.create("a.bias", vec![0.25], &[1]).unwrap();
        let message = other
            .load_safetensors(&bytes, "m.safetensors")
            .unwrap_err()
            .to_string();
        assert!(
            message.contains("m.safetensors: unknown parameter `b.weight`"),
            "{message}"
        );
        other.create("b.weight", vec![0.0; 3], &[3]).unwrap();
        let message = other.load_safetensors(&bytes, "m").unwrap_err().to_string();
        assert!(
            message.contains("has shape [2, 2], the model expects [3]"),
            "{message}"
        );
        other.create("c", vec![0.0], &[1]).unwrap();
    }

    #[test]
    fn a_damaged_file_is_refused() {
        let bytes = two().to_safetensors().unwrap();
        let message = two()
            .load_safetensors(&bytes[..20], "cut")
            .unwrap_err()
            .to_string();
        assert!(
            message.starts_with("cut: not a safetensors file"),
            "{message}"
        );
    }
}
