//! How do our kernels work on candle's tensors? On its stream, at the addresses of its numbers.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use candle_core::cuda_backend::{CudaDType, CudaStorage, DeviceId};
use candle_core::{DType, Device, Error, Result, Storage, Tensor};
use cudarc::driver::DevicePtr;

use super::{Argument, Driver};

/// The CUDA device of a number, with one stream for all threads.
///
/// # Errors
/// When candle cannot open it.
pub fn open(number: usize) -> Result<Device> {
    // `new_cuda` would use one stream per thread, which races between threads.
    let device = Device::new_cuda_with_stream(number)?;
    // SAFETY: without events nobody but us orders what streams do to the same memory. Everything of
    // candle's and every kernel of ours runs on the one stream of this device, allocates there and
    // gives back there; the stream that copies of `super::upload` run on says itself what waits for
    // what. No tensor of this device exists yet.
    unsafe { device.as_cuda_device()?.disable_event_tracking() };
    Ok(device)
}

/// The driver of a candle device, with the programs that were loaded there; the same one each time.
///
/// # Errors
/// When the device is not CUDA's, or too old.
pub fn driver(device: &Device) -> Result<Arc<Driver>> {
    static DRIVERS: OnceLock<Mutex<HashMap<DeviceId, Arc<Driver>>>> = OnceLock::new();
    let device = device.as_cuda_device()?;
    let drivers = DRIVERS.get_or_init(Mutex::default);
    let mut drivers = drivers.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(driver) = drivers.get(&device.id()) {
        return Ok(Arc::clone(driver));
    }
    let driver = Arc::new(Driver::of_stream(device.cuda_stream()).map_err(Error::wrap)?);
    drivers.insert(device.id(), Arc::clone(&driver));
    Ok(driver)
}

/// Where the numbers of a tensor lie: f32, f64, u32 or i64, without gaps.
///
/// # Errors
/// When the tensor is not on a CUDA device, has gaps or holds other numbers.
pub fn address(tensor: &Tensor) -> Result<Argument> {
    let (storage, layout) = tensor.storage_and_layout();
    let Storage::Cuda(storage) = &*storage else {
        return Err(Error::Msg("a CUDA kernel reads tensors of a CUDA device".to_owned()).bt());
    };
    let Some((start, _)) = layout.contiguous_offsets() else {
        return Err(Error::RequiresContiguous { op: "cuda-kernel" }.bt());
    };
    match tensor.dtype() {
        DType::F32 => beginning::<f32>(storage, start),
        DType::F64 => beginning::<f64>(storage, start),
        DType::U32 => beginning::<u32>(storage, start),
        DType::I64 => beginning::<i64>(storage, start),
        other => Err(Error::UnsupportedDTypeForOp(other, "cuda-kernel").bt()),
    }
}

fn beginning<T: CudaDType + cudarc::driver::DeviceRepr>(
    storage: &CudaStorage,
    start: usize,
) -> Result<Argument> {
    let slice = storage.as_cuda_slice::<T>()?;
    let address = slice.device_ptr(slice.stream()).0;
    Ok(Argument::Address(address + (start * size_of::<T>()) as u64))
}
