//! Matrices as slices, where the tensor lives on the CPU backend.

use burn::backend::{BackendTypes, Flex};
use burn::tensor::{Device, Tensor, TensorData};
use std::sync::atomic::{AtomicBool, Ordering};

static COMPOSED: AtomicBool = AtomicBool::new(false);

/// From now on no matrix is found on the CPU: every operation of this process is composed of Burn's, as on a GPU.
pub(crate) fn compose() {
    COMPOSED.store(true, Ordering::Relaxed);
}

/// A CPU matrix, read in place.
pub struct HostMatrix {
    tensor: <Flex as BackendTypes>::FloatTensorPrimitive,
    /// Number of rows.
    pub rows: usize,
    /// Number of columns.
    pub columns: usize,
}

impl HostMatrix {
    /// The values of `tensor` when it is an `f32` matrix on the CPU; `None` on another device, and when operations are
    /// to be [composed](crate::device::composed).
    pub fn of(tensor: &Tensor<2>) -> Option<Self> {
        if COMPOSED.load(Ordering::Relaxed) {
            return None;
        }
        let [rows, columns] = tensor.dims();
        let primitive = tensor.clone().try_into_primitive::<Flex>().ok()?;
        if primitive.as_slice::<f32>().is_some() {
            return Some(Self { tensor: primitive, rows, columns });
        }
        let tensor = primitive.to_contiguous();
        tensor.as_slice::<f32>().is_some().then_some(Self { tensor, rows, columns })
    }

    /// Row-major values.
    pub fn values(&self) -> &[f32] {
        self.tensor.as_slice().expect("checked when made")
    }
}

/// Views of several tensors, or `None` when one is elsewhere.
pub fn host<const N: usize>(tensors: [&Tensor<2>; N]) -> Option<[HostMatrix; N]> {
    let views = tensors.map(HostMatrix::of);
    views.iter().all(Option::is_some).then(|| views.map(|view| view.expect("checked just before")))
}

/// A matrix made of `values`, without copying them on the CPU.
pub fn matrix(values: Vec<f32>, rows: usize, columns: usize, device: &Device) -> Tensor<2> {
    Tensor::from_data(TensorData::new(values, [rows, columns]), device)
}

/// The values of a matrix on any device.
pub fn values(tensor: &Tensor<2>) -> Vec<f32> {
    match HostMatrix::of(&tensor.clone().inner()) {
        Some(view) => view.values().to_vec(),
        None => tensor.clone().inner().into_data().convert::<f32>().try_into_vec().expect("converted to f32"),
    }
}

/// Changes a CPU matrix in place when nothing else holds it, and a copy of it otherwise; on another
/// device through a copy on the host.
pub fn update(tensor: Tensor<2>, change: impl FnOnce(&mut [f32])) -> Tensor<2> {
    let [rows, columns] = tensor.dims();
    let device = tensor.device();
    match tensor.clone().try_into_primitive::<Flex>() {
        Ok(primitive) => {
            drop(tensor);
            let mut contiguous = primitive.to_contiguous();
            // A whole buffer is shared with the argument; only its last holder writes in place.
            drop(primitive);
            change(contiguous.storage_mut::<f32>());
            Tensor::from_primitive::<Flex>(contiguous)
        }
        Err(_) => {
            let mut data = values(&tensor);
            change(&mut data);
            matrix(data, rows, columns, &device)
        }
    }
}
