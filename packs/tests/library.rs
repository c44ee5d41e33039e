//! The library: what is installed, together and at once.

#![allow(clippy::unwrap_used)]

mod workshop;

use std::fs;
use std::path::{Path, PathBuf};

use lore_packs::{Draft, Index, Layout, Library, Policy, Requirement, publish, sign, verify_folder};
use workshop::Workshop;

fn requirement(name: &str, version: &str) -> Requirement {
    Requirement { name: name.into(), version: version.parse().unwrap() }
}

fn named(name: &'static str, version: &'static str) -> impl FnOnce(&mut Draft) {
    move |draft| {
        draft.name = name.into();
        draft.version = Some(version.parse().unwrap());
    }
}

fn install(library: &Library, packs: &[&PathBuf], policy: &Policy) -> Result<Vec<PathBuf>, String> {
    let mut held = library.lock(&|| ()).unwrap();
    let staged = packs.iter().map(|pack| held.stage(pack, "test", None).unwrap()).collect();
    held.commit(staged, policy).map_err(|error| error.to_string())
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn installing_updating_and_removing() {
    let workshop = Workshop::new();
    let library = Library::new(workshop.path("library"));
    assert!(library.list().unwrap().is_empty());
    let old = workshop.pack("old.lorepack", named("rivers", "1.0.0"));
    let new = workshop.pack("new.lorepack", named("rivers", "1.1.0"));
    let folder = &install(&library, &[&old], &Policy::default()).unwrap()[0];
    assert_eq!(verify_folder(folder, None).unwrap().manifest.version.to_string(), "1.0.0");
    assert!(lore_modules::peft::read(folder).is_ok(), "it is a module as it stands");

    install(&library, &[&old], &Policy::default()).unwrap();
    assert_eq!(names(&library.root().join("store")).len(), 1, "the same again changes nothing");

    let again = &install(&library, &[&new], &Policy::default()).unwrap()[0];
    #[cfg(unix)]
    assert_eq!(again, folder, "the folder has one name for all versions");
    assert_eq!(verify_folder(again, None).unwrap().manifest.version.to_string(), "1.1.0");
    assert_eq!(names(&library.root().join("store")).len(), 1, "the old version is gone");

    let error = install(&library, &[&old], &Policy::default()).unwrap_err();
    assert!(error.contains("version 1.1.0 is installed, which is higher"), "{error}");
    install(&library, &[&old], &Policy { allow_downgrade: true, ..Policy::default() }).unwrap();

    // A damaged folder is not taken for the pack it was.
    let stored = fs::canonicalize(folder).unwrap();
    fs::write(stored.join("recipe.toml"), "changed").unwrap();
    assert!(verify_folder(folder, None).is_err());
    let repaired = &install(&library, &[&old], &Policy::default()).unwrap()[0];
    assert!(verify_folder(repaired, None).is_ok());

    let mut held = library.lock(&|| ()).unwrap();
    assert_eq!(held.remove("rivers").unwrap().version.to_string(), "1.0.0");
    assert!(held.remove("rivers").unwrap_err().to_string().contains("nothing is"));
    for folder in ["store", "modules", "tmp"] {
        assert!(names(&library.root().join(folder)).is_empty(), "{folder}");
    }
}

#[test]
fn an_installed_folder_with_a_link_or_a_stranger_is_refused() {
    let workshop = Workshop::new();
    let library = Library::new(workshop.path("library"));
    let pack = workshop.pack("a.lorepack", |_| {});
    let folder = fs::canonicalize(&install(&library, &[&pack], &Policy::default()).unwrap()[0]).unwrap();
    fs::write(folder.join("evil.py"), "").unwrap();
    assert!(verify_folder(&folder, None).unwrap_err().to_string().contains("`evil.py` is a kind of file"));
    fs::remove_file(folder.join("evil.py")).unwrap();
    #[cfg(unix)]
    {
        fs::rename(folder.join("README.md"), workshop.path("card")).unwrap();
        std::os::unix::fs::symlink(workshop.path("card"), folder.join("README.md")).unwrap();
        assert!(verify_folder(&folder, None).unwrap_err().to_string().contains("`README.md` is not a plain file"));
    }
}

#[test]
fn dependencies_and_conflicts() {
    let workshop = Workshop::new();
    let library = Library::new(workshop.path("library"));
    let needing = workshop.pack("rivers.lorepack", |draft| draft.dependencies = vec![requirement("lakes", "^1.2")]);
    let (old, good) = (
        workshop.pack("old.lorepack", named("lakes", "1.1.0")),
        workshop.pack("lakes.lorepack", named("lakes", "1.3.0")),
    );
    let alone = install(&library, &[&needing], &Policy::default()).unwrap_err();
    assert!(alone.contains("it needs lakes ^1.2, which is not installed"), "{alone}");
    let with_old = install(&library, &[&needing, &old], &Policy::default()).unwrap_err();
    assert!(with_old.contains("it needs lakes ^1.2, and 1.1.0 is installed"), "{with_old}");
    assert!(library.list().unwrap().is_empty(), "all of it or nothing");
    install(&library, &[&needing, &good], &Policy::default()).unwrap();

    let used = library.lock(&|| ()).unwrap().remove("lakes").unwrap_err().to_string();
    assert!(used.contains("`lakes` is needed by rivers"), "{used}");
    let too_new = workshop.pack("lakes2.lorepack", named("lakes", "2.0.0"));
    let error = install(&library, &[&too_new], &Policy::default()).unwrap_err();
    assert!(error.contains("`rivers` 0.1.0 needs lakes ^1.2"), "{error}");

    let hostile = workshop.pack("hills.lorepack", |draft| {
        draft.name = "hills".into();
        draft.conflicts = vec![requirement("lakes", "<2")];
    });
    let error = install(&library, &[&hostile], &Policy::default()).unwrap_err();
    assert!(error.contains("`hills` excludes lakes <2"), "{error}");
}

#[test]
fn licences_that_do_not_go_together() {
    let workshop = Workshop::new();
    let library = Library::new(workshop.path("library"));
    let licensed = |file: &str, name: &'static str, license: &'static str| {
        workshop.pack(file, |draft| {
            draft.name = name.into();
            draft.license = Some(license.into());
            draft.license_text = Some("The terms.".into());
        })
    };
    let alike = licensed("a.lorepack", "rivers", "CC-BY-SA-4.0");
    let private = licensed("b.lorepack", "lakes", "CC-BY-NC-4.0");
    install(&library, &[&alike], &Policy::default()).unwrap();
    let error = install(&library, &[&private], &Policy::default()).unwrap_err();
    assert!(error.contains("CC-BY-NC-4.0 and that of `rivers`, CC-BY-SA-4.0, do not go together"), "{error}");
    install(&library, &[&private], &Policy { accept_licenses: true, ..Policy::default() }).unwrap();
    assert_eq!(library.list().unwrap().len(), 2);
}

#[test]
fn two_installs_at_once_both_succeed() {
    let workshop = Workshop::new();
    let root = workshop.path("library");
    let packs: Vec<PathBuf> = ["rivers", "lakes", "hills", "woods"]
        .into_iter()
        .map(|name| workshop.pack(&format!("{name}.lorepack"), named(name, "1.0.0")))
        .collect();
    for _ in 0..5 {
        std::thread::scope(|scope| {
            for pack in &packs {
                let root = &root;
                scope.spawn(move || install(&Library::new(root), &[pack], &Policy::default()).unwrap());
            }
        });
        let library = Library::new(&root);
        let installed = library.list().unwrap();
        assert_eq!(installed.len(), packs.len());
        for (name, module) in &installed {
            verify_folder(&library.folder(name, module), None).unwrap();
        }
        let mut held = library.lock(&|| ()).unwrap();
        for name in installed.keys() {
            held.remove(name).unwrap();
        }
    }
}

#[test]
fn what_a_killed_process_left_is_cleared() {
    let workshop = Workshop::new();
    let library = Library::new(workshop.path("library"));
    let pack = workshop.pack("a.lorepack", |_| {});
    let folder = install(&library, &[&pack], &Policy::default()).unwrap().remove(0);
    let root = library.root();
    // Killed while it unpacked; killed before a new version was named; killed before the link followed.
    fs::create_dir_all(root.join("tmp/install-x/half")).unwrap();
    fs::create_dir_all(root.join("store/rivers-9.9.9-0123456789ab")).unwrap();
    #[cfg(unix)]
    {
        fs::remove_file(root.join("modules/rivers")).unwrap();
        std::os::unix::fs::symlink("../store/rivers-9.9.9-0123456789ab", root.join("modules/rivers")).unwrap();
    }
    drop(library.lock(&|| ()).unwrap());
    assert!(names(&root.join("tmp")).is_empty());
    assert_eq!(names(&root.join("store")).len(), 1);
    verify_folder(&folder, None).unwrap();
}

#[test]
fn publishing_to_a_folder() {
    let workshop = Workshop::new();
    let shelf = workshop.path("shelf");
    let old = workshop.pack("old.lorepack", named("rivers", "1.0.0"));
    let new = workshop.pack("new.lorepack", named("rivers", "1.10.0"));
    publish(&new, &shelf, Layout::Shelf).unwrap();
    let (_, published) = publish(&old, &shelf, Layout::Shelf).unwrap();
    assert_eq!(published.pack, shelf.join("rivers-1.0.0.lorepack"));
    assert!(lore_modules::peft::read(&published.adapter).is_ok());
    let index = Index::read(&published.index).unwrap();
    assert_eq!(index.packs.len(), 2);
    let find = |wanted: &str| index.find("rivers", &wanted.parse().unwrap()).map(|entry| entry.version.to_string());
    assert_eq!((find("*"), find("~1.0"), find("^2")), (Some("1.10.0".into()), Some("1.0.0".into()), None));
    assert!(
        fs::read_to_string(shelf.join("rivers/README.md")).unwrap().contains("rivers 1.10.0"),
        "the newest is shown"
    );

    // A version does not change; a signature may come later.
    let changed = workshop.pack("changed.lorepack", |draft| {
        draft.version = Some("1.0.0".parse().unwrap());
        draft.summary = "Another".into();
    });
    let error = publish(&changed, &shelf, Layout::Shelf).unwrap_err().to_string();
    assert!(error.contains("published before with other content"), "{error}");
    sign(&old, &workshop.key("key")).unwrap();
    publish(&old, &shelf, Layout::Shelf).unwrap();
    assert!(Index::read(&published.index).unwrap().packs[0].signer.is_some());

    let repository = workshop.path("repository");
    publish(&old, &repository, Layout::Repository).unwrap();
    assert!(lore_modules::peft::read(&repository).is_ok());
    let other = workshop.pack("other.lorepack", named("lakes", "1.0.0"));
    let error = publish(&other, &repository, Layout::Repository).unwrap_err().to_string();
    assert!(error.contains("is the repository of `rivers`"), "{error}");

    fs::write(
        shelf.join("index.json"),
        fs::read_to_string(shelf.join("index.json")).unwrap().replace("rivers-1.0.0.lorepack", "../x.lorepack"),
    )
    .unwrap();
    assert!(Index::read(&shelf.join("index.json")).unwrap_err().to_string().contains("unusable name, hash, or file"));
}
