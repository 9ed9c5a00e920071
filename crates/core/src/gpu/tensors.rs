//! Lets our kernels work on candle's tensors: on candle's stream, at the addresses of their numbers.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use candle_core::cuda_backend::{CudaDType, CudaStorage, DeviceId};
use candle_core::{DType, Device, Error, Result, Storage, Tensor};
use cudarc::driver::DevicePtr;

use super::{Argument, Driver};

/// Opens the CUDA device with this number, with one stream for all threads.
///
/// # Errors
/// When candle cannot open it.
pub fn open(number: usize) -> Result<Device> {
    // `new_cuda` uses one stream per thread, and tensors of two threads would race.
    let device = Device::new_cuda_with_stream(number)?;
    // SAFETY: without event tracking, whoever uses two streams must order their accesses to the same
    // memory. candle and our kernels run, allocate and free on the one stream of this device. The other
    // stream is that of `super::upload`, which records events and waits for them itself. No tensor of
    // this device exists yet that was tracked.
    unsafe { device.as_cuda_device()?.disable_event_tracking() };
    Ok(device)
}

/// The driver of a candle device, with the programs that are loaded there. Each call for a device returns
/// the same driver.
///
/// # Errors
/// When the device is not a CUDA device, or the GPU is too old.
pub fn driver(device: &Device) -> Result<Arc<Driver>> {
    static DRIVERS: OnceLock<Mutex<HashMap<DeviceId, Arc<Driver>>>> = OnceLock::new();
    let device = device.as_cuda_device()?;
    let drivers = DRIVERS.get_or_init(Mutex::default);
    let mut drivers = drivers.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(driver) = drivers.get(&device.id()) {
        return Ok(Arc::clone(driver));
    }
    let driver = Arc::new(Driver::on_stream(device.cuda_stream()).map_err(Error::wrap)?);
    drivers.insert(device.id(), Arc::clone(&driver));
    Ok(driver)
}

/// The address of the first number of a contiguous tensor of f32, f64, u32 or i64.
///
/// # Errors
/// When the tensor is not on a CUDA device, is not contiguous or holds other numbers.
pub fn address(tensor: &Tensor) -> Result<Argument> {
    let (storage, layout) = tensor.storage_and_layout();
    let Storage::Cuda(storage) = &*storage else {
        return Err(Error::Msg("a CUDA kernel reads tensors of a CUDA device".to_owned()).bt());
    };
    let Some((start, _)) = layout.contiguous_offsets() else {
        return Err(Error::RequiresContiguous { op: "cuda-kernel" }.bt());
    };
    match tensor.dtype() {
        DType::F32 => address_of_number::<f32>(storage, start),
        DType::F64 => address_of_number::<f64>(storage, start),
        DType::U32 => address_of_number::<u32>(storage, start),
        DType::I64 => address_of_number::<i64>(storage, start),
        other => Err(Error::UnsupportedDTypeForOp(other, "cuda-kernel").bt()),
    }
}

/// The address of the number at index `start` of a storage.
fn address_of_number<T: CudaDType + cudarc::driver::DeviceRepr>(
    storage: &CudaStorage,
    start: usize,
) -> Result<Argument> {
    let slice = storage.as_cuda_slice::<T>()?;
    let address = slice.device_ptr(slice.stream()).0;
    Ok(Argument::Address(address + (start * size_of::<T>()) as u64))
}
