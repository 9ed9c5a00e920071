//! Files of tensors that a script wrote with the published networks.

use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensors};
use uard_hub::weights::Weights;

use crate::backbone::{Maps, Photo};

/// A file of `tests/goldens`.
pub(crate) struct Golden {
    pub name: &'static str,
    bytes: Vec<u8>,
}

fn path(name: &str) -> PathBuf {
    let goldens = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens");
    goldens.join(name)
}

impl Golden {
    pub fn open(name: &'static str) -> Self {
        let bytes = std::fs::read(path(name)).unwrap();
        Self { name, bytes }
    }

    /// The weights of the network.
    pub fn weights(&self) -> Weights {
        Weights::open(&path(self.name)).unwrap()
    }

    fn shape(&self, tensor: &str) -> Vec<usize> {
        let file = SafeTensors::deserialize(&self.bytes).unwrap();
        file.tensor(tensor).unwrap().shape().to_vec()
    }

    fn bytes(&self, tensor: &str, dtype: Dtype) -> Vec<u8> {
        let file = SafeTensors::deserialize(&self.bytes).unwrap();
        let tensor = file.tensor(tensor).unwrap();
        assert_eq!(tensor.dtype(), dtype);
        tensor.data().to_vec()
    }

    /// Numbers that are stored in f32 or f16.
    pub fn numbers(&self, tensor: &str) -> Vec<f32> {
        let file = SafeTensors::deserialize(&self.bytes).unwrap();
        let tensor = file.tensor(tensor).unwrap();
        let half = |b: &[u8]| half::f16::from_le_bytes(b.try_into().unwrap()).to_f32();
        let single = |b: &[u8]| f32::from_le_bytes(b.try_into().unwrap());
        match tensor.dtype() {
            Dtype::F16 => tensor.data().chunks_exact(2).map(half).collect(),
            Dtype::F32 => tensor.data().chunks_exact(4).map(single).collect(),
            other => panic!("{other:?}"),
        }
    }

    pub fn indices(&self, tensor: &str) -> Vec<usize> {
        let bytes = self.bytes(tensor, Dtype::I64);
        let numbers = bytes.chunks_exact(8);
        let numbers = numbers.map(|b| i64::from_le_bytes(b.try_into().unwrap()));
        numbers
            .map(|number| usize::try_from(number).unwrap())
            .collect()
    }

    pub fn boxes(&self, tensor: &str) -> Vec<[f32; 4]> {
        let numbers = self.numbers(tensor);
        let boxes = numbers.chunks_exact(4);
        boxes.map(|four| four.try_into().unwrap()).collect()
    }

    /// A tensor [N, F, H, W] of PyTorch as maps, with channels last.
    pub fn maps(&self, tensor: &str) -> Maps<f32> {
        let [n, f, h, w] = *self.shape(tensor) else {
            panic!("four axes")
        };
        let numbers = self.numbers(tensor);
        let mut values = vec![0.0; numbers.len()];
        for (at, value) in values.iter_mut().enumerate() {
            let (channel, pixel, photo) = (at % f, at / f % (h * w), at / (f * h * w));
            *value = numbers[(photo * f + channel) * h * w + pixel];
        }
        Maps::new(values, [n, h, w, f])
    }

    /// The tensor `photo` as pixels.
    pub fn photo(&self) -> Photo {
        let [height, width, 3] = *self.shape("photo") else {
            panic!("height, width, colours")
        };
        let pixels = self.bytes("photo", Dtype::U8);
        Photo::new(pixels, width as u32, height as u32).unwrap()
    }
}

/// The largest difference, relative to the root mean square.
pub(crate) fn relative_difference(found: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let squares = expected.iter().map(|x| f64::from(*x).powi(2));
    let size = (squares.sum::<f64>() / expected.len() as f64).sqrt();
    assert!(size > 1e-3, "numbers that are not all zero");
    let pairs = found.iter().zip(expected);
    let largest = pairs.map(|(a, b)| f64::from((a - b).abs()));
    largest.fold(0.0, f64::max) / size
}
