//! `lore pack` from an author's folder of texts to a stranger's library.

#![allow(clippy::unwrap_used)]

#[path = "../../datasets/tests/hub_server/mod.rs"]
#[allow(dead_code)]
mod hub_server;
mod workbench;
#[path = "../../packs/tests/workshop/mod.rs"]
mod workshop;

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::thread::sleep;

use hub_server::HubServer;
use lore_packs::{Draft, build, verify_folder};
use workbench::Workbench;
use workbench::tiny_recipe::tiny_run;
use workshop::Workshop;

const KEYS: [&str; 2] = ["--keys", "keys"];
const LIBRARY: [&str; 4] = ["--library", "library", "--keys", "keys"];

fn pack<'a>(command: &[&'a str], options: &[&'a str]) -> Vec<&'a str> {
    [&["pack"], command, options].concat()
}

/// The four commands of an author, and one more; returns the unsigned bytes of the pack.
fn author(bench: &Workbench) -> Vec<u8> {
    let new = [
        "new",
        "brooks",
        "--texts",
        "rivers",
        "--license",
        "CC-BY-4.0",
        "--author",
        "Ada Lovelace",
        "--recipe",
        "recipe.toml",
    ];
    assert_eq!(bench.succeeds(&pack(&new, &[])).stdout, "brooks\n");
    bench.write("brooks/recipe.toml", {
        let text = String::from_utf8(bench.read("brooks/recipe.toml")).unwrap();
        text.replace("prompts = []", "prompts = [\"the brook\"]").replace("test = 0.1", "test = 0.2")
    });
    bench.succeeds(&["run", "brooks/recipe.toml"]);
    bench.succeeds(&pack(&["keygen"], &KEYS));
    let built = bench.succeeds(&pack(&["build", "brooks"], &KEYS));
    assert_eq!(built.stdout, "brooks-0.1.0.lorepack\n");
    assert!(built.stderr.contains("brooks 0.1.0: intact, unsigned"), "{}", built.stderr);
    let unsigned = bench.read("brooks-0.1.0.lorepack");
    let signed = bench.succeeds(&pack(&["build", "brooks", "--sign"], &KEYS));
    assert!(signed.stderr.contains("signed by the trusted key `own`"), "{}", signed.stderr);
    unsigned
}

#[test]
fn from_a_folder_of_texts_to_a_strangers_library() {
    let (bench, twin) = (tiny_run(), tiny_run());
    let bytes = author(&bench);
    assert!(bytes == author(&twin), "two authors with the same texts and recipe make the same pack");
    let text = String::from_utf8_lossy(&bytes);
    let here = bench.path("").display().to_string();
    assert!(!text.contains(here.trim_end_matches('/')), "it says where it was made");

    let inspected = bench.succeeds(&pack(&["inspect", "brooks-0.1.0.lorepack"], &KEYS)).stdout;
    for part in [
        "brooks 0.1.0",
        "CC-BY-4.0",
        "tiny-base, lore-base-v1:",
        "file:corpus (CC-BY-4.0), 40 documents",
        "bits per byte on brooks",
        "bits per byte on general",
    ] {
        assert!(inspected.contains(part), "`{part}` is not in: {inspected}");
    }
    let card = bench.succeeds(&pack(&["inspect", "brooks-0.1.0.lorepack", "--card"], &KEYS)).stdout;
    assert!(card.starts_with("---\nlanguage: [\"en\"]\nlicense: cc-by-4.0\n"), "{card}");
    bench.succeeds(&pack(&["verify", "brooks-0.1.0.lorepack", "--base", "runs/brooks/base"], &KEYS));

    // Someone else, who has the base.
    let stranger = Workbench::new();
    workbench::copy(&bench.path("brooks-0.1.0.lorepack"), &stranger.path("brooks.lorepack"));
    workbench::copy(&bench.path("runs/brooks/base"), &stranger.path("base"));
    workbench::copy(&bench.path("keys/signing.pub"), &stranger.path("ada.pub"));
    stranger.model("tiny-qwen3", "other");
    let install = pack(&["install", "brooks.lorepack", "--base", "base"], &LIBRARY);
    stranger.fails(1, &install, &["signed by an unknown key (RW", "`lore pack trust NAME RW"]);
    assert!(stranger.listing("library/store").is_empty() && stranger.listing("library/tmp").is_empty());
    stranger.succeeds(&pack(&["trust", "ada", "ada.pub"], &KEYS));
    let wrong = pack(&["install", "brooks.lorepack", "--base", "other"], &LIBRARY);
    stranger.fails(1, &wrong, &["it is made for the base lore-base-v1:"]);
    let installed = stranger.succeeds(&install);
    let folder = installed.stdout.trim_end();
    assert!(installed.stderr.contains("signed by the trusted key `ada`"), "{}", installed.stderr);
    let generate = |modules: &[&str]| {
        let arguments = ["generate", "--base", "base", "--prompt", "the brook", "--max-tokens", "8"];
        stranger.succeeds(&[&arguments, modules].concat()).stdout
    };
    let with = format!("{folder}=8");
    assert_ne!(generate(&["--module", &with]), generate(&[]));
    let listed = stranger.succeeds(&pack(&["list"], &LIBRARY[..2])).stdout;
    assert!(listed.starts_with("brooks  0.1.0      CC-BY-4.0") && listed.contains(folder), "{listed}");
    stranger.succeeds(&pack(&["verify", folder], &KEYS));

    stranger.succeeds(&pack(&["revoke", "ada.pub", "--reason", "stolen laptop"], &KEYS));
    stranger.fails(1, &pack(&["verify", "brooks.lorepack"], &KEYS), &["is revoked: key RW", "stolen laptop"]);
    assert_eq!(stranger.succeeds(&pack(&["remove", "brooks"], &LIBRARY[..2])).stdout, "removed brooks 0.1.0\n");
    stranger.fails(1, &pack(&["remove", "brooks"], &LIBRARY[..2]), &["`brooks` is not installed"]);

    build_refuses_and_names_everything(&bench);
    an_evaluation_of_another_module_does_not_count(&bench);
}

/// The run of the bench's own recipe has texts without a licence.
fn build_refuses_and_names_everything(bench: &Workbench) {
    bench.fails(1, &pack(&["build", "nowhere"], &[]), &["nowhere holds no finished run", "pack.toml"]);
    bench.succeeds(&["run", "recipe.toml"]);
    bench.fails(2, &pack(&["build", "runs/tiny"], &[]), &["has several modules", "rivers, hills"]);
    bench.fails(2, &pack(&["build", "runs/tiny", "--module", "lakes"], &[]), &["--module lakes", "rivers, hills"]);
    let missing = ["no licence", "no author", "no version", "no summary", "the text \"file:rivers\" has no licence"];
    bench.fails(1, &pack(&["build", "runs/tiny", "--module", "rivers"], &[]), &missing);
    assert!(!bench.path("rivers.lorepack").exists());
    bench.write("brooks/pack.toml", "name = \"brooks\"\nlicence = \"MIT\"\n");
    bench.fails(2, &pack(&["build", "brooks"], &[]), &["brooks/pack.toml", "line 2", "unknown field `licence`"]);
}

/// Measured, then trained again: the figures are of the module before.
fn an_evaluation_of_another_module_does_not_count(bench: &Workbench) {
    let stage = bench.listing("runs/brooks/stages").into_iter().find(|name| name.starts_with("module-brooks")).unwrap();
    workbench::edit_json(&bench.path(&format!("runs/brooks/stages/{stage}/stage.json")), |manifest| {
        manifest["identity"] = "0".repeat(64).into();
    });
    bench.write(
        "brooks/pack.toml",
        "name = \"brooks\"\nversion = \"1.0.0\"\nsummary = \"Brooks\"\nauthors = [\"Ada\"]\n",
    );
    bench.fails(1, &pack(&["build", "brooks"], &[]), &["it has no evaluation on its base"]);
}

fn named(workshop: &Workshop, file: &str, change: impl FnOnce(&mut Draft)) -> String {
    workshop.pack(file, change).display().to_string()
}

const ACCEPT: &str = "--allow-unsigned";

#[test]
fn publishing_installing_by_name_and_updating() {
    let (workshop, bench) = (Workshop::new(), Workbench::new());
    let version = |version: &'static str| move |draft: &mut Draft| draft.version = Some(version.parse().unwrap());
    let lakes = named(&workshop, "lakes.lorepack", |draft| draft.name = "lakes".into());
    let rivers = named(&workshop, "rivers.lorepack", |draft| {
        draft.dependencies = vec![lore_packs::Requirement { name: "lakes".into(), version: "*".parse().unwrap() }];
    });
    let newer = named(&workshop, "newer.lorepack", version("0.2.0"));
    bench.succeeds(&pack(&["publish", &rivers, &lakes, "--to", "shelf"], &KEYS));
    assert!(lore_modules::peft::read(&bench.path("shelf/rivers")).is_ok());

    let from = |names: &[&'static str]| [names, &["--index", "shelf", ACCEPT], &LIBRARY].concat();
    bench.fails(1, &pack(&["install", "rivers"], &from(&[])[..2]), &["is unsigned", "--allow-unsigned"]);
    bench.fails(1, &pack(&["install", "woods"], &from(&[])), &["has no `woods` *", "it has no such module"]);
    bench.fails(2, &pack(&["install", "rivers"], &LIBRARY), &["`rivers`: no such file", "--index"]);
    bench.fails(2, &pack(&["install", "rivers@newest"], &from(&[])), &["`newest` is not a version requirement"]);
    let installed = bench.succeeds(&pack(&["install", "rivers"], &from(&[])));
    assert_eq!(installed.stdout.lines().count(), 2, "what it needs comes along: {}", installed.stdout);
    bench.fails(1, &pack(&["remove", "lakes"], &LIBRARY[..2]), &["`lakes` is needed by rivers"]);

    assert_eq!(bench.succeeds(&pack(&["update", ACCEPT], &LIBRARY)).stdout, "");
    bench.succeeds(&pack(&["publish", &newer, "--to", "shelf"], &KEYS));
    bench.succeeds(&pack(&["update", ACCEPT], &LIBRARY));
    let listed = bench.succeeds(&pack(&["list"], &LIBRARY[..2])).stdout;
    assert!(listed.contains("rivers  0.2.0") && listed.contains("lakes   0.1.0"), "{listed}");
    bench.fails(1, &pack(&["install", &rivers, ACCEPT], &LIBRARY), &["version 0.2.0 is installed, which is higher"]);

    // Someone puts another file in place of a published one.
    fs::copy(&lakes, bench.path("shelf/rivers-0.2.0.lorepack")).unwrap();
    let forged = bench.fails(1, &pack(&["install", "rivers"], &from(&[])), &["sha256"]);
    assert!(forged.stderr.contains("rivers-0.2.0.lorepack"), "{}", forged.stderr);
}

#[test]
fn from_and_to_a_model_hub() {
    let (workshop, bench) = (Workshop::new(), Workbench::new());
    let first = named(&workshop, "rivers.lorepack", |_| {});
    let to = ["publish", &first, "--to", "hf:owner/repo", "--out", "repository"];
    let published = bench.succeeds(&pack(&to, &KEYS));
    assert!(published.stdout.contains("hf upload owner/repo repository ."), "{}", published.stdout);

    let upload = |hub: &HubServer| {
        for name in bench.listing("repository").into_iter().filter(|name| !name.starts_with('.')) {
            hub.state().files.insert(name.clone(), bench.read(&format!("repository/{name}")));
        }
    };
    let hub = HubServer::start(&[]);
    upload(&hub);
    let run = |arguments: &[&str]| {
        let mut command = bench.command(&pack(arguments, &LIBRARY));
        workbench::Answer::of(command.env("HF_ENDPOINT", &hub.url).env_remove("HF_HUB_OFFLINE").output().unwrap())
    };
    let installed = run(&["install", "hf:owner/repo", ACCEPT]);
    assert_eq!(installed.code, 0, "{}", installed.stderr);
    verify_folder(Path::new(installed.stdout.trim_end()), None)
        .unwrap_or_else(|_| verify_folder(&bench.path(installed.stdout.trim_end()), None).unwrap());
    let direct = run(&["install", "hf:owner/repo/rivers-0.1.0.lorepack", ACCEPT]);
    assert_eq!(direct.code, 0, "{}", direct.stderr);
    assert_eq!(run(&["install", "hf:owner/repo", ACCEPT]).code, 0);

    let newer = named(&workshop, "newer.lorepack", |draft| draft.version = Some("0.2.0".parse().unwrap()));
    bench.succeeds(&pack(&["publish", &newer, "--to", "hf:owner/repo", "--out", "repository"], &KEYS));
    upload(&hub);
    let updated = run(&["update", ACCEPT]);
    assert_eq!(updated.code, 0, "{}", updated.stderr);
    assert!(bench.succeeds(&pack(&["list"], &LIBRARY[..2])).stdout.contains("rivers  0.2.0"), "{}", updated.stderr);
}

/// Two versions, large enough that writing them takes a while.
fn two_versions(workshop: &Workshop) -> [String; 2] {
    let adapter = workshop.path("adapter");
    let mut module = lore_modules::peft::read(&adapter).unwrap();
    for update in module.updates.values_mut() {
        update.in_features = 1 << 20;
        update.a = vec![0.25; 2 << 20];
    }
    lore_modules::peft::write(&adapter, &module, lore_model::weights::safetensors_writer::StoredType::F32).unwrap();
    ["1.0.0", "2.0.0"].map(|version| {
        let path = workshop.path(&format!("{version}.lorepack"));
        let mut draft = workshop.draft();
        draft.version = Some(version.parse().unwrap());
        build(&path, &draft).unwrap();
        path.display().to_string()
    })
}

#[cfg(unix)]
#[test]
fn killed_at_any_point_the_library_holds_one_whole_version() {
    let (workshop, bench) = (Workshop::new(), Workbench::new());
    let packs = two_versions(&workshop);
    let install = |pack_file: &str| {
        pack(&["install"], &[&[pack_file, ACCEPT, "--allow-downgrade"], &LIBRARY[..]].concat())
            .into_iter()
            .map(String::from)
            .collect::<Vec<_>>()
    };
    bench.succeeds(&install(&packs[0]).iter().map(String::as_str).collect::<Vec<_>>());
    let began = std::time::Instant::now();
    bench.succeeds(&install(&packs[1]).iter().map(String::as_str).collect::<Vec<_>>());
    let whole = began.elapsed();
    let mut seen = [0, 0];
    const KILLS: u32 = 48;
    for kill in 0..KILLS {
        let arguments = install(&packs[kill as usize % 2]);
        let mut command = bench.command(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // Spread over twice the time it takes, in no order, so that either version is often there.
        sleep(whole * 2 * (kill * 7 % KILLS) / KILLS);
        let _ = child.kill();
        child.wait().unwrap();
        // Before anyone tidies up.
        let folder = bench.path("library/modules/rivers");
        let found = verify_folder(&folder, None).unwrap_or_else(|error| panic!("kill {kill}: {error}"));
        seen[usize::from(found.manifest.version.major == 2)] += 1;
        let library = lore_packs::Library::new(bench.path("library"));
        let listed = library.list().unwrap();
        assert!(verify_folder(&library.folder("rivers", &listed["rivers"]), None).is_ok(), "kill {kill}");
    }
    eprintln!("after {KILLS} kills within {whole:?}: version 1 {} times, version 2 {} times", seen[0], seen[1]);
    bench.succeeds(&install(&packs[1]).iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(bench.listing("library/store").len(), 1);
    assert!(bench.listing("library/tmp").is_empty());
}

/// A limit on the size of files stands for a full disk: writing fails in the middle.
#[cfg(unix)]
#[test]
fn a_full_disk_leaves_the_old_version() {
    let (workshop, bench) = (Workshop::new(), Workbench::new());
    let packs = two_versions(&workshop);
    let small = named(&workshop, "small.lorepack", |draft| draft.name = "lakes".into());
    bench.succeeds(&pack(&["install", &small, ACCEPT], &LIBRARY));
    let mut shell = std::process::Command::new("sh");
    bench.prepare(&mut shell);
    let program = env!("CARGO_BIN_EXE_lore");
    let script = format!(
        "trap '' XFSZ; ulimit -f 64; exec {program} pack install {} {ACCEPT} --library library --keys keys",
        packs[0]
    );
    let answer = workbench::Answer::of(shell.args(["-c", &script]).output().unwrap());
    answer.is_clear_failure(1, &["adapter_model.safetensors", "too large"]);
    let listed = bench.succeeds(&pack(&["list"], &LIBRARY[..2])).stdout;
    assert!(listed.starts_with("lakes") && listed.lines().count() == 1, "{listed}");
    assert_eq!((bench.listing("library/store").len(), bench.listing("library/tmp").len()), (1, 0));
}

#[cfg(unix)]
#[test]
fn two_programs_at_once_both_succeed() {
    let (workshop, bench) = (Workshop::new(), Workbench::new());
    let large = two_versions(&workshop);
    let other = named(&workshop, "lakes.lorepack", |draft| draft.name = "lakes".into());
    let start = |file: &str| {
        let mut command = bench.command(&pack(&["install", file, ACCEPT], &LIBRARY));
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let children = [start(&large[0]), start(&other), start(&large[0])];
    for child in children {
        let answer = workbench::Answer::of(child.wait_with_output().unwrap());
        assert_eq!(answer.code, 0, "{}", answer.stderr);
    }
    let listed = bench.succeeds(&pack(&["list"], &LIBRARY[..2])).stdout;
    assert!(listed.contains("lakes ") && listed.contains("rivers"), "{listed}");
}

#[test]
fn a_project_is_not_made_over_anything() {
    let bench = Workbench::new();
    bench.write("texts/a.txt", "A brook.");
    bench.write("pictures/a.png", "");
    bench.fails(2, &pack(&["new", "../brooks"], &[]), &["cannot name a module"]);
    bench.fails(2, &pack(&["new", "texts"], &[]), &["texts exists already"]);
    bench.fails(2, &pack(&["new", "brooks", "--texts", "pictures"], &[]), &["holds no texts"]);
    bench.fails(2, &pack(&["new", "brooks", "--license", "free"], &[]), &["not an SPDX licence expression"]);
    assert_eq!(bench.listing("."), ["pictures", "texts"]);
    // With the quickstart's base, the recipe is accepted as it stands.
    bench.succeeds(&pack(&["new", "brooks", "--texts", "texts"], &[]));
    let plan = bench.succeeds(&["run", "brooks/recipe.toml", "--plan"]).stdout;
    assert!(plan.contains("module:brooks"), "{plan}");
    assert_eq!(bench.listing("brooks"), ["ABOUT.md", "corpus", "pack.toml", "recipe.toml"]);
}
