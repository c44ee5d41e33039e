//! What a hub answers to someone who uploads, as far as it is used.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

/// To `preupload`: how each file is to be sent.
#[derive(Deserialize)]
pub(super) struct Preupload {
    pub(super) files: Vec<PreuploadFile>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PreuploadFile {
    pub(super) path: String,
    pub(super) upload_mode: UploadMode,
    #[serde(default)]
    pub(super) should_ignore: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum UploadMode {
    /// Inside the commit.
    Regular,
    /// To the large file storage, by hash.
    Lfs,
}

/// To a request for places to put large files (the Git LFS batch API).
#[derive(Deserialize)]
pub(super) struct Batch {
    pub(super) objects: Vec<BatchObject>,
}

#[derive(Deserialize)]
pub(super) struct BatchObject {
    pub(super) oid: String,
    /// Absent when the hub has the file.
    pub(super) actions: Option<Actions>,
    pub(super) error: Option<BatchError>,
}

#[derive(Deserialize)]
pub(super) struct BatchError {
    pub(super) message: String,
}

#[derive(Deserialize)]
pub(super) struct Actions {
    pub(super) upload: Option<Action>,
    pub(super) verify: Option<Action>,
}

#[derive(Deserialize)]
pub(super) struct Action {
    pub(super) href: String,
    /// Headers to send along; for a file in parts, `chunk_size` and the address of each part by its number.
    #[serde(default)]
    header: Option<BTreeMap<String, Value>>,
}

/// How one large file is sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Method {
    /// Whole, with these headers.
    Basic(Vec<(String, String)>),
    /// In parts of this many bytes, each to its address.
    Multipart(u64, Vec<String>),
}

impl Action {
    /// # Errors
    /// When the parts are not those of a file of `size` bytes.
    pub(super) fn method(&self, size: u64) -> Result<Method, String> {
        let header = self.header.clone().unwrap_or_default();
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let Some(chunk_size) = header.get("chunk_size") else {
            // Those that the request has of its own are not the storage's to choose.
            let own = ["content-length", "transfer-encoding", "host", "connection"];
            let given = header.iter().filter(|(name, _)| !own.contains(&name.to_ascii_lowercase().as_str()));
            return Ok(Method::Basic(given.map(|(name, value)| (name.clone(), text(value))).collect()));
        };
        let chunk_size = text(chunk_size).parse::<u64>().ok().filter(|size| *size > 0);
        let chunk_size = chunk_size.ok_or("the hub names no size of the parts")?;
        let mut parts: Vec<(u64, String)> =
            header.iter().filter_map(|(name, value)| Some((name.parse().ok()?, text(value)))).collect();
        parts.sort_unstable();
        let expected = size.div_ceil(chunk_size);
        if parts.len() as u64 != expected || parts.iter().zip(1..).any(|((number, _), place)| *number != place) {
            return Err(format!(
                "the hub names {} parts of {chunk_size} bytes for a file of {size} bytes; {expected}, counted from 1, were expected",
                parts.len()
            ));
        }
        Ok(Method::Multipart(chunk_size, parts.into_iter().map(|(_, address)| address).collect()))
    }
}

/// To a commit.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Committed {
    pub(super) commit_oid: String,
    #[serde(default)]
    pub(super) commit_url: Option<String>,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn method(json: &str, size: u64) -> Result<Method, String> {
        serde_json::from_str::<Action>(json).unwrap().method(size)
    }

    #[test]
    fn parts_are_those_of_the_file_in_order() {
        let parts = r#"{"href": "h", "header": {"chunk_size": "4", "2": "b", "10": "j", "1": "a"}}"#;
        let error = method(parts, 10).unwrap_err();
        assert!(error.contains("3 parts of 4 bytes for a file of 10 bytes"), "{error}");
        let parts = r#"{"href": "h", "header": {"chunk_size": 4, "00002": "b", "00003": "c", "00001": "a"}}"#;
        let expected = Method::Multipart(4, ["a", "b", "c"].map(String::from).to_vec());
        assert_eq!(method(parts, 10), Ok(expected));
        assert!(method(parts, 13).is_err());
        assert!(method(r#"{"href": "h", "header": {"chunk_size": "0"}}"#, 10).is_err());
    }

    #[test]
    fn headers_are_passed_on_but_for_the_requests_own() {
        let whole = r#"{"href": "h", "header": {"X-Amz-Acl": "private", "Content-Length": "7"}}"#;
        assert_eq!(method(whole, 10), Ok(Method::Basic(vec![("X-Amz-Acl".into(), "private".into())])));
        assert_eq!(method(r#"{"href": "h"}"#, 10), Ok(Method::Basic(vec![])));
        assert_eq!(method(r#"{"href": "h", "header": null}"#, 10), Ok(Method::Basic(vec![])));
    }
}
