//! Compiles CUDA C++ to PTX or machine code by NVRTC, which needs no GPU.

use std::ffi::{CStr, CString, c_char};

use cudarc::nvrtc::{result, sys};

use super::{GpuError, GpuResult, Program};

/// The format and compute capability that a program is compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// PTX for a compute capability (80 is 8.0). Drivers compile it to machine code for this capability
    /// or a later one.
    Ptx(u32),
    /// Machine code for one compute capability. Drivers that are too old for NVRTC's PTX load it.
    Cubin(u32),
}

/// A compiled program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Image {
    /// PTX text.
    Ptx(String),
    /// Machine code of a GPU.
    Cubin(Vec<u8>),
}

impl std::fmt::Display for Target {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ptx(capability) => write!(formatter, "compute_{capability}"),
            Self::Cubin(capability) => write!(formatter, "sm_{capability}"),
        }
    }
}

/// Compiles a program.
///
/// # Errors
/// When NVRTC cannot be loaded, or the program does not compile.
pub fn compile(program: &Program, target: Target) -> GpuResult<Image> {
    require_nvrtc()?;
    let failed = |log: String| GpuError::Compile {
        program: program.name,
        target: target.to_string(),
        log,
    };
    let text = CString::new(program.text()).map_err(|error| failed(error.to_string()))?;
    let name =
        CString::new(format!("{}.cu", program.name)).map_err(|error| failed(error.to_string()))?;
    let unit = Unit::new(&text, &name).map_err(|error| failed(format!("{error:?}")))?;
    let options = [
        format!("--gpu-architecture={target}"),
        "--std=c++17".to_owned(),
    ];
    // SAFETY: `compile_program` needs a program that is not destroyed: `unit` destroys it when dropped, at
    // the end of this function.
    if let Err(error) = unsafe { result::compile_program(unit.0, &options) } {
        return Err(failed(format!("{error:?}\n{}", unit.log())));
    }
    match target {
        Target::Ptx(_) => unit.ptx().map(Image::Ptx),
        Target::Cubin(_) => unit.cubin().map(Image::Cubin),
    }
    .map_err(|error| failed(format!("{error:?}")))
}

/// Checks that NVRTC can be loaded. A build that links CUDA has it already.
///
/// # Errors
/// When it cannot be loaded; the error says how to install it.
pub fn require_nvrtc() -> GpuResult<()> {
    // SAFETY: `is_culib_present` opens and closes shared libraries, which runs their initialisers: it
    // looks for NVRTC by the names of NVIDIA's releases alone.
    #[cfg(not(feature = "cuda"))]
    if !unsafe { sys::is_culib_present() } {
        return Err(GpuError::NoLibrary {
            library: "libnvrtc",
            advice: "install the CUDA toolkit 12 or newer, or run `cargo xtask cuda-toolkit \
                     --nvrtc-only`, and put its lib folder on LD_LIBRARY_PATH",
        });
    }
    Ok(())
}

/// A program of NVRTC, destroyed when dropped.
struct Unit(sys::nvrtcProgram);

impl Unit {
    fn new(text: &CStr, name: &CStr) -> Result<Self, result::NvrtcError> {
        result::create_program(text, Some(name)).map(Self)
    }

    fn log(&self) -> String {
        // SAFETY: the program is valid: only `drop` destroys it.
        unsafe { result::get_program_log(self.0) }
            .map(|log| from_c_string(&log))
            .unwrap_or_default()
    }

    fn ptx(&self) -> Result<String, result::NvrtcError> {
        // SAFETY: the program is valid: only `drop` destroys it. NVRTC returns an error if it was not
        // compiled.
        unsafe { result::get_ptx(self.0) }.map(|ptx| from_c_string(&ptx))
    }

    fn cubin(&self) -> Result<Vec<u8>, result::NvrtcError> {
        let mut bytes = 0;
        // SAFETY: the program is valid: only `drop` destroys it. The size is written to a local.
        unsafe { sys::nvrtcGetCUBINSize(self.0, &mut bytes) }.result()?;
        let mut cubin = vec![0u8; bytes];
        // SAFETY: the program is valid, as above, and the buffer has the size that NVRTC has just returned.
        unsafe { sys::nvrtcGetCUBIN(self.0, cubin.as_mut_ptr().cast()) }.result()?;
        Ok(cubin)
    }
}

impl Drop for Unit {
    fn drop(&mut self) {
        // SAFETY: `create_program` made the program, and it is destroyed here alone. If that fails, the
        // program is leaked.
        let _ = unsafe { result::destroy_program(self.0) };
    }
}

/// A C string as text, up to its terminating zero.
fn from_c_string(characters: &[c_char]) -> String {
    let bytes: Vec<u8> = characters
        .iter()
        .map(|&character| character as u8)
        .take_while(|&byte| byte != 0)
        .collect();
    String::from_utf8_lossy(&bytes).into_owned()
}
