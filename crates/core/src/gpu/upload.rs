//! Uploads the next batch from pinned memory, on a stream of its own, while the GPU computes this batch.
//!
//! A slot is a buffer in pinned memory and one of the same size on the GPU. Two streams and two threads
//! use it. cudarc's own events are off ([`super::tensors::open`]), so each slot has two of its own:
//!
//! | step | must follow | waits for the event | who waits |
//! |---|---|---|---|
//! | the host fills the pinned buffer | the slot's upload before | `uploaded` | the host |
//! | the upload to the GPU | the copy to the tensor before | `copied` | the stream of uploads |
//! | the copy to a tensor | the upload | `uploaded` | candle's stream |
//!
//! The tensor is a copy within the GPU. So it is allocated and freed on candle's stream as all tensors
//! are, and the slot can be used again once that copy is launched.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::cuda_backend::{CudaDevice, CudaStorage};
use candle_core::op::BackpropOp;
use candle_core::{Device, Error, Result, Shape, Storage, Tensor};
use cudarc::driver::sys::CUevent_flags;
use cudarc::driver::{CudaEvent, CudaSlice, CudaStream, DriverError, PinnedHostSlice};

/// Uploads to one device: their stream and the slots that are free.
#[derive(Debug)]
pub struct Uploads {
    device: CudaDevice,
    stream: Arc<CudaStream>,
    /// There are as many slots, free or in use, as were ever in use at once.
    free: Mutex<Vec<Slot>>,
}

/// A pinned buffer for the numbers of an upload.
#[derive(Debug)]
pub struct PinnedBuffer {
    uploads: Arc<Uploads>,
    slot: Slot,
    count: usize,
}

/// An upload that has begun.
#[derive(Debug)]
pub struct Upload {
    buffer: PinnedBuffer,
}

#[derive(Debug)]
struct Slot {
    pinned: PinnedHostSlice<f32>,
    /// The buffer on the GPU, allocated on candle's stream.
    on_gpu: CudaSlice<f32>,
    /// Recorded after the upload to `on_gpu`.
    uploaded: CudaEvent,
    /// Recorded after the copy from `on_gpu` to a tensor.
    copied: CudaEvent,
    /// The stream of uploads.
    uploads: Arc<CudaStream>,
}

impl Uploads {
    /// Uploads to a CUDA device.
    ///
    /// # Errors
    /// When it is another device, or no stream can be created.
    pub fn new(device: &Device) -> Result<Arc<Self>> {
        let device = device.as_cuda_device()?.clone();
        let stream = device.cuda_stream().context().new_stream();
        Ok(Arc::new(Self {
            stream: stream.map_err(Error::wrap)?,
            device,
            free: Mutex::default(),
        }))
    }

    /// A pinned buffer for `count` numbers. If it was used before, this waits for its upload to end.
    ///
    /// # Errors
    /// When there is too little memory.
    pub fn buffer(self: &Arc<Self>, count: usize) -> Result<PinnedBuffer> {
        let free = self
            .free
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        let slot = match free.filter(|slot| slot.on_gpu.len() >= count) {
            Some(slot) => slot,
            None => Slot::new(self, count).map_err(Error::wrap)?,
        };
        slot.uploaded.synchronize().map_err(Error::wrap)?;
        Ok(PinnedBuffer {
            uploads: Arc::clone(self),
            slot,
            count,
        })
    }
}

impl PinnedBuffer {
    /// The numbers, of any values, to be overwritten.
    ///
    /// # Errors
    /// When the driver fails.
    pub fn numbers(&mut self) -> Result<&mut [f32]> {
        let numbers = self.slot.pinned.as_mut_slice().map_err(Error::wrap)?;
        Ok(&mut numbers[..self.count])
    }

    /// Begins the upload.
    ///
    /// # Errors
    /// When the driver fails.
    pub fn send(mut self) -> Result<Upload> {
        let count = self.count;
        self.slot.upload(count).map_err(Error::wrap)?;
        Ok(Upload { buffer: self })
    }
}

impl Upload {
    /// The numbers as a tensor. Work that is launched on it from now on waits for the upload.
    ///
    /// # Errors
    /// When the shape has another number of elements, or there is too little memory.
    pub fn tensor(self, shape: impl Into<Shape>) -> Result<Tensor> {
        let shape = shape.into();
        let PinnedBuffer {
            uploads,
            slot,
            count,
        } = self.buffer;
        if shape.elem_count() != count {
            return Err(Error::Msg(format!("{count} uploaded numbers are not {shape:?}")).bt());
        }
        let numbers = slot
            .copy_on(&uploads.device.cuda_stream(), count)
            .map_err(Error::wrap)?;
        let mut free = uploads.free.lock().unwrap_or_else(PoisonError::into_inner);
        free.push(slot);
        let storage = CudaStorage::wrap_cuda_slice(numbers, uploads.device.clone());
        let storage = Storage::Cuda(storage);
        Ok(Tensor::from_storage(
            storage,
            shape,
            BackpropOp::none(),
            false,
        ))
    }
}

impl Slot {
    fn new(uploads: &Uploads, count: usize) -> std::result::Result<Self, DriverError> {
        let stream = uploads.device.cuda_stream();
        let context = stream.context();
        // SAFETY: `alloc_pinned_with_flags` leaves the numbers uninitialised: they are set to zero below,
        // before anybody reads them. No flag for write-combined memory: that is slow where files are
        // read into the buffer and padding is filled in.
        let mut pinned = unsafe { context.alloc_pinned_with_flags::<f32>(count, 0) }?;
        let numbers = pinned.as_mut_ptr()?;
        // SAFETY: `write_bytes` needs `count` numbers that can be written: `pinned` was just allocated with
        // as many. Zero bytes are valid f32.
        unsafe { numbers.write_bytes(0, count) };
        // SAFETY: `alloc` leaves the numbers uninitialised. Only `copy_on` reads them, the first `count` of
        // an `Upload`, and `PinnedBuffer::send` has uploaded as many before it makes one.
        let on_gpu = unsafe { stream.alloc::<f32>(count) }?;
        // The first upload waits for this event, and so for the allocation.
        let copied = stream.record_event(None)?;
        Ok(Self {
            pinned,
            on_gpu,
            uploaded: context.new_event(Some(CUevent_flags::CU_EVENT_BLOCKING_SYNC))?,
            copied,
            uploads: Arc::clone(&uploads.stream),
        })
    }

    /// Launches the upload of the first `count` numbers, after the copy to the tensor before.
    fn upload(&mut self, count: usize) -> std::result::Result<(), DriverError> {
        self.uploads.wait(&self.copied)?;
        let numbers = &self.pinned.as_slice()?[..count];
        self.uploads
            .memcpy_htod(numbers, &mut self.on_gpu.slice_mut(..count))?;
        self.uploaded.record(&self.uploads)
    }

    /// Launches a copy of the first `count` numbers on a stream, after the upload.
    fn copy_on(
        &self,
        stream: &Arc<CudaStream>,
        count: usize,
    ) -> std::result::Result<CudaSlice<f32>, DriverError> {
        stream.wait(&self.uploaded)?;
        // SAFETY: `alloc` leaves the numbers uninitialised. The copy below writes all of them, and whoever
        // reads them later does so on the same stream.
        let mut numbers = unsafe { stream.alloc::<f32>(count) }?;
        stream.memcpy_dtod(&self.on_gpu.slice(..count), &mut numbers)?;
        self.copied.record(stream)?;
        Ok(numbers)
    }
}

impl Drop for Slot {
    /// Waits for uploads to end. Afterwards the pinned buffer is freed at once, and the buffer on the GPU
    /// on candle's stream, that is after copies to tensors but not after uploads.
    fn drop(&mut self) {
        // If this fails, the driver has failed before and the process must end.
        let _ = self.uploads.synchronize();
    }
}
