//! Python's `random.Random(seed).sample`, so that examples are those of lm-evaluation-harness: the Mersenne twister
//! (Matsumoto and Nishimura 1998, `mt19937ar` with `init_by_array`), and CPython's way to draw without replacement.

use std::collections::HashSet;

const SIZE: usize = 624;
const SHIFT: usize = 397;

/// A generator whose draws are those of Python.
pub(super) struct PythonRandom {
    state: [u32; SIZE],
    next: usize,
}

impl PythonRandom {
    /// `random.Random(seed)`.
    pub fn new(seed: u64) -> Self {
        let mut key = vec![seed as u32];
        if seed >> 32 > 0 {
            key.push((seed >> 32) as u32);
        }
        let mut state = [0u32; SIZE];
        state[0] = 19_650_218;
        for i in 1..SIZE {
            state[i] = 1_812_433_253u32.wrapping_mul(state[i - 1] ^ (state[i - 1] >> 30)).wrapping_add(i as u32);
        }
        let mixed = |state: &[u32; SIZE], i: usize, factor: u32| {
            state[i] ^ (state[i - 1] ^ (state[i - 1] >> 30)).wrapping_mul(factor)
        };
        let (mut i, mut j) = (1, 0);
        for _ in 0..SIZE.max(key.len()) {
            state[i] = mixed(&state, i, 1_664_525).wrapping_add(key[j]).wrapping_add(j as u32);
            i += 1;
            j = (j + 1) % key.len();
            if i == SIZE {
                state[0] = state[SIZE - 1];
                i = 1;
            }
        }
        for _ in 0..SIZE - 1 {
            state[i] = mixed(&state, i, 1_566_083_941).wrapping_sub(i as u32);
            i += 1;
            if i == SIZE {
                state[0] = state[SIZE - 1];
                i = 1;
            }
        }
        state[0] = 0x8000_0000;
        Self { state, next: SIZE }
    }

    fn bits(&mut self) -> u32 {
        if self.next == SIZE {
            for i in 0..SIZE {
                let y = (self.state[i] & 0x8000_0000) | (self.state[(i + 1) % SIZE] & 0x7fff_ffff);
                let odd = if y & 1 == 1 { 0x9908_b0df } else { 0 };
                self.state[i] = self.state[(i + SHIFT) % SIZE] ^ (y >> 1) ^ odd;
            }
            self.next = 0;
        }
        let mut y = self.state[self.next];
        self.next += 1;
        y ^= y >> 11;
        y ^= (y << 7) & 0x9d2c_5680;
        y ^= (y << 15) & 0xefc6_0000;
        y ^ (y >> 18)
    }

    /// `_randbelow`; `bound` is below 2³².
    fn below(&mut self, bound: usize) -> usize {
        let bits = usize::BITS - bound.leading_zeros();
        loop {
            let drawn = (self.bits() >> (32 - bits)) as usize;
            if drawn < bound {
                return drawn;
            }
        }
    }

    /// The places of `sample(population, count)` in a population of `total`.
    ///
    /// # Panics
    /// When more are wanted than there are.
    pub fn sample(&mut self, total: usize, count: usize) -> Vec<usize> {
        assert!(count <= total, "a sample is no larger than what it is drawn from");
        // CPython weighs the memory of a set against that of a list.
        let mut set_size = 21;
        if count > 5 {
            set_size += 4usize.pow(((count * 3) as f64).log(4.0).ceil() as u32);
        }
        if total <= set_size {
            let mut pool: Vec<usize> = (0..total).collect();
            return (0..count)
                .map(|i| {
                    let place = self.below(total - i);
                    let drawn = pool[place];
                    pool[place] = pool[total - i - 1];
                    drawn
                })
                .collect();
        }
        let mut seen = HashSet::new();
        (0..count)
            .map(|_| {
                loop {
                    let place = self.below(total);
                    if seen.insert(place) {
                        return place;
                    }
                }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::PythonRandom;

    /// `r = random.Random(seed); [r.sample(range(total), count) for ...]` of CPython.
    #[test]
    fn draws_are_those_of_python() {
        let mut random = PythonRandom::new(1234);
        assert_eq!(random.sample(10, 3), [7, 1, 0]);
        assert_eq!(random.sample(100, 5), [11, 74, 4, 85, 88]);
        assert_eq!(random.sample(100, 6), [10, 12, 98, 45, 30, 2]);
        assert_eq!(random.sample(1000, 8), [31, 807, 16, 354, 663, 638, 495, 630]);
        assert_eq!(random.sample(1, 1), [0]);
        let mut random = PythonRandom::new(0);
        assert_eq!(random.sample(21, 5), [12, 13, 1, 8, 16]);
        assert_eq!(random.sample(22, 5), [15, 12, 9, 11, 18]);
        assert_eq!(random.sample(5, 5), [1, 4, 3, 0, 2]);
        let mut random = PythonRandom::new(1099511627783);
        assert_eq!(random.sample(300, 10), [292, 243, 128, 64, 264, 192, 266, 185, 201, 226]);
    }
}
