//! Writes a stub of the driver library `libcuda.so`, for linking without an NVIDIA driver.
//!
//! NVIDIA's toolkit has such a library in `lib64/stubs`, its packages on PyPI do not. The stub defines
//! every function that `cuda.h` names, so that programs link; each returns an error that says that
//! the library is a stub.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};

use super::unpack::link;

/// `CUDA_ERROR_STUB_LIBRARY` of `cuda.h`.
const REFUSAL: i32 = 34;

/// Writes `lib/stubs/libcuda.so` below a toolkit, with the C compiler of this machine.
///
/// # Errors
/// When there is no C compiler, or it fails.
pub fn write(home: &Path) -> anyhow::Result<()> {
    let header = home.join("include/cuda.h");
    let text =
        fs::read_to_string(&header).with_context(|| format!("reading {}", header.display()))?;
    let folder = home.join("lib/stubs");
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let source = folder.join("libcuda.c");
    fs::write(&source, program(&names(&text)))
        .with_context(|| format!("writing {}", source.display()))?;
    let compiler = std::env::var_os("CC").unwrap_or_else(|| OsString::from("cc"));
    let status = Command::new(&compiler)
        .args(["-shared", "-fPIC", "-Wl,-soname,libcuda.so.1", "-o"])
        .arg(folder.join("libcuda.so"))
        .arg(&source)
        .status()
        .with_context(|| {
            format!(
                "starting the C compiler {}, which the linker of Rust needs as well: install gcc \
                 or clang, or name one in CC",
                compiler.display()
            )
        })?;
    ensure!(
        status.success(),
        "the C compiler refused {}",
        source.display()
    );
    // The dynamic linker looks for this name.
    link("libcuda.so", &folder.join("libcuda.so.1"))
}

/// Every word that may be a function of the driver: functions begin with `cu`, types with `CU`.
fn names(header: &str) -> BTreeSet<&str> {
    header
        .split(|mark: char| !mark.is_ascii_alphanumeric() && mark != '_')
        .filter(|word| {
            word.strip_prefix("cu")
                .is_some_and(|rest| rest.starts_with(|mark: char| mark.is_ascii_uppercase()))
        })
        .collect()
}

fn program(names: &BTreeSet<&str>) -> String {
    let mut text = String::new();
    for name in names {
        // Writing to a string cannot fail.
        writeln!(text, "int {name}(void) {{ return {REFUSAL}; }}").ok();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_and_their_versions_are_found_and_types_are_not() {
        let header = "#define cuMemAlloc cuMemAlloc_v2\nCUresult CUDAAPI cuInit(unsigned int);\n\
                      /* see ::cuInit */ typedef struct CUctx_st *CUcontext; current cubin";
        let found: Vec<&str> = names(header).into_iter().collect();
        assert_eq!(found, ["cuInit", "cuMemAlloc", "cuMemAlloc_v2"]);
        assert!(program(&names("cuInit")).contains("int cuInit(void) { return 34; }"));
    }
}
