//! Chooses the backend of candle that is built for a value of `--device`. Errors name what is missing.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::ValueEnum;

use crate::cuda::{self, Part};

/// The value of `--device`, by the names that `uard --device` takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DeviceChoice {
    Auto,
    Cpu,
    Cuda,
    Metal,
}

impl DeviceChoice {
    /// The choice of this name.
    ///
    /// # Errors
    /// For any other name.
    pub fn named(text: &str) -> Result<Self, String> {
        Self::from_str(text, false).map_err(|_| {
            format!("--device takes auto, cpu, cuda or metal, and `{text}` is none of them")
        })
    }
}

/// The backend of a build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Backend {
    Cpu,
    Cuda(Toolkit),
    Metal,
}

/// The CUDA compiler and libraries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Toolkit {
    /// Installed on this machine; holds the path of `nvcc`.
    Installed(PathBuf),
    /// Set up by `cargo xtask cuda-toolkit`; holds its folder, the value for `CUDA_HOME`.
    Ours(PathBuf),
}

impl Toolkit {
    /// The environment variables with which build scripts find the toolkit, and programs its
    /// libraries.
    ///
    /// # Errors
    /// When its path contains the separator of `PATH`.
    fn environment(&self) -> anyhow::Result<Vec<(&'static str, OsString)>> {
        match self {
            Self::Installed(compiler) => {
                let folder = compiler.parent().unwrap_or(Path::new("")).to_path_buf();
                Ok(vec![("PATH", cuda::first_on("PATH", folder)?)])
            }
            Self::Ours(home) => cuda::environment(home),
        }
    }
}

impl Backend {
    /// The feature of `uard-cli` that includes this backend.
    pub fn feature(&self) -> Option<&'static str> {
        match self {
            Self::Cpu => None,
            Self::Cuda(_) => Some("cuda"),
            Self::Metal => Some("metal"),
        }
    }

    /// The name of the backend's device.
    pub fn name(&self) -> &'static str {
        self.feature().unwrap_or("cpu")
    }

    /// The environment variables for cargo and the program that it starts.
    ///
    /// # Errors
    /// When a path contains the separator of `PATH`.
    pub fn environment(&self) -> anyhow::Result<Vec<(&'static str, OsString)>> {
        match self {
            Self::Cuda(toolkit) => toolkit.environment(),
            Self::Cpu | Self::Metal => Ok(Vec::new()),
        }
    }
}

/// The tools of this machine for building and running a GPU backend.
#[derive(Clone, Debug, Default)]
pub struct Tools {
    /// An installed toolkit, or ours.
    pub toolkit: Option<Toolkit>,
    /// Whether `nvidia-smi` lists a GPU.
    pub gpu: bool,
    /// Whether `CUDA_COMPUTE_CAP` names the GPU to compile for.
    pub compute_capability: bool,
    pub macos: bool,
}

impl Tools {
    /// Looks for `nvcc` in `NVCC`, `PATH`, `CUDA_HOME`, `CUDA_PATH`, then for a toolkit set up below
    /// `root`, and runs `nvidia-smi`.
    pub fn find(root: &Path) -> Self {
        let on_path = env::var_os("PATH")
            .map(|path| env::split_paths(&path).collect::<Vec<_>>())
            .unwrap_or_default();
        let toolkits = ["CUDA_HOME", "CUDA_PATH"]
            .into_iter()
            .filter_map(env::var_os)
            .map(|home| PathBuf::from(home).join("bin"));
        let folders: Vec<PathBuf> = on_path.into_iter().chain(toolkits).collect();
        Self {
            toolkit: env::var_os("NVCC")
                .map(PathBuf::from)
                .filter(|path| path.is_file())
                .or_else(|| first_compiler(&folders))
                .map(Toolkit::Installed)
                .or_else(|| cuda::found(root, Part::Whole).map(Toolkit::Ours)),
            gpu: lists_a_gpu(),
            compute_capability: env::var_os("CUDA_COMPUTE_CAP").is_some(),
            macos: cfg!(target_os = "macos"),
        }
    }
}

/// The backend to build for a choice, and the reason in one sentence.
///
/// # Errors
/// What is missing for the chosen backend, and how to get it.
pub fn choose(choice: DeviceChoice, tools: &Tools) -> Result<(Backend, String), String> {
    match choice {
        DeviceChoice::Cpu => Ok((Backend::Cpu, "chosen by --device".to_owned())),
        DeviceChoice::Cuda => cuda(tools).map(|backend| (backend, "chosen by --device".to_owned())),
        DeviceChoice::Metal if tools.macos => Ok((Backend::Metal, "chosen by --device".to_owned())),
        DeviceChoice::Metal => Err(
            "--device metal needs macOS, and this machine runs another system.\n\
             Use --device cpu, or --device cuda on a machine with an NVIDIA GPU."
                .to_owned(),
        ),
        DeviceChoice::Auto => Ok(automatic(tools)),
    }
}

fn automatic(tools: &Tools) -> (Backend, String) {
    if tools.macos {
        return (Backend::Metal, "this is macOS".to_owned());
    }
    match (cuda(tools), tools.gpu) {
        (Ok(backend), true) => (backend, "nvcc and an NVIDIA GPU were found".to_owned()),
        (_, true) => (
            Backend::Cpu,
            "there is an NVIDIA GPU, but no nvcc to build for it; \
             `--device cuda` says how to get it"
                .to_owned(),
        ),
        (_, false) => (Backend::Cpu, "nvidia-smi lists no GPU".to_owned()),
    }
}

fn cuda(tools: &Tools) -> Result<Backend, String> {
    let Some(toolkit) = &tools.toolkit else {
        return Err(
            "--device cuda needs the CUDA compiler `nvcc`, and it is neither on PATH, nor in \
             $CUDA_HOME/bin, nor in target/cuda-toolkit.\n\
             Get it: `cargo xtask cuda-toolkit` sets it up in target/cuda-toolkit (Linux, \
             0.7 GB to download). Or install the CUDA toolkit, version 12 or newer, from \
             https://developer.nvidia.com/cuda-downloads,\n\
             and set CUDA_HOME to its folder or put its bin folder on PATH. \
             Without it use --device cpu."
                .to_owned(),
        );
    };
    if !tools.gpu && !tools.compute_capability {
        return Err("--device cuda found nvcc, but `nvidia-smi` lists no GPU: \
             this machine has none, or its driver is not installed.\n\
             Get the driver from https://www.nvidia.com/drivers; to build for a GPU that \
             nvidia-smi does not show, set CUDA_COMPUTE_CAP (90 for an H100 or H200). \
             Without one use --device cpu."
            .to_owned());
    }
    Ok(Backend::Cuda(toolkit.clone()))
}

fn first_compiler(folders: &[PathBuf]) -> Option<PathBuf> {
    let name = if cfg!(windows) { "nvcc.exe" } else { "nvcc" };
    folders
        .iter()
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
}

/// Whether `nvidia-smi -L` lists a GPU. The command alone may exist without a driver.
pub fn lists_a_gpu() -> bool {
    Command::new("nvidia-smi")
        .arg("-L")
        .stderr(Stdio::null())
        .output()
        .is_ok_and(|output| output.status.success() && !output.stdout.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_compiler() -> Tools {
        Tools {
            toolkit: Some(Toolkit::Installed(PathBuf::from("/cuda/bin/nvcc"))),
            gpu: true,
            ..Tools::default()
        }
    }

    #[test]
    fn without_gpu_and_compiler_the_cpu_is_chosen_with_a_reason() {
        let (backend, reason) = choose(DeviceChoice::Auto, &Tools::default()).unwrap();
        assert_eq!(backend, Backend::Cpu);
        assert!(reason.contains("nvidia-smi"), "{reason}");
    }

    #[test]
    fn with_compiler_and_gpu_cuda_is_chosen() {
        let (backend, _) = choose(DeviceChoice::Auto, &with_compiler()).unwrap();
        assert_eq!(backend.feature(), Some("cuda"));
    }

    #[test]
    fn with_a_compiler_but_no_gpu_the_cpu_is_chosen() {
        let tools = Tools {
            gpu: false,
            ..with_compiler()
        };
        let (backend, _) = choose(DeviceChoice::Auto, &tools).unwrap();
        assert_eq!(backend, Backend::Cpu);
        let refusal = choose(DeviceChoice::Cuda, &tools).unwrap_err();
        assert!(refusal.contains("CUDA_COMPUTE_CAP"), "{refusal}");
    }

    #[test]
    fn with_a_gpu_but_no_compiler_the_missing_compiler_is_named() {
        let tools = Tools {
            gpu: true,
            ..Tools::default()
        };
        let (backend, reason) = choose(DeviceChoice::Auto, &tools).unwrap();
        assert_eq!(backend, Backend::Cpu);
        assert!(reason.contains("nvcc"), "{reason}");
        let refusal = choose(DeviceChoice::Cuda, &tools).unwrap_err();
        assert!(refusal.contains("cuda-downloads"), "{refusal}");
        assert!(refusal.contains("cargo xtask cuda-toolkit"), "{refusal}");
    }

    #[test]
    fn a_toolkit_that_was_set_up_has_its_own_environment() {
        let backend = Backend::Cuda(Toolkit::Ours("/repository/target/cuda-toolkit/cuda".into()));
        let variables = backend.environment().unwrap();
        let value = |name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.unwrap().1.to_str().unwrap().to_owned()
        };
        assert_eq!(value("CUDA_HOME"), "/repository/target/cuda-toolkit/cuda");
        assert!(value("PATH").starts_with("/repository/target/cuda-toolkit/cuda/bin:"));
        assert!(value("LD_LIBRARY_PATH").starts_with("/repository/target/cuda-toolkit/cuda/lib"));
        assert!(Backend::Cpu.environment().unwrap().is_empty());
    }

    #[test]
    fn metal_is_refused_outside_macos_and_chosen_on_it() {
        assert!(choose(DeviceChoice::Metal, &with_compiler()).is_err());
        let mac = Tools {
            macos: true,
            ..Tools::default()
        };
        let (backend, _) = choose(DeviceChoice::Auto, &mac).unwrap();
        assert_eq!(backend, Backend::Metal);
    }

    #[test]
    fn an_unknown_device_is_refused_by_name() {
        assert!(DeviceChoice::named("gpu").unwrap_err().contains("`gpu`"));
    }
}
