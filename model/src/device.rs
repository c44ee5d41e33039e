//! Devices beside the CPU with its own operations: GPUs, in builds that have a backend for them, and the CPU with Burn's. All
//! code that depends on the features `cuda` and `wgpu` is in this crate, so that checking this crate with them checks it all.

use burn::tensor::Device;

/// Whether this build has Burn's CUDA backend.
pub const CUDA: bool = cfg!(feature = "cuda");
/// Whether this build has Burn's wgpu backend.
pub const WGPU: bool = cfg!(feature = "wgpu");

/// Why there is no such device.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Absent {
    /// The feature is off.
    #[error("this program was built without it")]
    NotBuilt,
    /// The number is too large.
    #[error("this machine has {found} such devices; they count from 0 and need NVIDIA's driver (see nvidia-smi)")]
    Number {
        /// How many there are.
        found: usize,
    },
    /// The driver's own words.
    #[error("{0}; `vulkaninfo --summary` lists what this machine has")]
    Refused(String),
}

/// The processor with nothing but Burn's own operations, for this process and from now on: what Lore's are held against.
pub fn composed() -> Device {
    crate::ops::host::compose();
    Device::flex()
}

/// An NVIDIA GPU, by its number from 0.
///
/// # Errors
/// A build without it, a number that is too large.
pub fn cuda(number: usize) -> Result<Device, Absent> {
    #[cfg(feature = "cuda")]
    {
        let found = Device::enumerate(burn::tensor::DeviceType::Cuda).len();
        if number < found { Ok(Device::cuda(number)) } else { Err(Absent::Number { found }) }
    }
    #[cfg(not(feature = "cuda"))]
    {
        let _ = number;
        Err(Absent::NotBuilt)
    }
}

/// A GPU through Vulkan, Metal or DirectX: the best there is, or by its number among those that are no part of the
/// processor. It is brought up once: a process chooses one.
///
/// # Errors
/// A build without it, a driver that refuses.
pub fn wgpu(number: Option<usize>) -> Result<Device, Absent> {
    #[cfg(feature = "wgpu")]
    {
        use burn::tensor::DeviceKind;
        static DEVICE: std::sync::OnceLock<Result<Device, Absent>> = std::sync::OnceLock::new();
        let kind = number.map_or(DeviceKind::DefaultDevice, DeviceKind::DiscreteGpu);
        let begin = || {
            let device = Device::wgpu_options().device_kind(kind).init();
            device.map_err(|error| Absent::Refused(error.to_string()))
        };
        DEVICE.get_or_init(begin).clone()
    }
    #[cfg(not(feature = "wgpu"))]
    {
        let _ = number;
        Err(Absent::NotBuilt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_without_a_backend_says_so() {
        if !CUDA {
            assert_eq!(cuda(0).err(), Some(Absent::NotBuilt));
        }
        if !WGPU {
            assert_eq!(wgpu(None).err(), Some(Absent::NotBuilt));
        }
    }
}
