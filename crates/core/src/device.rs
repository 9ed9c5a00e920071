//! Opens the device that the user chose, and says in a sentence why it is that one.

use std::str::FromStr;

use candle_core::Device;

use crate::{Error, Result};

/// The user's choice of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeviceChoice {
    /// The first of CUDA, Metal and the CPU that this build and machine can use.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// The first NVIDIA GPU.
    Cuda,
    /// Apple's GPU, through candle's backend only; unverified by this project.
    Metal,
}

impl FromStr for DeviceChoice {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda),
            "metal" => Ok(Self::Metal),
            _ => Err(Error::UnknownDevice {
                found: text.to_owned(),
            }),
        }
    }
}

/// A device, and the sentence that says why it was chosen.
#[derive(Debug, Clone)]
pub struct OpenedDevice {
    /// The device.
    pub device: Device,
    /// Why it was chosen, in words for the user.
    pub reason: String,
}

/// Opens the chosen device.
///
/// # Errors
/// When the choice is CUDA or Metal and it cannot be used. [`DeviceChoice::Auto`] falls back to the
/// CPU, and [`OpenedDevice::reason`] says so.
pub fn open(choice: DeviceChoice) -> Result<OpenedDevice> {
    match choice {
        DeviceChoice::Cpu => Ok(opened(Device::Cpu, "cpu, as requested")),
        DeviceChoice::Cuda => Ok(opened(open_cuda()?, "cuda, as requested")),
        DeviceChoice::Metal => Ok(opened(open_metal()?, "metal, as requested")),
        DeviceChoice::Auto => Ok(open_best()),
    }
}

fn open_best() -> OpenedDevice {
    if !cfg!(any(feature = "cuda", feature = "metal")) {
        return opened(Device::Cpu, "cpu: this build has neither cuda nor metal");
    }
    let cuda = match open_cuda() {
        Ok(device) => return opened(device, "cuda, the first that can be used"),
        Err(error) => error,
    };
    match open_metal() {
        Ok(device) => opened(device, "metal, the first that can be used"),
        Err(metal) => opened(Device::Cpu, &format!("cpu: {cuda}; {metal}")),
    }
}

fn opened(device: Device, reason: &str) -> OpenedDevice {
    OpenedDevice {
        device,
        reason: reason.to_owned(),
    }
}

fn open_cuda() -> Result<Device> {
    cuda_device().map_err(|cause| unavailable("cuda", cause))
}

#[cfg(feature = "cuda")]
fn cuda_device() -> std::result::Result<Device, String> {
    // Opened first for its errors, which name the cause better than candle's: no driver, no GPU, or
    // one that is too old.
    crate::gpu::Driver::open(0).map_err(|cause| cause.to_string())?;
    crate::gpu::tensors::open(0).map_err(|cause| cause.to_string())
}

#[cfg(not(feature = "cuda"))]
fn cuda_device() -> std::result::Result<Device, String> {
    Err(
        "this binary was built without it (`cargo xtask train --device cuda` builds with it; \
         `--features cuda`)"
            .to_owned(),
    )
}

fn open_metal() -> Result<Device> {
    if !cfg!(feature = "metal") {
        return Err(unavailable(
            "metal",
            "this binary was built without it (build with `--features metal` on macOS)".to_owned(),
        ));
    }
    Device::new_metal(0).map_err(|cause| unavailable("metal", cause.to_string()))
}

fn unavailable(device: &'static str, cause: String) -> Error {
    Error::DeviceUnavailable { device, cause }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_can_always_be_opened() {
        assert!(open(DeviceChoice::Cpu).unwrap().device.is_cpu());
    }

    #[test]
    #[cfg(not(any(feature = "cuda", feature = "metal")))]
    fn a_build_without_cuda_says_how_to_get_it() {
        let message = open(DeviceChoice::Cuda).unwrap_err().to_string();
        assert!(message.contains("--features cuda"), "{message}");
        assert!(
            open(DeviceChoice::Auto)
                .unwrap()
                .reason
                .starts_with("cpu: ")
        );
    }

    #[test]
    fn an_unknown_name_lists_the_known_ones() {
        let message = "gpu".parse::<DeviceChoice>().unwrap_err().to_string();
        assert_eq!(
            message,
            "unknown device `gpu`: expected auto, cpu, cuda or metal"
        );
    }
}
