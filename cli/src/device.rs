//! Which processor computes.

use std::fmt;
use std::str::FromStr;

use burn::tensor::Device;

use crate::error::Error;

/// A device as given to `--device`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeviceChoice {
    /// The processor.
    #[default]
    Cpu,
    /// An NVIDIA GPU, by its number.
    Cuda(usize),
    /// A GPU through Vulkan, Metal or DirectX: the best there is, or by its number among those that are no part of the
    /// processor.
    Wgpu(Option<usize>),
}

/// The devices this program was built with, by the name `--device` takes.
pub fn compiled_in() -> Vec<&'static str> {
    let mut names = vec!["cpu"];
    if cfg!(feature = "cuda") {
        names.push("cuda");
    }
    if cfg!(feature = "wgpu") {
        names.push("wgpu");
    }
    names
}

impl DeviceChoice {
    /// The device to put tensors on.
    ///
    /// # Errors
    /// A device that this program was built without.
    pub fn device(self) -> Result<Device, Error> {
        match self {
            Self::Cpu => Ok(Device::flex()),
            #[cfg(feature = "cuda")]
            Self::Cuda(number) => {
                let found = Device::enumerate(burn::tensor::DeviceType::Cuda).len();
                if number < found {
                    return Ok(Device::cuda(number));
                }
                Err(Error::Usage(format!(
                    "--device {self}: this machine has {found} such devices; they count from 0 and need NVIDIA's driver (see \
                     nvidia-smi)"
                )))
            }
            #[cfg(feature = "wgpu")]
            Self::Wgpu(number) => wgpu(number).map_err(|problem| {
                Error::Usage(format!("--device {self}: {problem}; `vulkaninfo --summary` lists what this machine has"))
            }),
            #[allow(unreachable_patterns)]
            _ => Err(Error::Usage(format!("--device {self}: this program was built without it"))),
        }
    }
}

/// The GPU, brought up once: a process chooses one.
#[cfg(feature = "wgpu")]
fn wgpu(number: Option<usize>) -> Result<Device, String> {
    use burn::tensor::DeviceKind;
    static DEVICE: std::sync::OnceLock<Result<Device, String>> = std::sync::OnceLock::new();
    let kind = number.map_or(DeviceKind::DefaultDevice, DeviceKind::DiscreteGpu);
    let begin = || Device::wgpu_options().device_kind(kind).init().map_err(|error| error.to_string());
    DEVICE.get_or_init(begin).clone()
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
            ("cpu", Some(_)) => return Err("`cpu` has no number".into()),
            ("cuda", number) => Self::Cuda(number.unwrap_or(0)),
            ("wgpu", number) => Self::Wgpu(number),
            _ => return Err("expected cpu, cuda, cuda:N, wgpu or wgpu:N".into()),
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
        assert!("cpu:1".parse::<DeviceChoice>().is_err());
        assert!("gpu".parse::<DeviceChoice>().is_err());
        assert!("cuda:x".parse::<DeviceChoice>().is_err());
        let cuda = "cuda:1".parse::<DeviceChoice>();
        if cfg!(feature = "cuda") {
            assert_eq!(cuda, Ok(DeviceChoice::Cuda(1)));
        } else {
            assert!(cuda.is_err_and(|message| message.contains("--features cuda")));
        }
    }
}
