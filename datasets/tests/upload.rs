//! Uploads to a small hub on loopback.

#![allow(clippy::unwrap_used)]

mod upload_hub;

use std::fs;
use std::time::Duration;

use lore_datasets::Error;
use lore_datasets::fetch::{Fetcher, LocalFile, SourceRequest, Uploaded};
use lore_datasets::progress::Silent;
use tempfile::TempDir;
use upload_hub::{Fault, UploadHub, sha256};

struct Setup {
    hub: UploadHub,
    folder: TempDir,
    fetcher: Fetcher,
}

fn setup() -> Setup {
    let hub = UploadHub::start();
    let folder = tempfile::tempdir().unwrap();
    let fetcher = Fetcher::new(folder.path().join("cache"))
        .hub_cache(folder.path().join("hub"))
        .endpoint(&hub.url)
        .token(Some("right".into()))
        .offline(false)
        .retries(3, Duration::from_millis(1))
        .timeout(Duration::from_secs(2));
    hub.state().token = Some("right".into());
    Setup { hub, folder, fetcher }
}

impl Setup {
    fn file(&self, name: &str, content: &[u8]) -> LocalFile {
        let path = self.folder.path().join("files").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        LocalFile { name: name.into(), path }
    }

    fn upload(&self, files: &[LocalFile], parent: Option<&str>) -> Result<Uploaded, Error> {
        self.fetcher.upload("owner", "repo", files, "a message", parent, &Silent)
    }

    fn puts(&self) -> Vec<String> {
        self.hub.requests().into_iter().filter(|request| request.starts_with("PUT")).collect()
    }
}

/// 40 kB that no repeated or shifted part of itself could pass for.
fn large() -> Vec<u8> {
    (0..10_000_u32).flat_map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes()).collect()
}

#[test]
fn small_and_large_files_arrive_in_one_commit() {
    let setup = setup();
    assert_eq!(setup.fetcher.repository_state("owner", "repo").unwrap(), None);
    assert!(setup.fetcher.create_repository("owner", "repo", true).unwrap());
    assert!(!setup.fetcher.create_repository("owner", "repo", false).unwrap(), "it exists");
    assert!(setup.hub.state().private);
    let state = setup.fetcher.repository_state("owner", "repo").unwrap().unwrap();
    assert_eq!(
        (state.commit.as_str(), &state.files[..]),
        ("0".repeat(40).as_str(), &[".gitattributes".to_owned()][..])
    );

    let files =
        [setup.file("README.md", b"# Rivers\n"), setup.file("a/model.gguf", &large()), setup.file("empty", b"")];
    let uploaded = setup.upload(&files, Some(&state.commit)).unwrap();
    assert_eq!(uploaded.large, ["a/model.gguf"]);
    assert!(uploaded.known.is_empty());
    assert_eq!(uploaded.address, Some(format!("{}/owner/repo/commit/{}", setup.hub.url, uploaded.commit)));
    {
        let state = setup.hub.state();
        assert_eq!(state.files["README.md"], b"# Rivers\n");
        assert_eq!(state.files["a/model.gguf"], large());
        assert_eq!(state.files["empty"], b"");
        assert_eq!((state.commits, &state.messages[..]), (1, &["a message".to_owned()][..]));
    }
    // The storage is given the file and never the token.
    assert_eq!(setup.puts(), [format!("PUT /storage/{}", sha256(&large()))]);

    let again = setup.upload(&files, None).unwrap();
    assert_eq!(again.known, ["a/model.gguf"]);
    assert_eq!(setup.puts().len(), 1, "what the hub has is not sent again");

    // What was uploaded is what is downloaded.
    let request = SourceRequest::new("hf:owner/repo/a/model.gguf".parse().unwrap());
    let fetched = setup.fetcher.fetch(&request, &Silent).unwrap();
    assert_eq!(fs::read(fetched.path).unwrap(), large());
}

#[test]
fn a_very_large_file_goes_in_parts() {
    let setup = setup();
    setup.hub.state().exists = true;
    setup.hub.state().part_bytes = 15_000;
    setup.hub.state().faults.extend([Fault::CloseAfter(100), Fault::Status(503)]);
    let uploaded = setup.upload(&[setup.file("model.gguf", &large())], None).unwrap();
    assert_eq!(uploaded.large, ["model.gguf"]);
    assert_eq!(setup.hub.state().files["model.gguf"], large());
    let part = |number| format!("PUT /storage/{}/{number}", sha256(&large()));
    assert_eq!(setup.puts(), [part(1), part(1), part(1), part(2), part(3)]);
}

#[test]
fn a_broken_upload_is_tried_again_and_then_given_up() {
    let setup = setup();
    setup.hub.state().exists = true;
    let file = [setup.file("model.gguf", &large())];
    setup.hub.state().faults.extend([Fault::CloseAfter(10_000), Fault::Status(500)]);
    setup.upload(&file, None).unwrap();
    assert_eq!(setup.hub.state().files["model.gguf"], large());

    let other = [setup.file("other.gguf", &large()[4..])];
    setup.hub.state().faults.extend([Fault::Status(500); 3]);
    let error = setup.upload(&other, None).unwrap_err();
    assert!(matches!(error, Error::Network { attempts: 3, .. }), "{error}");
    setup.hub.state().faults.push_back(Fault::Status(403));
    let error = setup.upload(&other, None).unwrap_err().to_string();
    assert!(error.contains("the storage refused `other.gguf` with 403"), "{error}");
    assert_eq!(setup.hub.state().commits, 1, "nothing of a failed upload is seen");
    assert!(!setup.hub.state().files.contains_key("other.gguf"));
}

#[test]
fn who_may_not_write_is_told_how() {
    let setup = setup();
    setup.hub.state().exists = true;
    let file = [setup.file("README.md", b"x")];
    let with = |token: Option<&str>| {
        let fetcher = setup.fetcher.clone().token(token.map(str::to_owned));
        let create = fetcher.create_repository("owner", "repo", false).unwrap_err();
        assert!(matches!(create, Error::Unauthorized { status: 401, .. }), "{create}");
        fetcher.upload("owner", "repo", &file, "m", None, &Silent).unwrap_err().to_string()
    };
    let none = with(None);
    assert!(none.contains("Set HF_TOKEN to a token that may write"), "{none}");
    let wrong = with(Some("wrong"));
    assert!(wrong.contains("may not write there") && !wrong.contains("wrong"), "{wrong}");
    let stranger = setup.fetcher.create_repository("someone", "repo", false).unwrap_err();
    assert!(matches!(stranger, Error::Unauthorized { status: 403, .. }), "{stranger}");
}

#[test]
fn nothing_is_written_over_what_someone_else_committed() {
    let setup = setup();
    setup.hub.state().exists = true;
    setup.hub.state().overtaken = true;
    let state = setup.fetcher.repository_state("owner", "repo").unwrap().unwrap();
    let error = setup.upload(&[setup.file("README.md", b"x")], Some(&state.commit)).unwrap_err();
    assert!(matches!(&error, Error::Refused { problem, .. } if problem.contains("changed while")), "{error}");
    assert!(setup.hub.state().files.is_empty());
}

#[test]
fn files_that_a_hub_does_not_take() {
    let setup = setup();
    setup.hub.state().exists = true;
    let error = setup.upload(&[setup.file("ignored.txt", b"x")], None).unwrap_err().to_string();
    assert!(error.contains(".gitignore leaves out `ignored.txt`"), "{error}");
    let out = LocalFile { name: "../out".into(), ..setup.file("in", b"x") };
    let error = setup.upload(&[out], None).unwrap_err().to_string();
    assert!(error.contains("`../out` cannot name a file"), "{error}");
    let error = setup.fetcher.clone().offline(true).create_repository("owner", "repo", false).unwrap_err().to_string();
    assert!(error.contains("offline mode is on"), "{error}");
    assert!(setup.hub.state().files.is_empty());
}
