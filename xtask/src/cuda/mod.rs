//! How does a machine without CUDA get what builds candle's backend and compiles our kernels?
//!
//! From NVIDIA's packages on PyPI, unpacked into `target/cuda-toolkit/`, without Python. Linux
//! only: there are no such packages for other systems.

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
use wheels::{NVRTC, Platform, WHEELS, Wheel};

/// Of the H100 and the H200. Set CUDA_COMPUTE_CAP for another GPU where none is in the machine that builds.
const COMPUTE_CAPABILITY: &str = "90";

/// How many `nvcc` candle's build script may start at once: half the processors without a word,
/// which doubles the build where there are two. Each needs up to a gigabyte.
const MOST_COMPILERS: usize = 8;

/// Written last, so that a folder without it is not yet whole.
const STAMP: &str = "uard-toolkit.txt";

/// Changes when the same wheels are arranged in another way.
const ARRANGEMENT: &str = "arrangement 1";

/// What can be set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The library that compiles our own kernels while a program runs.
    Nvrtc,
    /// Compiler and libraries that candle's backend is built with, NVRTC among them.
    Whole,
}

impl Part {
    fn folder(self, root: &Path) -> PathBuf {
        shelf(root).join(match self {
            Self::Nvrtc => "nvrtc",
            Self::Whole => "cuda",
        })
    }

    fn wheels(self) -> &'static [Wheel] {
        match self {
            Self::Nvrtc => NVRTC,
            Self::Whole => WHEELS,
        }
    }

    fn stamp(self, platform: Platform) -> String {
        let files = self.wheels().iter().map(|wheel| wheel.file(platform));
        let lines = files.map(|file| format!("{}  {}\n", file.sha256, file.name));
        format!("{ARRANGEMENT}\n{}", lines.collect::<String>())
    }
}

fn shelf(root: &Path) -> PathBuf {
    root.join("target/cuda-toolkit")
}

/// Whether this machine's system can have a toolkit of ours; if not, why.
pub fn supported() -> Result<(), &'static str> {
    Platform::this()
        .map(drop)
        .ok_or("NVIDIA's packages are for Linux with glibc on x86_64 and aarch64")
}

/// Where the part is set up, if it is, with the versions that are pinned today.
pub fn found(root: &Path, part: Part) -> Option<PathBuf> {
    let home = part.folder(root);
    let stamp = fs::read_to_string(home.join(STAMP)).ok()?;
    (stamp == part.stamp(Platform::this()?)).then_some(home)
}

/// Sets the part up where it is not; returns what `CUDA_HOME` is for an installed toolkit.
///
/// # Errors
/// On other systems than Linux, without a network, without a C compiler, and on a full disk.
pub fn set_up(root: &Path, part: Part) -> anyhow::Result<PathBuf> {
    let Some(platform) = Platform::this() else {
        bail!("NVIDIA's packages are for Linux with glibc on x86_64 and aarch64");
    };
    let shelf = shelf(root);
    let downloads = shelf.join("wheels");
    fs::create_dir_all(&downloads).with_context(|| format!("making {}", downloads.display()))?;
    let lock = fs::File::create(shelf.join("lock")).context("making the lock of the toolkit")?;
    lock.lock()
        .context("waiting for another setup of the toolkit")?;
    if let Some(home) = found(root, part) {
        return Ok(home);
    }
    let begun = Instant::now();
    let index = Index::of_this_machine()?;
    let files: Vec<PathBuf> = part
        .wheels()
        .iter()
        .map(|wheel| download::fetch(&index, wheel.package, wheel.file(platform), &downloads))
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

/// Unpacks beside `home` and renames, so that what is there is always whole.
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

/// What makes cargo and `uard` use a toolkit of ours.
///
/// # Errors
/// When its path cannot stand on `PATH`.
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

/// The value of a variable of folders with this one before the others.
pub fn first_on(variable: &str, folder: PathBuf) -> anyhow::Result<OsString> {
    let before = env::var_os(variable).unwrap_or_default();
    let kept = env::split_paths(&before).filter(|folder| !folder.as_os_str().is_empty());
    env::join_paths(std::iter::once(folder).chain(kept))
        .with_context(|| format!("putting a folder of CUDA on {variable}"))
}

/// `cargo xtask cuda-toolkit`: sets a part up and says how to use it by hand.
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
    fn a_toolkit_counts_only_with_the_stamp_of_todays_pins() {
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
    fn what_an_interruption_left_is_replaced() {
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
