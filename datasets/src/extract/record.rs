//! What every format gives: one record at a time.

use minijinja::Value;

/// A record as the templates see it.
pub(super) struct Record {
    pub value: Value,
    /// The whole file where the format has such a thing.
    pub root: Value,
    /// The last step of the path to the record.
    pub key: String,
}

/// Takes each record, or what is wrong with one that is left out.
pub(super) type Sink<'a> = dyn FnMut(Result<Record, String>) + 'a;

/// The text of a file, without byte order mark.
pub(super) fn utf8(bytes: &[u8]) -> Result<&str, String> {
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mark = bytes.len() - text.len();
    std::str::from_utf8(text).map_err(|e| format!("it is not UTF-8 at byte {}", mark + e.valid_up_to()))
}
