//! The pinned packages of PyPI that hold the CUDA toolkit, with versions, sizes and hashes.
//!
//! They are pinned so that later builds use the same files. All belong to one release of the toolkit:
//! 13.0, update 2, the newest that drivers of the series 580 support.

/// The release of the toolkit in the wheels below, as `nvcc --version` prints it.
pub const RELEASE: &str = "13.0";

/// A package with its file for each supported processor.
pub struct Wheel {
    /// Name of the package.
    pub package: &'static str,
    x86_64: File,
    aarch64: File,
}

/// A file of a package.
#[derive(Debug)]
pub struct File {
    pub name: &'static str,
    pub bytes: u64,
    pub sha256: &'static str,
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
        if !cfg!(all(target_os = "linux", target_env = "gnu")) {
            return None;
        }
        match std::env::consts::ARCH {
            "x86_64" => Some(Self::X86_64),
            "aarch64" => Some(Self::Aarch64),
            _ => None,
        }
    }
}

impl Wheel {
    /// The file for a processor.
    pub fn file(&self, platform: Platform) -> &File {
        match platform {
            Platform::X86_64 => &self.x86_64,
            Platform::Aarch64 => &self.aarch64,
        }
    }
}

/// The package of NVRTC, which compiles our own kernels while a program runs.
pub const NVRTC: &[Wheel] = WHEELS.split_at(1).0;

/// All packages that candle's CUDA backend is built and linked with. NVRTC comes first.
pub const WHEELS: &[Wheel] = &[
    Wheel {
        package: "nvidia-cuda-nvrtc",
        x86_64: File {
            name: "nvidia_cuda_nvrtc-13.0.88-py3-none-manylinux2010_x86_64.manylinux_2_12_x86_64.whl",
            bytes: 90_215_200,
            sha256: "ad9b6d2ead2435f11cbb6868809d2adeeee302e9bb94bcf0539c7a40d80e8575",
        },
        aarch64: File {
            name: "nvidia_cuda_nvrtc-13.0.88-py3-none-manylinux2014_aarch64.manylinux_2_17_aarch64.whl",
            bytes: 43_015_449,
            sha256: "d27f20a0ca67a4bb34268a5e951033496c5b74870b868bacd046b1b8e0c3267b",
        },
    },
    Wheel {
        package: "nvidia-cuda-nvcc",
        x86_64: File {
            name: "nvidia_cuda_nvcc-13.0.88-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
            bytes: 37_384_532,
            sha256: "56fe502eb77625a12f25172caa3cdddb4e4c8ba2c8c17dba44b164761b380f03",
        },
        aarch64: File {
            name: "nvidia_cuda_nvcc-13.0.88-py3-none-manylinux2014_aarch64.manylinux_2_17_aarch64.whl",
            bytes: 32_455_430,
            sha256: "c7ff28f86a24effdc6c034fa15230c549a273e4771b10a7fec14996f8cf3307f",
        },
    },
    Wheel {
        package: "nvidia-nvvm",
        x86_64: File {
            name: "nvidia_nvvm-13.0.88-py3-none-manylinux2010_x86_64.manylinux_2_12_x86_64.whl",
            bytes: 61_601_415,
            sha256: "c5f41ffeb6466944a026dfa5317d7d85355c119bbec279205d22f1869d1054e0",
        },
        aarch64: File {
            name: "nvidia_nvvm-13.0.88-py3-none-manylinux2014_aarch64.manylinux_2_17_aarch64.whl",
            bytes: 59_234_185,
            sha256: "c4376a291d72d22a315d9d2f69bdae8f8cd83a627f75bad395cee49a0fe65dc1",
        },
    },
    Wheel {
        package: "nvidia-cuda-crt",
        x86_64: File {
            name: "nvidia_cuda_crt-13.0.88-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
            bytes: 134_086,
            sha256: "2c8043c7c9e02492716426e9919fc78d2c5b3b2a7a768a88e952676b08aa55a4",
        },
        aarch64: File {
            name: "nvidia_cuda_crt-13.0.88-py3-none-manylinux2014_aarch64.manylinux_2_17_aarch64.whl",
            bytes: 134_086,
            sha256: "ee2ea2a97073e02ee62bb27841f437332be2c248e3eac013df07997ada39c003",
        },
    },
    Wheel {
        package: "nvidia-cuda-cccl",
        x86_64: File {
            name: "nvidia_cuda_cccl-13.0.85-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
            bytes: 3_120_526,
            sha256: "e0da7ad981f3a8aff08241b5bfc1af868742a63e2762f53a5171c492ef242649",
        },
        aarch64: File {
            name: "nvidia_cuda_cccl-13.0.85-py3-none-manylinux2014_aarch64.manylinux_2_17_aarch64.whl",
            bytes: 3_120_528,
            sha256: "6f0203e29fed809ee2b7fe9b1344df66ecab990c37d6a2e0e189b26d6c97ed7c",
        },
    },
    Wheel {
        package: "nvidia-cuda-runtime",
        x86_64: File {
            name: "nvidia_cuda_runtime-13.0.96-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
            bytes: 2_243_632,
            sha256: "7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548",
        },
        aarch64: File {
            name: "nvidia_cuda_runtime-13.0.96-py3-none-manylinux2014_aarch64.manylinux_2_17_aarch64.whl",
            bytes: 2_261_060,
            sha256: "ef9bcbe90493a2b9d810e43d249adb3d02e98dd30200d86607d8d02687c43f55",
        },
    },
    Wheel {
        package: "nvidia-curand",
        x86_64: File {
            name: "nvidia_curand-10.4.0.35-py3-none-manylinux_2_27_x86_64.whl",
            bytes: 59_544_258,
            sha256: "1aee33a5da6e1db083fe2b90082def8915f30f3248d5896bcec36a579d941bfc",
        },
        aarch64: File {
            name: "nvidia_curand-10.4.0.35-py3-none-manylinux_2_27_aarch64.whl",
            bytes: 61_962_106,
            sha256: "133df5a7509c3e292aaa2b477afd0194f06ce4ea24d714d616ff36439cee349a",
        },
    },
    Wheel {
        package: "nvidia-cublas",
        x86_64: File {
            name: "nvidia_cublas-13.0.2.14-py3-none-manylinux_2_27_x86_64.whl",
            bytes: 420_882_912,
            sha256: "0cf238ffdbe46c00cb9aa98e7bca745c223a5ca5a53e686ac8b3e5a08fe80d6c",
        },
        aarch64: File {
            name: "nvidia_cublas-13.0.2.14-py3-none-manylinux_2_27_aarch64.whl",
            bytes: 540_253_486,
            sha256: "17165c296de689662b96e0ef4f21dfbff3092ff00d0e3e59470f5acb08c0f87d",
        },
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pinned_file_belongs_to_its_package_and_processor() {
        for wheel in WHEELS {
            for (platform, arch) in [
                (Platform::X86_64, "x86_64.whl"),
                (Platform::Aarch64, "aarch64.whl"),
            ] {
                let file = wheel.file(platform);
                assert!(file.name.starts_with(&wheel.package.replace('-', "_")));
                assert!(file.name.ends_with(arch), "{}", file.name);
                assert_eq!(file.sha256.len(), 64, "{}", file.name);
            }
        }
        assert_eq!(NVRTC[0].package, "nvidia-cuda-nvrtc");
    }
}
