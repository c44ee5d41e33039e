//! Which processor computes.

use std::fmt;
use std::str::FromStr;

use burn::tensor::Device;
use lore_model::device as devices;

use crate::error::Error;

/// A device as given to `--device`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeviceChoice {
    /// The processor.
    #[default]
    Cpu,
    /// The processor with Burn's own operations instead of Lore's, to measure what these are worth.
    CpuComposed,
    /// An NVIDIA GPU, by its number.
    Cuda(usize),
    /// A GPU through Vulkan, Metal or DirectX: the best there is, or by its number among those that are no part of the
    /// processor.
    Wgpu(Option<usize>),
}

/// The devices this program was built with, by the name `--device` takes.
pub fn compiled_in() -> Vec<&'static str> {
    let mut names = vec!["cpu", "cpu-composed"];
    if devices::CUDA {
        names.push("cuda");
    }
    if devices::WGPU {
        names.push("wgpu");
    }
    names
}

impl DeviceChoice {
    /// The device to put tensors on.
    ///
    /// # Errors
    /// A device that this program was built without, or this machine has not.
    pub fn device(self) -> Result<Device, Error> {
        let absent = |absent: devices::Absent| Error::Usage(format!("--device {self}: {absent}"));
        match self {
            Self::Cpu => Ok(Device::flex()),
            Self::CpuComposed => Ok(devices::composed()),
            Self::Cuda(number) => devices::cuda(number).map_err(absent),
            Self::Wgpu(number) => devices::wgpu(number).map_err(absent),
        }
    }
}

impl FromStr for DeviceChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, number) = match text.split_once(':') {
            Some((name, number)) => {
                let parsed = number.parse().map_err(|_| format!("`{number}` is not the number of a device"))?;
                (name, Some(parsed))
            }
            None => (text, None),
        };
        let choice = match (name, number) {
            ("cpu", None) => Self::Cpu,
            ("cpu-composed", None) => Self::CpuComposed,
            ("cpu" | "cpu-composed", Some(_)) => return Err(format!("`{name}` has no number")),
            ("cuda", number) => Self::Cuda(number.unwrap_or(0)),
            ("wgpu", number) => Self::Wgpu(number),
            _ => return Err("expected cpu, cpu-composed, cuda, cuda:N, wgpu or wgpu:N".into()),
        };
        if compiled_in().contains(&name) {
            Ok(choice)
        } else {
            Err(format!("this program was built without it; build with `cargo build --release --features {name}`"))
        }
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => out.write_str("cpu"),
            Self::CpuComposed => out.write_str("cpu-composed"),
            Self::Cuda(number) => write!(out, "cuda:{number}"),
            Self::Wgpu(None) => out.write_str("wgpu"),
            Self::Wgpu(Some(number)) => write!(out, "wgpu:{number}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_named_and_checked_against_the_build() {
        assert_eq!("cpu".parse(), Ok(DeviceChoice::Cpu));
        assert_eq!("cpu-composed".parse(), Ok(DeviceChoice::CpuComposed));
        assert!("cpu:1".parse::<DeviceChoice>().is_err());
        assert!("gpu".parse::<DeviceChoice>().is_err());
        assert!("cuda:x".parse::<DeviceChoice>().is_err());
        let cuda = "cuda:1".parse::<DeviceChoice>();
        if devices::CUDA {
            assert_eq!(cuda, Ok(DeviceChoice::Cuda(1)));
        } else {
            assert!(cuda.is_err_and(|message| message.contains("--features cuda")));
        }
    }
}
