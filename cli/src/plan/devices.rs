//! GPUs as far as a plan needs them: `--devices 8xh100`.

use std::fmt;
use std::str::FromStr;

/// Share of a GPU's peak that training reaches. A guess until someone measures it with `scripts/bench --device cuda`.
const UTILISATION: f64 = 0.3;

/// Share of the memory bandwidth that writing token by token reaches. A guess, too.
const BANDWIDTH_SHARE: f64 = 0.6;

/// What a maker's data sheet says of a GPU.
#[derive(Debug, PartialEq)]
struct Sheet {
    name: &'static str,
    /// Dense bfloat16 products with f32 sums, operations per second.
    flops: f64,
    /// Bytes.
    memory: u64,
    /// Bytes per second.
    bandwidth: f64,
}

const fn sheet(name: &'static str, teraflops: f64, gigabytes: u64, gigabytes_per_second: f64) -> Sheet {
    Sheet { name, flops: teraflops * 1e12, memory: gigabytes * 1_000_000_000, bandwidth: gigabytes_per_second * 1e9 }
}

const SHEETS: [Sheet; 7] = [
    sheet("rtx3090", 71.0, 24, 936.0),
    sheet("rtx4090", 165.0, 24, 1008.0),
    sheet("l40s", 362.0, 48, 864.0),
    sheet("a100", 312.0, 80, 2039.0),
    sheet("h100", 989.0, 80, 3350.0),
    sheet("h200", 989.0, 141, 4800.0),
    sheet("mi300x", 1307.0, 192, 5300.0),
];

/// Some GPUs of one kind.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Devices {
    /// How many.
    pub count: u64,
    sheet: &'static Sheet,
}

impl Devices {
    /// Seconds for so many operations of training or of scoring on one of them.
    pub fn seconds(&self, flops: f64) -> f64 {
        flops / (self.sheet.flops * UTILISATION)
    }

    /// Seconds until one of them has written `tokens`, `batch` at a time, with a model of `bytes` of weights that are
    /// read once for each token of a batch.
    pub fn writing_seconds(&self, tokens: u64, batch: usize, bytes: u64) -> f64 {
        tokens as f64 / batch.max(1) as f64 * bytes as f64 / (self.sheet.bandwidth * BANDWIDTH_SHARE)
    }

    /// Bytes of memory of one of them.
    pub fn memory(&self) -> u64 {
        self.sheet.memory
    }

    /// What the figures take for granted.
    pub fn assumptions(&self) -> String {
        format!(
            "assumed of a {}: {:.0} TFLOP/s of bfloat16 products, {:.0} % of them reached, weights and sums in f32; {:.0} GB/s, \
             {:.0} % of them reached in writing; no measurement behind it",
            self.sheet.name,
            self.sheet.flops / 1e12,
            UTILISATION * 100.0,
            self.sheet.bandwidth / 1e9,
            BANDWIDTH_SHARE * 100.0
        )
    }
}

impl fmt::Display for Devices {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}x{}", self.count, self.sheet.name)
    }
}

impl FromStr for Devices {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let lower = text.to_lowercase();
        // A kind may hold an x itself.
        let (count, kind) = match lower.split_once('x') {
            Some((count, kind)) if !count.is_empty() && count.bytes().all(|b| b.is_ascii_digit()) => (count, kind),
            _ => ("1", lower.as_str()),
        };
        let count = count.parse().ok().filter(|&n| (1..=100_000).contains(&n));
        let count = count.ok_or_else(|| format!("`{text}` has no number of devices from 1 to 100000"))?;
        let known = || SHEETS.iter().map(|sheet| sheet.name).collect::<Vec<_>>().join(", ");
        let sheet = SHEETS.iter().find(|sheet| sheet.name == kind);
        let sheet = sheet.ok_or_else(|| format!("`{kind}` is not a device that is known; known are {}", known()))?;
        Ok(Self { count, sheet })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_number_and_a_kind() {
        for (text, read) in
            [("8xh100", "8xh100"), ("H200", "1xh200"), ("2xMI300X", "2xmi300x"), ("rtx4090", "1xrtx4090")]
        {
            assert_eq!(text.parse::<Devices>().unwrap().to_string(), read);
        }
        assert!("0xh100".parse::<Devices>().unwrap_err().contains("1 to 100000"));
        assert!("8xh1000".parse::<Devices>().unwrap_err().contains("known are rtx3090"));
    }

    #[test]
    fn seconds_from_the_sheet() {
        let devices: Devices = "4xa100".parse().unwrap();
        // 312e12 · 0.3 operations take a second, on one of the four.
        assert!((devices.seconds(312e12 * 0.3) - 1.0).abs() < 1e-9);
        // 100 times 2039e9 · 0.6 bytes.
        assert!((devices.writing_seconds(6400, 64, (2039e9 * 0.6) as u64) - 100.0).abs() < 1e-6);
    }
}
