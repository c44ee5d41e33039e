//! Where a redirect leads.

use ureq::http::Uri;

/// Scheme, host and port.
pub(super) fn origin(url: &str) -> Option<(String, String)> {
    let uri: Uri = url.parse().ok()?;
    Some((uri.scheme_str()?.to_ascii_lowercase(), uri.authority()?.as_str().to_ascii_lowercase()))
}

/// The address a redirect means; none when it is unreadable or leaves an encrypted connection.
pub(super) fn redirected(from: &str, location: &str) -> Option<String> {
    let (scheme, authority) = origin(from)?;
    let next = if location.starts_with("//") {
        format!("{scheme}:{location}")
    } else if location.starts_with('/') {
        format!("{scheme}://{authority}{location}")
    } else {
        location.to_owned()
    };
    let (next_scheme, _) = origin(&next)?;
    let kept = next_scheme == "https" || (next_scheme == "http" && scheme == "http");
    kept.then_some(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_resolve_and_never_leave_encryption() {
        let from = "https://hub.test/a/resolve/main/x";
        assert_eq!(redirected(from, "/b/x").as_deref(), Some("https://hub.test/b/x"));
        assert_eq!(redirected(from, "https://store.test/k?s=1").as_deref(), Some("https://store.test/k?s=1"));
        assert_eq!(redirected(from, "http://store.test/k"), None);
        assert_eq!(redirected(from, "file:///etc/passwd"), None);
        assert_eq!(redirected("http://hub.test/a", "http://store.test/k").as_deref(), Some("http://store.test/k"));
    }
}
