//! Rotary position embedding of queries and keys.

use super::host::{HostMatrix, matrix};
use super::{Function, apply};
use crate::cpu::rotary::{Direction, RotaryTable, rotate_rows};
use burn::tensor::{Int, Tensor, TensorData};
use std::sync::Arc;

#[derive(Clone, Debug)]
struct Rotary {
    positions: Arc<Vec<u32>>,
    heads: usize,
    table: Arc<RotaryTable>,
}

/// Turns every head of `x: [rows, heads · head_dim]` by the angle of its row's position.
pub fn rotary(x: Tensor<2>, positions: Arc<Vec<u32>>, heads: usize, table: Arc<RotaryTable>) -> Tensor<2> {
    apply(Rotary { positions, heads, table }, [x])
}

impl Rotary {
    fn turn(&self, x: Tensor<2>, direction: Direction) -> Tensor<2> {
        let [rows, columns] = x.dims();
        if let Some(host) = HostMatrix::of(&x) {
            let out = rotate_rows(host.values(), &self.positions, self.heads, &self.table, direction);
            return matrix(out, rows, columns, &x.device());
        }
        let device = x.device();
        let half = columns / self.heads / 2;
        let positions = Tensor::<1, Int>::from_data(
            TensorData::new(self.positions.iter().map(|&p| p as i32).collect::<Vec<_>>(), [rows]),
            &device,
        );
        let [cos, sin] = self.table.parts().map(|part| {
            let table = Tensor::<2>::from_data(TensorData::new(part.to_vec(), [self.table.positions(), half]), &device);
            table.select(0, positions.clone()).unsqueeze_dim::<3>(1)
        });
        let sin = if direction == Direction::Forward { sin } else { sin.neg() };
        let x = x.reshape([rows, self.heads, 2 * half]);
        let low = x.clone().narrow(2, 0, half);
        let high = x.narrow(2, half, half);
        let turned_low = low.clone() * cos.clone() - high.clone() * sin.clone();
        let turned_high = high * cos + low * sin;
        Tensor::cat(vec![turned_low, turned_high], 2).reshape([rows, columns])
    }
}

impl Function<1> for Rotary {
    fn forward(&self, [x]: [Tensor<2>; 1], _wanted: [bool; 1]) -> (Tensor<2>, Vec<Tensor<2>>) {
        (self.turn(x, Direction::Forward), Vec::new())
    }

    fn backward(&self, _saved: Vec<Tensor<2>>, dy: Tensor<2>, _wanted: [bool; 1]) -> [Option<Tensor<2>>; 1] {
        [Some(self.turn(dy, Direction::Inverse))]
    }
}
