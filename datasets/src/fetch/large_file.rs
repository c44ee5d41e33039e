//! Large files go to a storage of their own, by their sha256: the Git LFS batch API with the transfers `basic`
//! (one PUT) and `multipart` (a PUT for each part, then a list of what they were answered).

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use serde_json::json;
use ureq::Body;
use ureq::http::Response;

use super::answer::{Action, Batch, Method};
use super::client::{Client, Failure, text};
use super::redirect::redirected;
use super::upload::Outgoing;
use crate::error::{Error, Result};
use crate::progress::Task;

const LFS: &str = "application/vnd.git-lfs+json";

/// Sends a file unless the hub has it; returns whether it was sent.
pub(super) fn send(client: &Client<'_>, repository: &str, file: &Outgoing, task: &mut dyn Task) -> Result<bool> {
    let refused = |problem: String| Error::Refused { uri: client.uri.into(), problem };
    let url = format!("{}/{repository}.git/info/lfs/objects/batch", client.endpoint);
    let request = json!({
        "operation": "upload",
        "transfers": ["basic", "multipart"],
        "objects": [{"oid": file.sha256, "size": file.bytes}],
        "hash_algo": "sha256",
    });
    let batch: Batch = client.post_json(&url, LFS, &request, "to an offer of a large file")?;
    let object = batch.objects.into_iter().find(|object| object.oid == file.sha256);
    let object = object.ok_or_else(|| refused(format!("the hub has no place for `{}`", file.name)))?;
    if let Some(error) = object.error {
        return Err(refused(format!("the hub does not take `{}`: {}", file.name, error.message.escape_debug())));
    }
    let Some((upload, verify)) = object.actions.and_then(|actions| Some((actions.upload?, actions.verify))) else {
        task.advance(file.bytes);
        return Ok(false);
    };
    let address = |given: &str| {
        redirected(client.endpoint, given)
            .ok_or_else(|| refused(format!("the hub sends `{}` to an address that is not accepted", file.name)))
    };
    match upload.method(file.bytes).map_err(|problem| refused(format!("`{}`: {problem}", file.name)))? {
        Method::Basic(headers) => {
            put(client, &address(&upload.href)?, file, 0..file.bytes, &headers)?;
            task.advance(file.bytes);
        }
        Method::Multipart(size, places) => {
            let mut parts = Vec::new();
            for (index, place) in places.iter().enumerate() {
                let start = index as u64 * size;
                let range = start..(start + size).min(file.bytes);
                let answer = put(client, &address(place)?, file, range.clone(), &[])?;
                let etag = text(answer.headers(), "etag").filter(|etag| !etag.is_empty()).ok_or_else(|| {
                    refused(format!(
                        "the storage did not say what it received as part {} of `{}`",
                        index + 1,
                        file.name
                    ))
                })?;
                parts.push(json!({"partNumber": index + 1, "etag": etag}));
                task.advance(range.end - range.start);
            }
            let done = json!({"oid": file.sha256, "parts": parts});
            client.post(&address(&upload.href)?, LFS, &done.to_string().into_bytes())?;
        }
    }
    if let Some(Action { href, .. }) = verify {
        let done = json!({"oid": file.sha256, "size": file.bytes});
        client.post(&address(&href)?, LFS, &done.to_string().into_bytes())?;
    }
    Ok(true)
}

/// Puts a part of a file, or all of it, to the storage, which is not shown the token.
fn put(
    client: &Client<'_>,
    url: &str,
    file: &Outgoing,
    range: std::ops::Range<u64>,
    headers: &[(String, String)],
) -> Result<Response<Body>> {
    let length = range.end - range.start;
    let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    client.with_retries(|| {
        let mut input = File::open(&file.path).map_err(|e| Error::io(&file.path, e))?;
        input.seek(SeekFrom::Start(range.start)).map_err(|e| Error::io(&file.path, e))?;
        let answer = client.send_body("PUT", url, false, &headers, length, &mut input.take(length))?;
        match answer.status().as_u16() {
            200..=299 => Ok(answer),
            status @ (408 | 425 | 429 | 500..=599) => {
                Err(Failure::Passing(format!("the storage answered {status}"), std::time::Duration::ZERO))
            }
            status => Err(Failure::Final(Error::Refused {
                uri: client.uri.into(),
                problem: format!(
                    "the storage refused `{}` with {status}; run again, places to send to are given for a short time",
                    file.name
                ),
            })),
        }
    })
}
