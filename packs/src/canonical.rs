//! One way to write each value: canonical JSON and hashes in hexadecimal.
//!
//! What is read must be the bytes that would be written for the value, so there is nothing to interpret.

use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use crate::error::Problem;

/// Writes a value as packs hold it: two spaces of indentation, keys in the order of declaration, a line feed
/// at the end; what Python's `json.dumps(value, indent=2, ensure_ascii=False) + "\n"` writes.
pub(crate) fn canonical_json(value: &impl Serialize) -> Vec<u8> {
    let mut bytes = serde_json::to_vec_pretty(value).expect("plain data with text keys is JSON");
    bytes.push(b'\n');
    bytes
}

/// Reads a member that must be exactly what [`canonical_json`] writes for its value.
pub(crate) fn read_canonical<T: Serialize + DeserializeOwned>(name: &str, bytes: &[u8]) -> Result<T, Problem> {
    let value: T = serde_json::from_slice(bytes).map_err(|error| Problem::Refused(format!("`{name}`: {error}")))?;
    let expected = canonical_json(&value);
    if expected != bytes {
        let same = expected.iter().zip(bytes).take_while(|(a, b)| a == b).count();
        return Problem::refused(format!(
            "`{name}` is not in canonical form at byte {same} (spacing, order of keys, or how text or numbers are written)"
        ));
    }
    Ok(value)
}

/// sha256 in lower-case hexadecimal.
pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether a text is a sha256 as packs write it.
pub(crate) fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}
