//! The pinned packages of PyPI that hold the CUDA toolkit, with versions, sizes and hashes.
//!
//! They are pinned so that later builds use the same files. All belong to one release of the toolkit:
//! 13.0, update 2, the newest that drivers of the series 580 support.

use super::Part;

/// The release of the toolkit in the wheels, as `nvcc --version` prints it.
pub const RELEASE: &str = "13.0";

/// The package of NVRTC, which compiles our own kernels while a program runs.
const NVRTC: &str = "nvidia-cuda-nvrtc";

/// A line for each file: package, processor, bytes, SHA-256 and name.
const WHEELS: &str = include_str!("wheels.txt");

/// A file of a package.
#[derive(Clone, Copy, Debug)]
pub struct File {
    pub package: &'static str,
    pub platform: Platform,
    pub bytes: u64,
    pub sha256: &'static str,
    pub name: &'static str,
}

/// A processor that NVIDIA's Linux packages run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Platform {
    X86_64,
    Aarch64,
}

impl Platform {
    /// The platform that this program was built for; `None` unless it is Linux with glibc.
    pub fn this() -> Option<Self> {
        match cfg!(all(target_os = "linux", target_env = "gnu")) {
            true => Self::named(std::env::consts::ARCH),
            false => None,
        }
    }

    fn named(name: &str) -> Option<Self> {
        match name {
            "x86_64" => Some(Self::X86_64),
            "aarch64" => Some(Self::Aarch64),
            _ => None,
        }
    }
}

/// The files of a part of the toolkit for a processor.
pub fn files(part: Part, platform: Platform) -> Vec<File> {
    pinned()
        .filter(|file| file.platform == platform)
        .filter(|file| part == Part::Whole || file.package == NVRTC)
        .collect()
}

fn pinned() -> impl Iterator<Item = File> {
    WHEELS
        .lines()
        .map(|line| parsed(line).expect("a line of wheels.txt has five valid words"))
}

fn parsed(line: &'static str) -> Option<File> {
    let words: Vec<&str> = line.split(' ').collect();
    let [package, platform, bytes, sha256, name] = words[..] else {
        return None;
    };
    Some(File {
        package,
        platform: Platform::named(platform)?,
        bytes: bytes.parse().ok()?,
        sha256,
        name,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pinned_file_belongs_to_its_package_and_processor() {
        for file in pinned() {
            let arch = match file.platform {
                Platform::X86_64 => "x86_64.whl",
                Platform::Aarch64 => "aarch64.whl",
            };
            assert!(file.name.starts_with(&file.package.replace('-', "_")));
            assert!(file.name.ends_with(arch), "{}", file.name);
            assert_eq!(file.sha256.len(), 64, "{}", file.name);
        }
    }

    #[test]
    fn both_processors_have_the_same_packages_and_nvrtc_is_one_file() {
        let packages = |part, platform| -> Vec<&str> {
            let files = files(part, platform).into_iter();
            files.map(|file| file.package).collect()
        };
        let whole = packages(Part::Whole, Platform::X86_64);
        assert_eq!(whole.len(), 8);
        assert_eq!(whole, packages(Part::Whole, Platform::Aarch64));
        for platform in [Platform::X86_64, Platform::Aarch64] {
            assert_eq!(packages(Part::Nvrtc, platform), [NVRTC]);
        }
    }
}
