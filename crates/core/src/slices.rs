//! Reads the numbers of a CPU tensor as a slice, or changes them in place.

use std::cell::Cell;
use std::ops::Deref;

use candle_core::{CpuStorage, Error, InplaceOp1, Layout, Result, Storage, Tensor, WithDType};

/// The numbers of a contiguous storage.
///
/// # Errors
/// When the layout has gaps or the storage holds other numbers; `op` names the operator.
pub fn numbers<'a, T: WithDType>(
    storage: &'a CpuStorage,
    layout: &Layout,
    op: &'static str,
) -> Result<&'a [T]> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&storage.as_slice::<T>()?[start..end]),
        None => Err(Error::RequiresContiguous { op }.bt()),
    }
}

/// A read lock on a tensor's storage: as long as it lives, nobody can write to the tensor.
#[derive(Debug)]
pub struct Reading<'a, G> {
    storage: G,
    layout: &'a Layout,
}

/// Locks a tensor's storage for reading.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use uard_core::slices::reading;
///
/// let tensor = Tensor::new(&[1f32, 2.0], &Device::Cpu)?;
/// assert_eq!(reading(&tensor).numbers::<f32>("example")?, [1.0, 2.0]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn reading(tensor: &Tensor) -> Reading<'_, impl Deref<Target = Storage>> {
    let (storage, layout) = tensor.storage_and_layout();
    Reading { storage, layout }
}

impl<G: Deref<Target = Storage>> Reading<'_, G> {
    /// The tensor's numbers.
    ///
    /// # Errors
    /// When the tensor is not on the CPU, has gaps or holds other numbers; `op` names the operator.
    pub fn numbers<T: WithDType>(&self, op: &'static str) -> Result<&[T]> {
        match &*self.storage {
            Storage::Cpu(storage) => numbers(storage, self.layout, op),
            _ => Err(Error::Msg(format!("{op}: its tensors must be on the CPU")).bt()),
        }
    }
}

/// Changes the f32 numbers of a CPU tensor in place, under a write lock on its storage.
///
/// # Errors
/// When `change` fails, or when the tensor is not on the CPU, has gaps or holds other numbers.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use uard_core::slices::change;
///
/// let tensor = Tensor::new(&[1f32, 2.0], &Device::Cpu)?;
/// change(&tensor, |numbers| Ok(numbers[1] = 3.0))?;
/// assert_eq!(tensor.to_vec1::<f32>()?, [1.0, 3.0]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn change(tensor: &Tensor, change: impl FnOnce(&mut [f32]) -> Result<()>) -> Result<()> {
    tensor.inplace_op1(&Change(Cell::new(Some(change))))
}

struct Change<F>(Cell<Option<F>>);

impl<F: FnOnce(&mut [f32]) -> Result<()>> InplaceOp1 for Change<F> {
    fn name(&self) -> &'static str {
        "change"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let range = layout.contiguous_offsets();
        let (CpuStorage::F32(numbers), Some((start, end))) = (storage, range) else {
            return Err(
                Error::Msg("change: the tensor must be f32 and contiguous".to_owned()).bt(),
            );
        };
        match self.0.take() {
            Some(change) => change(&mut numbers[start..end]),
            None => Ok(()),
        }
    }
}
