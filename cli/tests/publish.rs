//! `lore pack publish --to hf:` against a hub on loopback, and the page of a pack.

#![allow(clippy::unwrap_used)]

#[path = "../../datasets/tests/upload_hub/mod.rs"]
#[allow(dead_code)]
mod upload_hub;
mod workbench;
#[path = "../../packs/tests/workshop/mod.rs"]
mod workshop;

use std::fs;

use upload_hub::{Fault, UploadHub};
use workbench::{Answer, Workbench};
use workshop::Workshop;

struct Setup {
    hub: UploadHub,
    workshop: Workshop,
    bench: Workbench,
}

impl Setup {
    fn new() -> Self {
        let hub = UploadHub::start();
        hub.state().token = Some("right".into());
        Self { hub, workshop: Workshop::new(), bench: Workbench::new() }
    }

    fn version(&self, version: &'static str) -> String {
        let change = |draft: &mut lore_packs::Draft| draft.version = Some(version.parse().unwrap());
        self.workshop.pack(&format!("{version}.lorepack"), change).display().to_string()
    }

    fn run(&self, token: Option<&str>, arguments: &[&str]) -> Answer {
        let mut command = self.bench.command(&[&["pack"], arguments, &["--keys", "keys"]].concat());
        command.env("HF_ENDPOINT", &self.hub.url).env("HF_HOME", self.bench.path("hf")).env_remove("HF_HUB_OFFLINE");
        match token {
            Some(token) => command.env("HF_TOKEN", token),
            None => command.env_remove("HF_TOKEN"),
        };
        Answer::of(command.output().unwrap())
    }

    fn publish(&self, token: Option<&str>, pack: &str, more: &[&str]) -> Answer {
        self.run(token, &[&["publish", pack, "--to", "hf:owner/repo"], more].concat())
    }
}

#[test]
fn a_pack_is_published_to_a_hub_and_installed_from_it() {
    let setup = Setup::new();
    let (first, second) = (setup.version("0.1.0"), setup.version("0.2.0"));

    let dry = setup.publish(Some("right"), &first, &["--dry-run"]);
    assert_eq!(dry.code, 0, "{}", dry.stderr);
    for part in ["To hf:owner/repo, which would be made:", "rivers-0.1.0.lorepack", "card.html", "index.json", "sha256"]
    {
        assert!(dry.stdout.contains(part), "`{part}` is not in: {}", dry.stdout);
    }
    assert!(!setup.hub.state().exists, "a dry run changes nothing");
    assert!(setup.hub.requests().iter().all(|request| request.starts_with("GET")), "{:?}", setup.hub.requests());

    setup.hub.state().faults.extend([Fault::CloseAfter(1000), Fault::Status(500)]);
    let published = setup.publish(Some("right"), &first, &["--private"]);
    assert_eq!(published.code, 0, "{}", published.stderr);
    assert!(published.stderr.contains("Made the repository owner/repo"), "{}", published.stderr);
    assert_eq!(published.stdout, "lore pack install hf:owner/repo\n");
    {
        let state = setup.hub.state();
        assert!(state.private);
        assert_eq!(state.messages, ["rivers 0.1.0"]);
        assert_eq!(state.files["rivers-0.1.0.lorepack"], fs::read(&first).unwrap());
        assert!(state.files.contains_key("adapter_model.safetensors") && state.files.contains_key("card.html"));
        let hidden = state.files.keys().filter(|name| name.starts_with('.')).collect::<Vec<_>>();
        assert_eq!(hidden, [".gitattributes"], "no lock, no temporary file");
    }

    // The next version stands beside the first, whose pack is not on this machine any more.
    let published = setup.publish(Some("right"), &second, &[]);
    assert_eq!(published.code, 0, "{}", published.stderr);
    let index = String::from_utf8(setup.hub.state().files["index.json"].clone()).unwrap();
    assert!(index.contains("\"0.1.0\"") && index.contains("\"0.2.0\""), "{index}");
    let again = setup.publish(Some("right"), &second, &[]);
    assert_eq!(again.code, 0, "the same again is no mistake: {}", again.stderr);

    let library = ["--library", "library", "--allow-unsigned"];
    let installed = setup.run(None, &[&["install", "hf:owner/repo"], &library[..]].concat());
    assert_eq!(installed.code, 0, "{}", installed.stderr);
    assert!(installed.stderr.contains("rivers 0.2.0: intact"), "{}", installed.stderr);
    let leftovers = setup.bench.listing("cache/partial");
    assert!(leftovers.is_empty(), "{leftovers:?}");
}

#[test]
fn what_a_hub_refuses_is_told_and_changes_nothing() {
    let setup = Setup::new();
    let first = setup.version("0.1.0");
    setup.publish(None, &first, &[]).is_clear_failure(1, &["hf:owner/repo", "Set HF_TOKEN to a token that may write"]);
    setup.publish(Some("wrong"), &first, &[]).is_clear_failure(1, &["answered 401", "may not write there"]);
    assert!(!setup.hub.state().exists);

    // The token file of other hub clients is looked at too.
    setup.bench.write("hf/token", "right\n");
    assert_eq!(setup.publish(None, &first, &[]).code, 0);

    let commits = setup.hub.state().commits;
    let changed = setup.workshop.pack("changed.lorepack", |draft| draft.summary = "Another".into());
    let changed = changed.display().to_string();
    setup.publish(None, &changed, &[]).is_clear_failure(1, &["was published before with other content"]);
    let lakes = setup.workshop.pack("lakes.lorepack", |draft| draft.name = "lakes".into()).display().to_string();
    setup.publish(None, &lakes, &[]).is_clear_failure(1, &["is the repository of `rivers`"]);
    setup.hub.state().overtaken = true;
    let second = setup.version("0.2.0");
    setup.publish(None, &second, &[]).is_clear_failure(1, &["the repository changed while this was prepared"]);
    setup.hub.state().files.remove("index.json");
    setup.publish(None, &second, &[]).is_clear_failure(1, &["holds something else (LICENSE.txt", "choose another"]);
    assert_eq!(setup.hub.state().commits, commits + 1, "but for the commit of someone else");

    let usage = setup.run(None, &["publish", &first, "--to", "shelf", "--dry-run"]);
    usage.is_clear_failure(2, &["only for hf:owner/repo"]);
    let mut offline = setup.bench.command(&["pack", "publish", &first, "--to", "hf:owner/repo", "--offline"]);
    Answer::of(offline.output().unwrap()).is_clear_failure(1, &["offline mode is on"]);
}

#[test]
fn the_page_of_a_pack() {
    let setup = Setup::new();
    let first = setup.version("0.1.0");
    let written = setup.run(None, &["inspect", &first, "--html", "card.html"]);
    assert_eq!((written.code, written.stdout.as_str()), (0, "card.html\n"), "{}", written.stderr);
    let page = String::from_utf8(setup.bench.read("card.html")).unwrap();
    assert!(page.starts_with("<!doctype html>") && page.contains("rivers 0.1.0"), "{page}");
}
