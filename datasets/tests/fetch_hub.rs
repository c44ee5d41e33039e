//! `hf:` sources against a small hub on loopback.

#![allow(clippy::unwrap_used)]

mod hub_server;

use std::fs;
use std::path::Path;
use std::time::Duration;

use hub_server::{COMMIT, Fault, HubServer, sha256};
use lore_datasets::Error;
use lore_datasets::fetch::{Fetched, Fetcher, SourceRequest};
use lore_datasets::progress::Silent;
use tempfile::TempDir;

struct Setup {
    server: HubServer,
    folder: TempDir,
    fetcher: Fetcher,
}

fn setup(files: &[(&str, &[u8])]) -> Setup {
    let server = HubServer::start(files);
    let folder = tempfile::tempdir().unwrap();
    let fetcher = Fetcher::new(folder.path().join("cache"))
        .hub_cache(folder.path().join("hub"))
        .endpoint(&server.url)
        .token(None)
        .offline(false)
        .retries(3, Duration::from_millis(1))
        .timeout(Duration::from_secs(1));
    Setup { server, folder, fetcher }
}

impl Setup {
    fn fetch(&self, uri: &str) -> Result<Fetched, Error> {
        self.fetch_pinned(uri, None)
    }

    fn fetch_pinned(&self, uri: &str, hash: Option<&str>) -> Result<Fetched, Error> {
        let mut request = SourceRequest::new(uri.parse().unwrap());
        request.sha256 = hash.map(str::to_owned);
        self.fetcher.fetch(&request, &Silent)
    }

    /// Names of complete blobs.
    fn blobs(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.folder.path().join("hub/models--owner--repo/blobs")) else {
            return vec![];
        };
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| !name.ends_with(".lore-partial")).collect()
    }
}

/// 300 kB that no repeated or shifted part of itself could pass for.
fn content() -> Vec<u8> {
    (0..75_000_u32).flat_map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes()).collect()
}

#[test]
fn a_file_is_downloaded_once() {
    let content = content();
    let setup = setup(&[("data/train set.jsonl", &content)]);
    let uri = "hf:owner/repo/data/train set.jsonl";
    let first = setup.fetch_pinned(uri, Some(&sha256(&content).to_uppercase())).unwrap();
    assert_eq!(fs::read(&first.path).unwrap(), content);
    assert_eq!((first.bytes, first.from_cache), (300_000, false));
    assert_eq!(first.sha256, Some(sha256(&content)));
    let snapshot = format!("hub/models--owner--repo/snapshots/{COMMIT}/data/train set.jsonl");
    assert_eq!(first.path, setup.folder.path().join(snapshot));

    let requests = setup.server.requests();
    let url = "/owner/repo/resolve/main/data/train%20set.jsonl";
    assert_eq!(requests, [format!("HEAD {url}"), format!("GET {url}")]);
    let second = setup.fetch(uri).unwrap();
    assert_eq!(second, Fetched { from_cache: true, ..first.clone() });
    let offline = Setup { fetcher: setup.fetcher.clone().offline(true), ..setup };
    assert_eq!(offline.fetch(uri).unwrap(), second);
    assert_eq!(offline.server.requests().len(), 2, "the cache needs no request");

    let error = offline.fetch("hf:owner/repo/other").unwrap_err();
    assert!(matches!(error, Error::Offline { .. }), "{error}");
}

#[test]
fn other_hub_clients_find_the_file() {
    let setup = setup(&[("config.json", b"{}")]);
    let fetched = setup.fetch("hf:owner/repo/config.json").unwrap();
    let cache = hf_hub::Cache::new(setup.folder.path().join("hub"));
    assert_eq!(cache.model("owner/repo".into()).get("config.json"), Some(fetched.path));
}

#[test]
fn a_truncated_download_goes_on_where_it_stopped() {
    let content = content();
    let setup = setup(&[("a.gguf", &content)]);
    setup.server.state().faults.extend([Fault::CloseAfter(100_000), Fault::CloseAfter(50_000)]);
    let fetched = setup.fetch_pinned("hf:owner/repo/a.gguf", Some(&sha256(&content))).unwrap();
    assert_eq!(fs::read(fetched.path).unwrap(), content);
    assert_eq!(setup.server.requests().len(), 4);
}

#[test]
fn a_download_that_stays_truncated_is_an_error_and_resumes_later() {
    let content = content();
    let setup = setup(&[("a.gguf", &content)]);
    setup.server.state().large = true;
    setup.server.state().faults.extend([Fault::CloseAfter(100_000), Fault::CloseAfter(0), Fault::CloseAfter(0)]);
    let error = setup.fetch("hf:owner/repo/a.gguf").unwrap_err();
    let message = error.to_string();
    assert!(matches!(error, Error::Network { attempts: 3, .. }), "{message}");
    assert!(message.contains("hf:owner/repo/a.gguf") && message.contains("of 300000 bytes"), "{message}");
    assert!(setup.blobs().is_empty());

    let fetched = setup.fetch("hf:owner/repo/a.gguf").unwrap();
    assert_eq!(fs::read(fetched.path).unwrap(), content);
}

#[test]
fn a_server_that_ignores_the_range_does_not_double_the_file() {
    let content = content();
    let setup = setup(&[("a.gguf", &content)]);
    setup.server.state().faults.extend([Fault::CloseAfter(100_000), Fault::IgnoreRange]);
    let fetched = setup.fetch("hf:owner/repo/a.gguf").unwrap();
    assert_eq!(fs::read(fetched.path).unwrap(), content);
    assert_eq!(setup.server.requests().len(), 3);
}

#[test]
fn a_damaged_leftover_is_thrown_away() {
    let content = content();
    let setup = setup(&[("a.gguf", &content)]);
    setup.server.state().large = true;
    let blobs = setup.folder.path().join("hub/models--owner--repo/blobs");
    fs::create_dir_all(&blobs).unwrap();
    for leftover in [vec![7; 1000], vec![7; 300_000], vec![7; 400_000]] {
        let _ = fs::remove_dir_all(setup.folder.path().join("hub/models--owner--repo/snapshots"));
        let _ = fs::remove_file(blobs.join(sha256(&content)));
        fs::write(blobs.join(format!("{}.lore-partial", sha256(&content))), leftover).unwrap();
        let fetched = setup.fetch("hf:owner/repo/a.gguf").unwrap();
        assert_eq!(fs::read(fetched.path).unwrap(), content);
    }
}

#[test]
fn a_wrong_hash_names_both_and_keeps_nothing() {
    for large in [false, true] {
        let setup = setup(&[("a.gguf", b"other content")]);
        setup.server.state().large = large;
        let pinned = sha256(b"the content");
        let error = setup.fetch_pinned("hf:owner/repo/a.gguf", Some(&pinned)).unwrap_err();
        let message = error.to_string();
        assert!(matches!(error, Error::WrongHash { .. }), "{message}");
        assert!(message.contains(&pinned) && message.contains(&sha256(b"other content")), "{message}");
        assert!(setup.blobs().is_empty());
        assert!(!setup.folder.path().join("hub/models--owner--repo/snapshots").exists());
    }
}

#[test]
fn a_pinned_hash_finds_what_main_moved_to() {
    let setup = setup(&[("a.txt", b"old")]);
    setup.fetch("hf:owner/repo/a.txt").unwrap();
    setup.server.state().files.insert("a.txt".into(), b"new".to_vec());
    let fetched = setup.fetch_pinned("hf:owner/repo/a.txt", Some(&sha256(b"new"))).unwrap();
    assert_eq!(fs::read(fetched.path).unwrap(), b"new");
}

#[test]
fn a_blob_damaged_on_disk_is_fetched_again() {
    let content = content();
    let setup = setup(&[("a.gguf", &content)]);
    setup.server.state().large = true;
    let fetched = setup.fetch("hf:owner/repo/a.gguf").unwrap();
    let blob = fs::canonicalize(&fetched.path).unwrap();
    damage(&blob);
    let again = setup.fetch("hf:owner/repo/a.gguf").unwrap();
    assert!(!again.from_cache);
    assert_eq!(fs::read(again.path).unwrap(), content);
}

/// Changes one byte, and the time, by more than any file system's step.
fn damage(file: &Path) {
    let mut bytes = fs::read(file).unwrap();
    bytes[10] ^= 1;
    fs::write(file, bytes).unwrap();
    let later = std::time::SystemTime::now() + Duration::from_secs(3);
    fs::File::options().write(true).open(file).unwrap().set_modified(later).unwrap();
}

#[test]
fn not_found_says_what() {
    let setup = setup(&[("a.txt", b"a")]);
    let message = setup.fetch("hf:owner/repo/b.txt").unwrap_err().to_string();
    assert!(message.contains("this file in the repository") && message.contains("hf:owner/repo/b.txt"), "{message}");
    let error = setup.fetch("hf:owner/unknown").unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }), "{error}");
    assert!(error.to_string().contains("this repository"), "{error}");
    assert_eq!(setup.server.requests().len(), 2, "not found is not tried again");
}

#[test]
fn unauthorized_says_how_to_give_a_token() {
    let setup = setup(&[("a.txt", b"a")]);
    setup.server.state().token = Some("right".into());
    let error = setup.fetch("hf:owner/repo/a.txt").unwrap_err();
    assert!(matches!(error, Error::Unauthorized { status: 401, .. }), "{error}");
    assert!(error.to_string().contains("set HF_TOKEN"), "{error}");

    let wrong = Setup { fetcher: setup.fetcher.clone().token(Some("wrong".into())), ..setup };
    let message = wrong.fetch("hf:owner/repo/a.txt").unwrap_err().to_string();
    assert!(message.contains("The token in HF_TOKEN"), "{message}");
    assert!(!message.contains("wrong or") && !format!("{:?}", wrong.fetcher).contains("\"wrong\""));
    let right = Setup { fetcher: wrong.fetcher.clone().token(Some("right".into())), ..wrong };
    right.fetch("hf:owner/repo/a.txt").unwrap();
}

#[test]
fn the_token_is_not_shown_to_the_storage_server() {
    let content = content();
    let storage = HubServer::start(&[("a.gguf", &content)]);
    let setup = setup(&[("a.gguf", &content)]);
    let fetcher = setup.fetcher.clone().token(Some("secret".into()));
    let setup = Setup { fetcher, ..setup };
    {
        let mut state = setup.server.state();
        state.token = Some("secret".into());
        state.large = true;
        state.storage = Some(storage.url.clone());
    }
    storage.state().faults.push_back(Fault::CloseAfter(1000));
    let fetched = setup.fetch("hf:owner/repo/a.gguf").unwrap();
    assert_eq!(fs::read(fetched.path).unwrap(), content);
    let url = "/owner/repo/resolve/main/a.gguf";
    assert_eq!(storage.requests(), [format!("GET {url}"), format!("GET {url}")]);
    assert!(setup.server.requests().iter().all(|request| request.ends_with("with token")));
}

#[test]
fn a_busy_or_silent_hub_is_asked_again() {
    let setup = setup(&[("a.txt", b"a")]);
    setup.server.state().faults.extend([Fault::Status(503), Fault::Silence]);
    let fetched = setup.fetch("hf:owner/repo/a.txt").unwrap();
    assert_eq!(fs::read(fetched.path).unwrap(), b"a");
    assert_eq!(setup.server.requests().len(), 4);

    setup.server.state().files.insert("b.txt".into(), b"b".to_vec());
    setup.server.state().faults.extend([Fault::Status(503); 3]);
    let message = setup.fetch("hf:owner/repo/b.txt").unwrap_err().to_string();
    assert!(message.contains("503 (after 3 attempts)"), "{message}");
}

#[test]
fn a_hub_that_is_not_there() {
    let setup = setup(&[]);
    let free_port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let setup = Setup { fetcher: setup.fetcher.clone().endpoint(format!("http://{free_port}")), ..setup };
    let error = setup.fetch("hf:owner/repo/a.txt").unwrap_err();
    assert!(matches!(error, Error::Network { attempts: 3, .. }), "{error}");
    assert!(setup.fetcher.check_hub().is_err());
}

#[test]
fn a_whole_model_is_its_configuration_tokenizer_and_weights() {
    let content = content();
    let setup = setup(&[
        ("config.json", b"{}"),
        ("tokenizer.json", b"{\"model\":{}}"),
        ("model-00001-of-00002.safetensors", &content),
        ("model-00002-of-00002.safetensors", b"second"),
        ("model.safetensors.index.json", b"{\"weight_map\":{}}"),
        ("consolidated.safetensors", b"again"),
        ("pytorch_model.bin", b"pickle"),
        ("modeling.py", b"code"),
        ("onnx/model.onnx", b"onnx"),
    ]);
    setup.server.state().faults.push_back(Fault::CloseAfter(5));
    let fetched = setup.fetch("hf:owner/repo").unwrap();
    let mut names: Vec<String> =
        fs::read_dir(&fetched.path).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(
        names,
        [
            "config.json",
            "model-00001-of-00002.safetensors",
            "model-00002-of-00002.safetensors",
            "model.safetensors.index.json",
            "tokenizer.json"
        ]
    );
    assert_eq!(fetched.bytes, 2 + 300_000 + 6 + 17 + 12);
    assert!(!fetched.from_cache);

    let before = setup.server.requests().len();
    let again = setup.fetch("hf:owner/repo").unwrap();
    assert_eq!((again.from_cache, &again.path), (true, &fetched.path));
    assert_eq!(setup.server.requests().len(), before);

    fs::remove_file(fs::canonicalize(fetched.path.join("config.json")).unwrap()).unwrap();
    let repaired = setup.fetch("hf:owner/repo").unwrap();
    assert_eq!(fs::read(repaired.path.join("config.json")).unwrap(), b"{}");

    let error = setup.fetch_pinned("hf:owner/repo", Some(&sha256(b""))).unwrap_err();
    assert!(matches!(error, Error::BadHashRequest { .. }), "{error}");
}

#[test]
fn a_dataset_repository() {
    let setup = setup(&[("data/a.parquet", b"PAR1"), ("loader.py", b"code")]);
    let fetched = setup.fetch("hf:datasets/owner/repo").unwrap();
    assert_eq!(fs::read(fetched.path.join("data/a.parquet")).unwrap(), b"PAR1");
    assert_eq!(fetched.bytes, 4);
}

#[test]
fn names_from_the_server_never_leave_the_cache() {
    for name in ["../../evil.safetensors", "/evil.safetensors", "a\\..\\evil.safetensors", "a/../../evil.safetensors"] {
        let setup = setup(&[("model.safetensors", b"x")]);
        setup.server.state().also_listed.push(name.into());
        let error = setup.fetch("hf:owner/repo").unwrap_err();
        assert!(matches!(error, Error::Refused { .. }), "{error}");
        assert!(setup.blobs().is_empty());
    }
    let setup = setup(&[("a.txt", b"x")]);
    setup.server.state().etag = Some("../../evil".into());
    let error = setup.fetch("hf:owner/repo/a.txt").unwrap_err();
    assert!(matches!(error, Error::Refused { .. }), "{error}");
}

#[test]
fn pickles_and_code_are_refused() {
    let setup = setup(&[("pytorch_model.bin", b"x"), ("config.json", b"{}")]);
    let message = setup.fetch("hf:owner/repo/pytorch_model.bin").unwrap_err().to_string();
    assert!(message.contains("can run code"), "{message}");
    let message = setup.fetch("hf:owner/repo").unwrap_err().to_string();
    assert!(message.contains("pickled"), "{message}");

    setup.server.state().files.insert("q4.gguf".into(), b"GGUF".to_vec());
    let message = setup.fetch("hf:owner/repo").unwrap_err().to_string();
    assert!(message.contains("`hf:owner/repo/q4.gguf`"), "{message}");
}
