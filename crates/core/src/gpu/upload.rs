//! How do the numbers of the next batch reach a GPU while it computes this one? From pinned memory, on
//! a stream of their own.
//!
//! A slot is a buffer in pinned memory and one as large on the GPU. Two streams and two threads use
//! it, and events say who waits for whom, as cudarc's own are off ([`super::tensors::open`]):
//!
//! ```text
//! filled by the host   after   the upload before it      `uploaded`, waited for by the host
//! uploaded             after   the tensor before it      `taken`, waited for by the stream of copies
//! copied to a tensor   after   the upload                `uploaded`, waited for by candle's stream
//! ```
//!
//! The tensor is a copy within the GPU, so it is allocated and given back on candle's stream as every
//! other, and the slot is free again as soon as that copy was launched.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::cuda_backend::{CudaDevice, CudaStorage};
use candle_core::op::BackpropOp;
use candle_core::{Device, Error, Result, Shape, Storage, Tensor};
use cudarc::driver::sys::CUevent_flags;
use cudarc::driver::{CudaEvent, CudaSlice, CudaStream, DriverError, PinnedHostSlice};

/// What uploads to one device share.
#[derive(Debug)]
pub struct Uploads {
    device: CudaDevice,
    copies: Arc<CudaStream>,
    /// As many slots as were ever in use at once.
    free: Mutex<Vec<Slot>>,
}

/// Pinned memory that is to be filled.
#[derive(Debug)]
pub struct Room {
    uploads: Arc<Uploads>,
    slot: Slot,
    count: usize,
}

/// Numbers on their way.
#[derive(Debug)]
pub struct Upload {
    room: Room,
}

#[derive(Debug)]
struct Slot {
    pinned: PinnedHostSlice<f32>,
    /// Allocated on candle's stream.
    there: CudaSlice<f32>,
    uploaded: CudaEvent,
    taken: CudaEvent,
    copies: Arc<CudaStream>,
}

impl Uploads {
    /// For a CUDA device.
    ///
    /// # Errors
    /// When it is another device, or has no stream left.
    pub fn new(device: &Device) -> Result<Arc<Self>> {
        let device = device.as_cuda_device()?.clone();
        let copies = device.cuda_stream().context().new_stream();
        Ok(Arc::new(Self {
            copies: copies.map_err(Error::wrap)?,
            device,
            free: Mutex::default(),
        }))
    }

    /// Room for `count` numbers, once the upload that had it before is over.
    ///
    /// # Errors
    /// When there is too little memory.
    pub fn room(self: &Arc<Self>, count: usize) -> Result<Room> {
        let free = self
            .free
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        let slot = match free.filter(|slot| slot.there.len() >= count) {
            Some(slot) => slot,
            None => Slot::new(self, count).map_err(Error::wrap)?,
        };
        slot.uploaded.synchronize().map_err(Error::wrap)?;
        Ok(Room {
            uploads: Arc::clone(self),
            slot,
            count,
        })
    }
}

impl Room {
    /// The numbers, to be overwritten.
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
        Ok(Upload { room: self })
    }
}

impl Upload {
    /// The numbers as a tensor; what is launched on it from now on waits for the upload.
    ///
    /// # Errors
    /// When the shape has another number of elements, or there is too little memory.
    pub fn tensor(self, shape: impl Into<Shape>) -> Result<Tensor> {
        let (
            shape,
            Room {
                uploads,
                slot,
                count,
            },
        ) = (shape.into(), self.room);
        if shape.elem_count() != count {
            return Err(Error::Msg(format!("{count} uploaded numbers are not {shape:?}")).bt());
        }
        let numbers = slot
            .taken_by(&uploads.device.cuda_stream(), count)
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
        // SAFETY: set below, before anybody reads. Without flags: it is written as it is read from
        // files, which write-combined memory is slow for where padding is filled in.
        let mut pinned = unsafe { context.alloc_pinned_with_flags::<f32>(count, 0) }?;
        let numbers = pinned.as_mut_ptr()?;
        // SAFETY: `count` numbers that were just allocated, and zeros are numbers.
        unsafe { numbers.write_bytes(0, count) };
        // SAFETY: an upload writes them before a tensor is copied from them.
        let there = unsafe { stream.alloc::<f32>(count) }?;
        // The first upload waits for the allocation.
        let taken = stream.record_event(None)?;
        Ok(Self {
            pinned,
            there,
            uploaded: context.new_event(Some(CUevent_flags::CU_EVENT_BLOCKING_SYNC))?,
            taken,
            copies: Arc::clone(&uploads.copies),
        })
    }

    /// After the last tensor was copied from the buffer.
    fn upload(&mut self, count: usize) -> std::result::Result<(), DriverError> {
        self.copies.wait(&self.taken)?;
        let numbers = &self.pinned.as_slice()?[..count];
        self.copies
            .memcpy_htod(numbers, &mut self.there.slice_mut(..count))?;
        self.uploaded.record(&self.copies)
    }

    /// A copy on a stream, after the upload.
    fn taken_by(
        &self,
        stream: &Arc<CudaStream>,
        count: usize,
    ) -> std::result::Result<CudaSlice<f32>, DriverError> {
        stream.wait(&self.uploaded)?;
        // SAFETY: the copy writes every number before anybody reads.
        let mut numbers = unsafe { stream.alloc::<f32>(count) }?;
        stream.memcpy_dtod(&self.there.slice(..count), &mut numbers)?;
        self.taken.record(stream)?;
        Ok(numbers)
    }
}

impl Drop for Slot {
    /// Pinned memory is given back at once, and that of the GPU on candle's stream, behind the copies
    /// to tensors but not behind an upload: nothing may be under way.
    fn drop(&mut self) {
        // A driver that fails here has failed before, and its memory goes with the process.
        let _ = self.copies.synchronize();
    }
}
