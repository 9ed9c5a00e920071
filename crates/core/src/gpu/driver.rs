//! A GPU through its driver: memory, loaded programs, one stream.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use cudarc::driver::sys::{self, CUdevice_attribute, CUfunction_attribute};
use cudarc::driver::{
    CudaContext, CudaFunction, CudaModule, CudaSlice, CudaStream, DevicePtr, DriverError,
    LaunchConfig, PushKernelArg, result,
};
use cudarc::nvrtc::Ptx;

use super::compile::{Image, Target, compile, require_nvrtc};
use super::{Argument, GpuError, GpuResult, Launch, Machine, Memory, Program};

/// The oldest driver, as it counts: of CUDA 12.0 for our own kernels, and where candle's are built
/// in, of the toolkit that compiled them, since an older driver refuses its PTX.
const OLDEST_DRIVER: i32 = match cfg!(feature = "cuda") {
    true => sys::CUDA_VERSION as i32,
    false => 12000,
};

/// PTX for later GPUs is that of Hopper: their drivers compile it on, and an older NVRTC knows it.
const NEWEST_PTX: u32 = 90;

/// What may be asked for without a kernel's consent.
const SHARED_BYTES_FOR_ALL: u32 = 48 << 10;

/// A GPU: kernels run on one stream, in the order of their launches.
#[derive(Debug)]
pub struct Driver {
    stream: Arc<CudaStream>,
    name: String,
    /// 90 for 9.0.
    capability: u32,
    shared_bytes: u32,
    loaded: Mutex<HashMap<Program, Arc<CudaModule>>>,
}

/// Memory of a GPU.
#[derive(Debug)]
struct DriverMemory {
    slice: CudaSlice<u8>,
    address: u64,
}

impl Driver {
    /// Opens a GPU by its number, where there is also what compiles kernels for it.
    ///
    /// # Errors
    /// In one sentence: no driver, no NVRTC, no GPU, or one of them too old.
    pub fn open(number: usize) -> GpuResult<Self> {
        require_driver()?;
        require_nvrtc()?;
        let context =
            CudaContext::new(number).map_err(|error| GpuError::NoGpu { cause: said(error) })?;
        // One stream from here on: events between streams would only cost time.
        Self::of_stream(context.default_stream())
    }

    /// The GPU of a stream that somebody else made; our kernels run on it too.
    ///
    /// # Errors
    /// As [`Driver::open`].
    pub fn of_stream(stream: Arc<CudaStream>) -> GpuResult<Self> {
        let context = stream.context();
        let name = context.name().map_err(failed("name the GPU"))?;
        let (major, minor) = context
            .compute_capability()
            .map_err(failed("read the compute capability"))?;
        if major < 8 {
            return Err(GpuError::GpuTooOld {
                gpu: name,
                found: format!("{major}.{minor}"),
            });
        }
        let attribute = |attribute| {
            context
                .attribute(attribute)
                .map(|found| u32::try_from(found).unwrap_or(0))
                .map_err(failed("read an attribute of the GPU"))
        };
        Ok(Self {
            capability: u32::try_from(10 * major + minor).unwrap_or(0),
            shared_bytes: attribute(
                CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN,
            )?,
            name,
            stream,
            loaded: Mutex::default(),
        })
    }

    /// Bytes of memory that are free.
    ///
    /// # Errors
    /// When the driver does not say.
    pub fn free_bytes(&self) -> GpuResult<usize> {
        self.stream
            .context()
            .mem_get_info()
            .map(|(free, _)| free)
            .map_err(failed("read how much memory is free"))
    }

    /// The program's module: compiled and loaded at its first launch.
    fn module(&self, program: &Program) -> GpuResult<Arc<CudaModule>> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(module) = loaded.get(program) {
            return Ok(Arc::clone(module));
        }
        let module = self.load(program)?;
        loaded.insert(program.clone(), Arc::clone(&module));
        Ok(module)
    }

    /// PTX first, which the driver compiles; machine code where the driver is older than NVRTC.
    fn load(&self, program: &Program) -> GpuResult<Arc<CudaModule>> {
        let context = self.stream.context();
        let ptx = image(program, Target::Ptx(self.capability.min(NEWEST_PTX)))?;
        let refused = match context.load_module(ptx) {
            Ok(module) => return Ok(module),
            Err(error) => error,
        };
        if !is_newer_than_driver(refused) {
            return Err(failed("load a program")(refused));
        }
        let cubin = image(program, Target::Cubin(self.capability))?;
        context
            .load_module(cubin)
            .map_err(|_| too_old("the version that NVRTC here compiles for"))
    }

    fn function(&self, launch: &Launch<'_>) -> GpuResult<CudaFunction> {
        let function = self
            .module(launch.program)?
            .load_function(launch.kernel)
            .map_err(failed("find a kernel"))?;
        if launch.shared_bytes > SHARED_BYTES_FOR_ALL {
            let bytes = i32::try_from(launch.shared_bytes).unwrap_or(i32::MAX);
            function
                .set_attribute(
                    CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                    bytes,
                )
                .map_err(failed("give a kernel its shared memory"))?;
        }
        Ok(function)
    }
}

impl Memory for DriverMemory {
    fn address(&self) -> u64 {
        self.address
    }

    fn write(&mut self, bytes: &[u8]) -> GpuResult<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let stream = Arc::clone(self.slice.stream());
        stream
            .memcpy_htod(bytes, &mut self.slice)
            .map_err(failed("copy to the GPU"))
    }

    fn read(&self, bytes: &mut [u8]) -> GpuResult<()> {
        assert!(bytes.len() <= self.slice.len(), "as much as there is");
        let stream = self.slice.stream();
        if !bytes.is_empty() {
            stream
                .memcpy_dtoh(&self.slice.slice(..bytes.len()), bytes)
                .map_err(failed("copy from the GPU"))?;
        }
        stream
            .synchronize()
            .map_err(failed("run what was launched"))
    }

    fn clear(&mut self) -> GpuResult<()> {
        let stream = Arc::clone(self.slice.stream());
        stream
            .memset_zeros(&mut self.slice)
            .map_err(failed("clear memory"))
    }
}

impl Machine for Driver {
    fn name(&self) -> &str {
        &self.name
    }

    fn shared_bytes(&self) -> u32 {
        self.shared_bytes
    }

    fn allocate(&self, bytes: usize) -> GpuResult<Box<dyn Memory>> {
        // SAFETY: bytes that are not set; whoever allocates writes before it reads.
        let slice = unsafe { self.stream.alloc::<u8>(bytes.max(1)) };
        let slice = slice.map_err(|error| match error.0 {
            sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY => GpuError::OutOfMemory {
                wanted: bytes,
                free: self.free_bytes().unwrap_or(0),
            },
            _ => failed("allocate memory")(error),
        })?;
        let address = slice.device_ptr(&self.stream).0;
        Ok(Box::new(DriverMemory { slice, address }))
    }

    unsafe fn launch(&self, launch: &Launch<'_>) -> GpuResult<()> {
        if launch.blocks == 0 {
            return Ok(());
        }
        let function = self.function(launch)?;
        let mut builder = self.stream.launch_builder(&function);
        for argument in launch.arguments {
            match argument {
                Argument::Address(address) => builder.arg(address),
                Argument::U32(number) => builder.arg(number),
                Argument::F32(number) => builder.arg(number),
                Argument::F64(number) => builder.arg(number),
            };
        }
        let config = LaunchConfig {
            grid_dim: (launch.blocks, 1, 1),
            block_dim: (launch.threads, 1, 1),
            shared_mem_bytes: launch.shared_bytes,
        };
        // SAFETY: the caller's promise.
        unsafe { builder.launch(config) }
            .map(|_| ())
            .map_err(failed(launch.kernel))
    }
}

/// Whether there is a driver that is new enough; a build that links CUDA has one.
fn require_driver() -> GpuResult<()> {
    // SAFETY: opens and closes shared libraries by their usual names.
    #[cfg(not(feature = "cuda"))]
    if !unsafe { sys::is_culib_present() } {
        return Err(GpuError::NoLibrary {
            library: "libcuda",
            advice: "this machine has no NVIDIA driver; get it from \
                     https://www.nvidia.com/drivers",
        });
    }
    let mut version = 0;
    // SAFETY: writes to a local.
    let known = unsafe { sys::cuDriverGetVersion(&mut version) }.result();
    if known.is_ok() && version < OLDEST_DRIVER {
        return Err(too_old(&said_version(OLDEST_DRIVER)));
    }
    result::init().map_err(|error| GpuError::NoGpu { cause: said(error) })
}

fn too_old(needed: &str) -> GpuError {
    let mut version = 0;
    // SAFETY: writes to a local.
    let _ = unsafe { sys::cuDriverGetVersion(&mut version) };
    GpuError::DriverTooOld {
        found: said_version(version),
        needed: needed.to_owned(),
    }
}

/// `13.0` for 13000.
fn said_version(version: i32) -> String {
    format!("{}.{}", version / 1000, version % 1000 / 10)
}

fn image(program: &Program, target: Target) -> GpuResult<Ptx> {
    Ok(match compile(program, target)? {
        Image::Ptx(text) => Ptx::from_src(text),
        Image::Cubin(bytes) => Ptx::from_binary(bytes),
    })
}

fn is_newer_than_driver(error: DriverError) -> bool {
    matches!(
        error.0,
        sys::CUresult::CUDA_ERROR_UNSUPPORTED_PTX_VERSION
            | sys::CUresult::CUDA_ERROR_INVALID_PTX
            | sys::CUresult::CUDA_ERROR_JIT_COMPILER_NOT_FOUND
    )
}

fn failed(action: &str) -> impl FnOnce(DriverError) -> GpuError {
    let action = action.to_owned();
    move |error| GpuError::Failed {
        action,
        cause: said(error),
    }
}

fn said(error: DriverError) -> String {
    error.to_string()
}
