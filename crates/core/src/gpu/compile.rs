//! How does CUDA C++ become something that a GPU loads? By NVRTC, which needs no GPU.

use std::ffi::{CStr, CString, c_char};

use cudarc::nvrtc::{result, sys};

use super::{GpuError, GpuResult, Program};

/// What a program is compiled to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// PTX for a compute capability (80 is 8.0), which every later GPU's driver compiles on.
    Ptx(u32),
    /// Machine code of one compute capability, for drivers older than the compiler.
    Cubin(u32),
}

/// A compiled program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Image {
    /// Text that a driver compiles.
    Ptx(String),
    /// Machine code.
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
/// When NVRTC is not there, or the program does not compile.
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
    // SAFETY: the unit is alive, and cudarc passes the options as C strings.
    if let Err(error) = unsafe { result::compile_program(unit.0, &options) } {
        return Err(failed(format!("{error:?}\n{}", unit.log())));
    }
    match target {
        Target::Ptx(_) => unit.ptx().map(Image::Ptx),
        Target::Cubin(_) => unit.cubin().map(Image::Cubin),
    }
    .map_err(|error| failed(format!("{error:?}")))
}

/// Whether NVRTC can be loaded; a build that links CUDA has it.
///
/// # Errors
/// When it is not there, with how to get it.
pub fn require_nvrtc() -> GpuResult<()> {
    // SAFETY: opens and closes shared libraries by their usual names.
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

/// A program in NVRTC's hands, destroyed when dropped.
struct Unit(sys::nvrtcProgram);

impl Unit {
    fn new(text: &CStr, name: &CStr) -> Result<Self, result::NvrtcError> {
        result::create_program(text, Some(name)).map(Self)
    }

    fn log(&self) -> String {
        // SAFETY: the unit is alive.
        unsafe { result::get_program_log(self.0) }
            .map(|log| text_of(&log))
            .unwrap_or_default()
    }

    fn ptx(&self) -> Result<String, result::NvrtcError> {
        // SAFETY: the unit is alive and was compiled.
        unsafe { result::get_ptx(self.0) }.map(|ptx| text_of(&ptx))
    }

    fn cubin(&self) -> Result<Vec<u8>, result::NvrtcError> {
        let mut bytes = 0;
        // SAFETY: the unit is alive and was compiled; the size is written to a local.
        unsafe { sys::nvrtcGetCUBINSize(self.0, &mut bytes) }.result()?;
        let mut cubin = vec![0u8; bytes];
        // SAFETY: the buffer is as long as NVRTC asked for.
        unsafe { sys::nvrtcGetCUBIN(self.0, cubin.as_mut_ptr().cast()) }.result()?;
        Ok(cubin)
    }
}

impl Drop for Unit {
    fn drop(&mut self) {
        // SAFETY: created by NVRTC and destroyed once; a failure to destroy leaks it.
        let _ = unsafe { result::destroy_program(self.0) };
    }
}

/// Characters up to the terminating zero.
fn text_of(characters: &[c_char]) -> String {
    let bytes: Vec<u8> = characters
        .iter()
        .map(|&character| character as u8)
        .take_while(|&byte| byte != 0)
        .collect();
    String::from_utf8_lossy(&bytes).into_owned()
}
