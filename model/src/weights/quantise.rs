//! Values rounded to ggml's blocks of 32, as llama.cpp's reference quantisation rounds them; the other way is in
//! [`dequantise`](super::dequantise).

use half::f16;

/// `d = max|x| / 127` as `f16`, and what each value is in units of it.
pub fn q8_0(values: &[f32; 32]) -> [u8; 34] {
    let largest = values.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
    let unit = largest / 127.0;
    let inverse = if unit > 0.0 { 1.0 / unit } else { 0.0 };
    let mut block = [0; 34];
    block[..2].copy_from_slice(&f16::from_f32(unit).to_le_bytes());
    for (byte, value) in block[2..].iter_mut().zip(values) {
        *byte = ((value * inverse).round() as i8).cast_unsigned();
    }
    block
}

/// `d·(q − 8)` with `q` from 0 to 15, where the value of largest size is `−8·d`.
pub fn q4_0(values: &[f32; 32]) -> [u8; 18] {
    let largest =
        values.iter().fold(0.0f32, |largest, &value| if value.abs() > largest.abs() { value } else { largest });
    let unit = largest / -8.0;
    let inverse = if unit == 0.0 { 0.0 } else { 1.0 / unit };
    let quantised = |value: f32| (value * inverse + 8.5).clamp(0.0, 15.0) as u8;
    let mut block = [0; 18];
    block[..2].copy_from_slice(&f16::from_f32(unit).to_le_bytes());
    pack_nibbles(&mut block[2..], values, quantised);
    block
}

/// `d·q + m` with `q` from 0 to 15, `m` the smallest value and `m + 15·d` the largest.
pub fn q4_1(values: &[f32; 32]) -> [u8; 20] {
    let (least, most) = values
        .iter()
        .fold((f32::INFINITY, f32::NEG_INFINITY), |(least, most), &value| (least.min(value), most.max(value)));
    let unit = (most - least) / 15.0;
    let inverse = if unit == 0.0 { 0.0 } else { 1.0 / unit };
    let quantised = |value: f32| ((value - least) * inverse + 0.5).clamp(0.0, 15.0) as u8;
    let mut block = [0; 20];
    block[..2].copy_from_slice(&f16::from_f32(unit).to_le_bytes());
    block[2..4].copy_from_slice(&f16::from_f32(least).to_le_bytes());
    pack_nibbles(&mut block[4..], values, quantised);
    block
}

/// Value `i` in the low half of byte `i`, value `i + 16` in the high half.
fn pack_nibbles(bytes: &mut [u8], values: &[f32; 32], quantised: impl Fn(f32) -> u8) {
    for (i, byte) in bytes.iter_mut().enumerate() {
        *byte = quantised(values[i]) | quantised(values[i + 16]) << 4;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sampling::Random;
    use crate::weights::dequantise::BlockFormat;

    fn drawn(seed: u64) -> [f32; 32] {
        let mut random = Random::new(seed, 3);
        std::array::from_fn(|_| random.normal() as f32 * 0.05)
    }

    fn back(format: BlockFormat, bytes: &[u8]) -> [f32; 32] {
        let mut values = [0.0; 32];
        format.dequantise(bytes, &mut values);
        values
    }

    /// No value moves by more than half a step, and a little for the scale's own rounding to `f16`.
    #[test]
    fn values_come_back_within_half_a_step() {
        for seed in 0..50 {
            let values = drawn(seed);
            let size = values.iter().fold(0.0f32, |most, value| most.max(value.abs()));
            let (least, most) = values.iter().fold((0.0f32, 0.0f32), |(a, b), &x| (a.min(x), b.max(x)));
            for (format, bytes, half_a_step) in [
                (BlockFormat::Q8_0, q8_0(&values).to_vec(), size / 254.0),
                // One end of the range has a step less than the other.
                (BlockFormat::Q4_0, q4_0(&values).to_vec(), size / 8.0),
                (BlockFormat::Q4_1, q4_1(&values).to_vec(), (most - least) / 30.0),
            ] {
                for (value, found) in values.iter().zip(back(format, &bytes)) {
                    let bound = half_a_step * 1.001 + size * 1e-3;
                    assert!((value - found).abs() <= bound, "{}: {value} became {found}", format.name());
                }
            }
        }
    }

    /// What was quantised before stays as it is: a Q4_1 teacher loses nothing more.
    #[test]
    fn what_the_blocks_hold_is_kept_exactly() {
        let mut values: [f32; 32] = std::array::from_fn(|i| 0.25 * (i % 16) as f32 - 1.5);
        assert_eq!(back(BlockFormat::Q4_1, &q4_1(&values)), values);
        values.iter_mut().for_each(|value| *value -= 0.5);
        assert_eq!(back(BlockFormat::Q4_0, &q4_0(&values)), values);
        let whole: [f32; 32] = std::array::from_fn(|i| if i == 0 { -127.0 } else { 2.0 * i as f32 });
        assert_eq!(back(BlockFormat::Q8_0, &q8_0(&whole)), whole);
        for bytes in [q4_0(&[0.0; 32]).to_vec(), q4_1(&[0.0; 32]).to_vec(), q8_0(&[0.0; 32]).to_vec()] {
            let format = [BlockFormat::Q4_0, BlockFormat::Q4_1, BlockFormat::Q8_0]
                .into_iter()
                .find(|format| format.block_bytes() == bytes.len());
            assert_eq!(format.map(|format| back(format, &bytes)), Some([0.0; 32]));
        }
    }
}
