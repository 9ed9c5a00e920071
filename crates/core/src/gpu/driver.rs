//! [`Driver`]: a GPU behind CUDA's driver, with its memory, loaded programs and one stream.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use cudarc::driver::sys::{self, CUdevice_attribute, CUfunction_attribute};
use cudarc::driver::{
    CudaContext, CudaFunction, CudaModule, CudaSlice, CudaStream, DevicePtr, DriverError,
    LaunchConfig, PushKernelArg, result,
};
use cudarc::nvrtc::Ptx;

use super::compile::{Image, Target, compile, require_nvrtc};
use super::{Argument, Gpu, GpuError, GpuResult, Launch, Memory, Program};

/// The oldest driver that can be used, by the version of CUDA it supports. Our own kernels need 12.0. If
/// candle's are built in, it is the version of the toolkit that compiled them: an older driver refuses
/// their PTX.
const OLDEST_DRIVER: i32 = match cfg!(feature = "cuda") {
    true => sys::CUDA_VERSION as i32,
    false => 12000,
};

/// The highest compute capability that PTX is compiled for, that of Hopper: older versions of NVRTC know
/// it, and the drivers of later GPUs compile it for them.
const NEWEST_PTX: u32 = 90;

/// Dynamic shared memory that a kernel may have without setting an attribute.
const DEFAULT_SHARED_BYTES: u32 = 48 << 10;

/// A GPU. Its kernels run on one stream, in the order of their launches.
#[derive(Debug)]
pub struct Driver {
    stream: Arc<CudaStream>,
    name: String,
    /// The compute capability times ten: 90 for 9.0.
    capability: u32,
    shared_bytes: u32,
    loaded: Mutex<HashMap<Program, Arc<CudaModule>>>,
}

/// An allocation on a driver's stream.
#[derive(Debug)]
struct DriverMemory {
    slice: CudaSlice<u8>,
    address: u64,
}

impl Driver {
    /// Opens the GPU with this number, and checks that kernels can be compiled for it.
    ///
    /// # Errors
    /// When there is no driver, no NVRTC or no GPU, or the driver or the GPU is too old.
    pub fn open(number: usize) -> GpuResult<Self> {
        require_driver()?;
        require_nvrtc()?;
        let context = CudaContext::new(number).map_err(|error| GpuError::NoGpu {
            cause: error.to_string(),
        })?;
        Self::on_stream(context.default_stream())
    }

    /// The GPU of an existing stream, on which our kernels then run.
    ///
    /// # Errors
    /// When the GPU is too old, or the driver does not answer.
    pub fn on_stream(stream: Arc<CudaStream>) -> GpuResult<Self> {
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

    /// How many bytes of the GPU's memory are free.
    ///
    /// # Errors
    /// When the driver fails.
    pub fn free_bytes(&self) -> GpuResult<usize> {
        self.stream
            .context()
            .mem_get_info()
            .map(|(free, _)| free)
            .map_err(failed("read how much memory is free"))
    }

    /// The module of a program, compiled and loaded in the first call.
    fn module(&self, program: &Program) -> GpuResult<Arc<CudaModule>> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(module) = loaded.get(program) {
            return Ok(Arc::clone(module));
        }
        let module = self.load(program)?;
        loaded.insert(program.clone(), Arc::clone(&module));
        Ok(module)
    }

    /// Loads PTX, or machine code if the driver is too old for NVRTC's PTX.
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

    /// The function of a launch, permitted to use its dynamic shared memory.
    fn function(&self, launch: &Launch<'_>) -> GpuResult<CudaFunction> {
        let function = self
            .module(launch.program)?
            .load_function(launch.kernel)
            .map_err(failed("find a kernel"))?;
        if launch.shared_bytes > DEFAULT_SHARED_BYTES {
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
        assert!(
            bytes.len() <= self.slice.len(),
            "no more bytes than were allocated"
        );
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

impl Gpu for Driver {
    fn name(&self) -> &str {
        &self.name
    }

    fn shared_bytes(&self) -> u32 {
        self.shared_bytes
    }

    fn allocate(&self, bytes: usize) -> GpuResult<Box<dyn Memory>> {
        // SAFETY: `alloc` leaves the bytes uninitialised. `DriverMemory` gives them to nobody as a Rust
        // value before they are copied to the host, where any byte is valid.
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
        // SAFETY: arguments that fit the kernel's parameters, and memory that outlives the kernel, are the
        // promise of this function's caller. The references in `builder` live until `launch` returns, and
        // the driver copies the arguments before.
        unsafe { builder.launch(config) }
            .map(|_| ())
            .map_err(failed(launch.kernel))
    }
}

/// Checks that there is a driver and that it is new enough, and initialises it. A build that links CUDA
/// has a driver already.
fn require_driver() -> GpuResult<()> {
    // SAFETY: `is_culib_present` opens and closes shared libraries, which runs their initialisers: it
    // looks for the driver by the names of NVIDIA's releases alone.
    #[cfg(not(feature = "cuda"))]
    if !unsafe { sys::is_culib_present() } {
        return Err(GpuError::NoLibrary {
            library: "libcuda",
            advice: "this machine has no NVIDIA driver; get it from \
                     https://www.nvidia.com/drivers",
        });
    }
    let mut version = 0;
    // SAFETY: `cuDriverGetVersion` writes an int to its argument, here a local.
    let known = unsafe { sys::cuDriverGetVersion(&mut version) }.result();
    if known.is_ok() && version < OLDEST_DRIVER {
        return Err(too_old(&version_text(OLDEST_DRIVER)));
    }
    result::init().map_err(|error| GpuError::NoGpu {
        cause: error.to_string(),
    })
}

/// The error for a driver that is too old, with the version found.
fn too_old(needed: &str) -> GpuError {
    let mut version = 0;
    // SAFETY: `cuDriverGetVersion` writes an int to its argument, here a local.
    let _ = unsafe { sys::cuDriverGetVersion(&mut version) };
    GpuError::DriverTooOld {
        found: version_text(version),
        needed: needed.to_owned(),
    }
}

/// `13.0` for 13000.
fn version_text(version: i32) -> String {
    format!("{}.{}", version / 1000, version % 1000 / 10)
}

fn image(program: &Program, target: Target) -> GpuResult<Ptx> {
    Ok(match compile(program, target)? {
        Image::Ptx(text) => Ptx::from_src(text),
        Image::Cubin(bytes) => Ptx::from_binary(bytes),
    })
}

/// Whether the driver refused PTX because NVRTC is newer, so that machine code may work.
fn is_newer_than_driver(error: DriverError) -> bool {
    matches!(
        error.0,
        sys::CUresult::CUDA_ERROR_UNSUPPORTED_PTX_VERSION
            | sys::CUresult::CUDA_ERROR_INVALID_PTX
            | sys::CUresult::CUDA_ERROR_JIT_COMPILER_NOT_FOUND
    )
}

/// Makes an error of the driver one of ours, with what was being done.
fn failed(action: &str) -> impl FnOnce(DriverError) -> GpuError {
    let action = action.to_owned();
    move |error| GpuError::Failed {
        action,
        cause: error.to_string(),
    }
}
