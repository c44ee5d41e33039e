//! Root-mean-square normalisation of rows.

use super::host::{host, matrix};
use super::{Function, apply};
use crate::cpu;
use burn::tensor::Tensor;

#[derive(Clone, Debug)]
struct RmsNorm {
    eps: f64,
}

/// `x / sqrt(mean(x²) + eps) · weight` for `x: [rows, width]`, `weight: [1, width]`, in `f32`.
pub fn rms_norm(x: Tensor<2>, weight: Tensor<2>, eps: f64) -> Tensor<2> {
    apply(RmsNorm { eps }, [x, weight])
}

impl Function<2> for RmsNorm {
    fn forward(&self, [x, weight]: [Tensor<2>; 2], wanted: [bool; 2]) -> (Tensor<2>, Vec<Tensor<2>>) {
        let [rows, columns] = x.dims();
        let out = match host([&x, &weight]) {
            Some([x_host, w_host]) => {
                let out = cpu::rms_norm::forward(x_host.values(), w_host.values(), self.eps as f32);
                matrix(out, rows, columns, &x.device())
            }
            None => x.clone() * inverse_rms(x.clone(), self.eps) * weight.clone(),
        };
        let saved = if wanted.contains(&true) { vec![x, weight] } else { Vec::new() };
        (out, saved)
    }

    fn backward(&self, saved: Vec<Tensor<2>>, dy: Tensor<2>, wanted: [bool; 2]) -> [Option<Tensor<2>>; 2] {
        let [x, weight]: [Tensor<2>; 2] = saved.try_into().expect("forward saved two tensors");
        let [rows, columns] = x.dims();
        if let Some([x_host, w_host, dy_host]) = host([&x, &weight, &dy]) {
            let (dx, dw) =
                cpu::rms_norm::backward(x_host.values(), w_host.values(), dy_host.values(), self.eps as f32, wanted[1]);
            let device = x.device();
            return [
                wanted[0].then(|| matrix(dx, rows, columns, &device)),
                wanted[1].then(|| matrix(dw, 1, columns, &device)),
            ];
        }
        let inverse = inverse_rms(x.clone(), self.eps);
        let dw = wanted[1].then(|| (dy.clone() * x.clone() * inverse.clone()).sum_dim(0));
        let dx = wanted[0].then(|| {
            let scaled = dy * weight;
            let mean = (scaled.clone() * x.clone()).mean_dim(1) * inverse.clone().powi_scalar(2);
            inverse * (scaled - x * mean)
        });
        [dx, dw]
    }
}

fn inverse_rms(x: Tensor<2>, eps: f64) -> Tensor<2> {
    (x.powi_scalar(2).mean_dim(1) + eps).sqrt().recip()
}
