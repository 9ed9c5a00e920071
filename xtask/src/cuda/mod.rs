//! Sets up the CUDA compiler and libraries from NVIDIA's packages on PyPI, for building candle's CUDA
//! backend and compiling our kernels without an installed toolkit.
//!
//! The packages are unpacked into `target/cuda-toolkit/`, without Python. Linux only, because there
//! are no such packages for other systems.

pub mod bundle;
mod download;
mod index;
#[cfg(test)]
mod served;
pub mod stand_in;
mod stub;
mod unpack;
mod wheels;

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, bail};

use index::Index;
pub use wheels::RELEASE;
use wheels::{Platform, files};

/// Compute capability of the H100 and H200, for builds on a machine without a GPU. CUDA_COMPUTE_CAP
/// overrides it.
const COMPUTE_CAPABILITY: &str = "90";

/// Largest number of `nvcc` processes that candle's build script may start at once; each needs up
/// to a gigabyte. Without a limit it starts half as many as there are processors, so that on two
/// processors the build takes twice as long.
const MOST_COMPILERS: usize = 8;

/// A file that is written last, so that a folder without it is incomplete.
const STAMP: &str = "uard-toolkit.txt";

/// The version of the layout of the unpacked files. If it changes, existing folders are replaced.
const ARRANGEMENT: &str = "arrangement 1";

/// The part of the toolkit to set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// NVRTC, which compiles our own kernels while a program runs.
    Nvrtc,
    /// The compiler and libraries that candle's CUDA backend is built with, including NVRTC.
    Whole,
}

impl Part {
    fn folder(self, root: &Path) -> PathBuf {
        toolkit_folder(root).join(match self {
            Self::Nvrtc => "nvrtc",
            Self::Whole => "cuda",
        })
    }

    fn stamp(self, platform: Platform) -> String {
        let files = files(self, platform).into_iter();
        let lines = files.map(|file| format!("{}  {}\n", file.sha256, file.name));
        format!("{ARRANGEMENT}\n{}", lines.collect::<String>())
    }
}

fn toolkit_folder(root: &Path) -> PathBuf {
    root.join("target/cuda-toolkit")
}

/// Whether a toolkit can be set up on this system; if not, the reason.
pub fn supported() -> Result<(), &'static str> {
    Platform::this()
        .map(drop)
        .ok_or("NVIDIA's packages are for Linux with glibc on x86_64 and aarch64")
}

/// The folder of a part, if it is set up with the pinned versions.
pub fn found(root: &Path, part: Part) -> Option<PathBuf> {
    let home = part.folder(root);
    let stamp = fs::read_to_string(home.join(STAMP)).ok()?;
    (stamp == part.stamp(Platform::this()?)).then_some(home)
}

/// Sets a part up unless it has been set up; returns its folder, the value for `CUDA_HOME`.
///
/// # Errors
/// On systems other than Linux, without a network, without a C compiler, and on a full disk.
pub fn set_up(root: &Path, part: Part) -> anyhow::Result<PathBuf> {
    let Some(platform) = Platform::this() else {
        bail!("NVIDIA's packages are for Linux with glibc on x86_64 and aarch64");
    };
    let folder = toolkit_folder(root);
    let downloads = folder.join("wheels");
    fs::create_dir_all(&downloads).with_context(|| format!("making {}", downloads.display()))?;
    let lock = fs::File::create(folder.join("lock")).context("making the lock of the toolkit")?;
    lock.lock()
        .context("waiting for another setup of the toolkit")?;
    if let Some(home) = found(root, part) {
        return Ok(home);
    }
    let begun = Instant::now();
    let index = Index::from_environment()?;
    let files: Vec<PathBuf> = files(part, platform)
        .iter()
        .map(|file| download::fetch(&index, file, &downloads))
        .collect::<anyhow::Result<_>>()?;
    let home = part.folder(root);
    arrange(&files, part, &home, &part.stamp(platform))?;
    for file in files {
        fs::remove_file(&file).with_context(|| format!("removing {}", file.display()))?;
    }
    println!(
        "{} is set up, in {:.0} s",
        home.display(),
        begun.elapsed().as_secs_f64()
    );
    Ok(home)
}

/// Unpacks into a folder beside `home` and renames it, so that `home` is always complete.
fn arrange(files: &[PathBuf], part: Part, home: &Path, stamp: &str) -> anyhow::Result<()> {
    let new = home.with_extension("new");
    for old in [&new, home] {
        if old.exists() {
            fs::remove_dir_all(old).with_context(|| format!("removing {}", old.display()))?;
        }
    }
    for file in files {
        println!(
            "unpacking {}",
            file.file_name().unwrap_or_default().display()
        );
        unpack::unpack(file, &new)?;
    }
    unpack::name_for_linkers(&new.join("lib"))?;
    if part == Part::Whole {
        unpack::link("lib", &new.join("lib64"))?;
        stub::write(&new)?;
    }
    fs::write(new.join(STAMP), stamp).with_context(|| format!("writing {}", new.display()))?;
    fs::rename(&new, home).with_context(|| format!("naming {}", home.display()))
}

/// The environment variables with which cargo and `uard` use the toolkit in `home`.
///
/// # Errors
/// When its path contains the separator of `PATH`.
pub fn environment(home: &Path) -> anyhow::Result<Vec<(&'static str, OsString)>> {
    let compiler = home.join("bin");
    let mut variables = vec![
        ("CUDA_HOME", home.into()),
        ("NVCC", compiler.join("nvcc").into()),
        ("PATH", first_on("PATH", compiler)?),
        (
            "LD_LIBRARY_PATH",
            first_on("LD_LIBRARY_PATH", home.join("lib"))?,
        ),
    ];
    if env::var_os("CUDAFORGE_THREADS").is_none() {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let compilers = processors.min(MOST_COMPILERS).to_string();
        variables.push(("CUDAFORGE_THREADS", compilers.into()));
    }
    if env::var_os("CUDA_COMPUTE_CAP").is_none() && !crate::backend::lists_a_gpu() {
        variables.push(("CUDA_COMPUTE_CAP", COMPUTE_CAPABILITY.into()));
    }
    Ok(variables)
}

/// The value of a list variable such as `PATH` with this folder put first.
pub fn first_on(variable: &str, folder: PathBuf) -> anyhow::Result<OsString> {
    let before = env::var_os(variable).unwrap_or_default();
    let kept = env::split_paths(&before).filter(|folder| !folder.as_os_str().is_empty());
    env::join_paths(std::iter::once(folder).chain(kept))
        .with_context(|| format!("putting a folder of CUDA on {variable}"))
}

/// `cargo xtask cuda-toolkit`: sets a part up and prints how to use it without `cargo xtask`.
///
/// # Errors
/// As [`set_up`].
pub fn run(root: &Path, part: Part) -> anyhow::Result<ExitCode> {
    let home = set_up(root, part)?;
    println!("\n`cargo xtask` uses it by itself. For cargo started by hand:\n");
    match part {
        Part::Nvrtc => println!(
            "export LD_LIBRARY_PATH={}:$LD_LIBRARY_PATH",
            home.join("lib").display()
        ),
        Part::Whole => {
            for (name, value) in environment(&home)? {
                let value = value.to_string_lossy();
                match value.split_once(':') {
                    Some((first, _)) => println!("export {name}={first}:${name}"),
                    None => println!("export {name}={value}"),
                }
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_toolkit_is_found_only_with_the_stamp_of_the_pinned_versions() {
        let Some(platform) = Platform::this() else {
            return;
        };
        let root = tempfile::tempdir().unwrap();
        let home = Part::Nvrtc.folder(root.path());
        fs::create_dir_all(&home).unwrap();
        assert_eq!(found(root.path(), Part::Nvrtc), None);
        fs::write(home.join(STAMP), Part::Whole.stamp(platform)).unwrap();
        assert_eq!(found(root.path(), Part::Nvrtc), None);
        fs::write(home.join(STAMP), Part::Nvrtc.stamp(platform)).unwrap();
        assert_eq!(found(root.path(), Part::Nvrtc), Some(home));
    }

    #[test]
    fn folders_of_an_interrupted_setup_are_replaced() {
        let root = tempfile::tempdir().unwrap();
        let home = root.path().join("nvrtc");
        for folder in ["nvrtc", "nvrtc.new/lib"] {
            fs::create_dir_all(root.path().join(folder)).unwrap();
        }
        fs::write(root.path().join("nvrtc.new/lib/libx.so.1"), "half").unwrap();
        let refused = arrange(&[], Part::Nvrtc, &home, "stamp");
        assert!(refused.is_err(), "no library was unpacked");
        assert!(!home.exists());
        assert!(!root.path().join("nvrtc.new/lib").exists());
    }
}
