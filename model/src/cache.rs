//! Keys and values of tokens already seen.

use crate::error::Error;
use crate::ops::host::{HostMatrix, update};
use crate::ops::sequences::Sequences;
use burn::tensor::{Device, Tensor};

/// Rotated keys and values of several sequences, each in a slot of fixed capacity.
#[derive(Clone, Debug)]
pub struct KvCache {
    /// Keys and values of each layer, `[slots · capacity, width]`; `None` only while being written.
    layers: Vec<Option<(Tensor<2>, Tensor<2>)>>,
    lengths: Vec<usize>,
    capacity: usize,
}

impl KvCache {
    pub(crate) fn new(layers: usize, slots: usize, capacity: usize, width: usize, device: &Device) -> Self {
        let zeros = || Tensor::zeros([slots * capacity, width], device);
        Self { layers: (0..layers).map(|_| Some((zeros(), zeros()))).collect(), lengths: vec![0; slots], capacity }
    }

    /// Tokens seen in each slot.
    pub fn lengths(&self) -> &[usize] {
        &self.lengths
    }

    /// Tokens that a slot has room for.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Forgets all but the first `length` tokens of a slot.
    pub fn truncate(&mut self, slot: usize, length: usize) {
        self.lengths[slot] = self.lengths[slot].min(length);
    }

    /// Counts new tokens in and says where their rows are.
    pub(crate) fn reserve(&mut self, slots: &[usize], new: &[usize]) -> Result<Sequences, Error> {
        let past: Vec<usize> = slots.iter().map(|&slot| self.lengths[slot]).collect();
        if let Some(i) = (0..slots.len()).find(|&i| past[i] + new[i] > self.capacity) {
            return Err(Error::CacheFull { capacity: self.capacity, wanted: past[i] + new[i] });
        }
        let starts: Vec<usize> = slots.iter().map(|&slot| slot * self.capacity).collect();
        for (&slot, &count) in slots.iter().zip(new) {
            self.lengths[slot] += count;
        }
        Ok(Sequences::at(new, &past, &starts))
    }

    /// Writes the new rows of one layer and returns all its keys and values.
    pub(crate) fn append(
        &mut self,
        layer: usize,
        k: Tensor<2>,
        v: Tensor<2>,
        sequences: &Sequences,
    ) -> (Tensor<2>, Tensor<2>) {
        let (keys, values) = self.layers[layer].take().expect("a layer is written by one call at a time");
        let keys = write(keys, k, sequences);
        let values = write(values, v, sequences);
        self.layers[layer] = Some((keys.clone(), values.clone()));
        (keys, values)
    }
}

/// Copies the rows of `new` to the end of each span's keys.
fn write(store: Tensor<2>, new: Tensor<2>, sequences: &Sequences) -> Tensor<2> {
    let [_, width] = store.dims();
    if let Some(new) = HostMatrix::of(&new) {
        return update(store, |values| {
            for span in sequences.spans() {
                let start = (span.keys.end - span.queries.len()) * width;
                let rows = span.queries.start * width..span.queries.end * width;
                values[start..start + rows.len()].copy_from_slice(&new.values()[rows]);
            }
        });
    }
    sequences.spans().iter().fold(store, |store, span| {
        let rows = new.clone().slice([span.queries.clone(), 0..width]);
        store.slice_assign([span.keys.end - span.queries.len()..span.keys.end, 0..width], rows)
    })
}
