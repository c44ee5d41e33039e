//! A site on this machine, for looking at it: files of one folder, over HTTP, nothing else.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{Error, Result};

/// Bytes of a request that are read at most.
const LONGEST: u64 = 16 * 1024;
/// How long a silent visitor is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// Serves `folder` until the program ends; `ready` hears the address.
///
/// # Errors
/// An address that cannot be listened on; a folder without a site.
pub fn serve(folder: &Path, address: &str, ready: impl FnOnce(&str)) -> Result<()> {
    if !folder.join("index.html").is_file() {
        return Error::request(format!("{} holds no site; `lore leaderboard build` makes one", folder.display()));
    }
    let listener = TcpListener::bind(address).map_err(Error::io(address))?;
    let bound = listener.local_addr().map_err(Error::io(address))?;
    ready(&format!("http://{bound}/"));
    for visitor in listener.incoming().flatten() {
        let folder = folder.to_owned();
        std::thread::spawn(move || {
            // A visitor who leaves is no error.
            let _ = answer(&folder, visitor);
        });
    }
    Ok(())
}

fn answer(folder: &Path, mut visitor: TcpStream) -> std::io::Result<()> {
    visitor.set_read_timeout(Some(PATIENCE))?;
    visitor.set_write_timeout(Some(PATIENCE))?;
    let mut lines = BufReader::new(visitor.try_clone()?.take(LONGEST)).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
    // The rest of the head, so that closing does not cut the answer off.
    while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
    let mut words = request.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    if !matches!(method, "GET" | "HEAD") {
        return respond(&mut visitor, "405 Method Not Allowed", "text/plain", b"only GET\n", true);
    }
    let found = file(folder, target).and_then(|path| Some((kind(&path), std::fs::read(&path).ok()?)));
    match found {
        Some((kind, bytes)) => respond(&mut visitor, "200 OK", kind, &bytes, method == "GET"),
        None => respond(&mut visitor, "404 Not Found", "text/plain", b"there is no such page\n", method == "GET"),
    }
}

/// The file that a target names, if it is inside the folder. Names of a site need no escapes.
fn file(folder: &Path, target: &str) -> Option<PathBuf> {
    let path = target.split(['?', '#']).next()?.strip_prefix('/')?;
    let good = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))
    };
    let path = if path.is_empty() { "index.html" } else { path };
    path.split('/').all(good).then(|| folder.join(path))
}

fn kind(path: &Path) -> &'static str {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        _ => "application/octet-stream",
    }
}

fn respond(visitor: &mut TcpStream, status: &str, kind: &str, body: &[u8], whole: bool) -> std::io::Result<()> {
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nX-Content-Type-Options: nosniff\r\n\
         Connection: close\r\n\r\n",
        body.len()
    );
    visitor.write_all(head.as_bytes())?;
    if whole {
        visitor.write_all(body)?;
    }
    visitor.flush()
}

#[cfg(test)]
mod tests {
    use super::file;
    use std::path::Path;

    #[test]
    fn nothing_outside_the_folder_is_named() {
        let found = |target: &str| file(Path::new("site"), target);
        assert_eq!(found("/"), Some("site/index.html".into()));
        assert_eq!(found("/modules/a-1.0.html?x#y"), Some("site/modules/a-1.0.html".into()));
        for bad in ["/../log.jsonl", "/modules/../../x", "//etc/passwd", "/%2e%2e/x", "/.git/config", "x", "/a\\..\\b"]
        {
            assert_eq!(found(bad), None, "{bad}");
        }
    }
}
