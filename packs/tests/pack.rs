//! Building, signing and checking packs.

#![allow(clippy::unwrap_used)]

mod workshop;

use std::fs;
use std::path::Path;

use lore_packs::documents::{Decontamination, ItemSet};
use lore_packs::keyring::Revocation;
use lore_packs::signature::{PublicKey, SigningKey, generate};
use lore_packs::{Error, Keyring, Trust, build, name_from, sign, verify_file, verify_reader};
use proptest::prelude::*;
use workshop::{Parts, Workshop};

#[test]
fn the_same_inputs_give_the_same_bytes() {
    let (one, two) = (Workshop::new(), Workshop::new());
    let first = fs::read(one.pack("a.lorepack", |_| {})).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(1100));
    assert_eq!(first, fs::read(two.pack("elsewhere/b.lorepack", |_| {})).unwrap());
    let other = two.pack("c.lorepack", |draft| draft.summary = "Something else".into());
    assert_ne!(first, fs::read(other).unwrap());
}

#[test]
fn a_built_pack_says_what_went_in() {
    let workshop = Workshop::new();
    let pack = verify_file(&workshop.pack("a.lorepack", |_| {}), None).unwrap();
    let manifest = &pack.manifest;
    assert_eq!((manifest.rank, manifest.parameters, manifest.dtype.as_str()), (2, 28, "F32"));
    assert_eq!(manifest.targets, ["q_proj", "v_proj"]);
    assert_eq!(pack.signer, None);
    assert_eq!(pack.corpus, workshop.draft().corpus.unwrap());
    assert_eq!(pack.evaluation, workshop.draft().evaluation.unwrap());
    for part in [
        "license: mit\n",
        "base_model: \"owner/small-base\"\n",
        "base_model_relation: adapter\n",
        "library_name: peft\n",
        "| rivers | 2.000 | 1.500 | -25.0 % ± 1.0 | its own topic: gain |",
        "| general | 2.000 | 1.900 | -5.0 % ± 1.0 | general English: forgetting |",
        "| sum of rivers, hills | -20.0 % | -15.0 % | +10.0 % |",
        "It makes the base worse on hills by 5.0 %.",
        "Made with care.",
        "lore pack install rivers-0.1.0.lorepack",
    ] {
        assert!(pack.card.contains(part), "`{part}` is not in:\n{}", pack.card);
    }
    let parts = Parts::of(&fs::read(workshop.path("a.lorepack")).unwrap());
    let text = |name: &str| String::from_utf8(parts.content(name).to_vec()).unwrap();
    assert!(text("LICENSE.txt").contains("WITHOUT WARRANTY OF ANY KIND"));
    assert!(text("NOTICE.txt").contains("Texts by Ada Lovelace"));
}

#[test]
fn what_was_kept_apart_is_said() {
    let workshop = Workshop::new();
    let set = ItemSet { items: 204, contaminated: 15, in_training: 14, too_short: 3 };
    let found = |set| Decontamination {
        sets: [("quiz".to_owned(), set)].into(),
        training_documents: 12,
        dropped: 1,
        paragraphs: 16,
    };
    let with =
        |draft: &mut lore_packs::Draft, found| draft.corpus.as_mut().unwrap().texts[0].decontamination = Some(found);
    let pack = verify_file(&workshop.pack("a.lorepack", |draft| with(draft, found(set))), None).unwrap();
    assert_eq!(pack.corpus.texts[0].decontamination, Some(found(set)));
    let line = "15 of 204 items of quiz overlap; of 12 training documents with such a run of words, 1 were dropped and 16 paragraphs cut";
    assert!(lore_packs::facts::facts(&pack).contains(&("kept apart", line.to_owned())));
    assert!(pack.card.contains(&format!("Evaluation items in file:corpus: {line}.\n")), "{}", pack.card);

    let mut draft = workshop.draft();
    with(&mut draft, found(ItemSet { items: 14, ..set }));
    let error = build(&workshop.path("b.lorepack"), &draft).unwrap_err().to_string();
    assert!(error.contains("has more evaluation items that overlap than there are"), "{error}");
}

#[test]
fn a_router_entry_is_carried_installed_and_published() {
    let workshop = Workshop::new();
    let entry = workshop.router("entry");
    let with = workshop.pack("with.lorepack", |draft| draft.router = Some(entry.clone()));
    let pack = verify_file(&with, None).unwrap();
    assert_eq!(pack.manifest.members.last().unwrap().name, "router.safetensors");
    assert!(lore_packs::facts::facts(&pack).contains(&("router", "an entry".to_owned())));
    sign(&with, &workshop.key("key")).unwrap();
    assert_eq!(unnoticed(&fs::read(&with).unwrap()), [] as [usize; 0]);

    let library = lore_packs::Library::new(workshop.path("library"));
    let mut held = library.lock(&|| ()).unwrap();
    let staged = held.stage(&with, "test", None).unwrap();
    let folder = held.commit(vec![staged], &lore_packs::Policy::default()).unwrap().remove(0);
    assert_eq!(fs::read(folder.join("router.safetensors")).unwrap(), fs::read(&entry).unwrap());
    assert!(lore_packs::verify_folder(&folder, None).is_ok());

    let shelf = workshop.path("repository");
    lore_packs::publish(&with, &shelf, lore_packs::Layout::Repository).unwrap();
    assert!(shelf.join("router.safetensors").is_file());
    let without = workshop.pack("without.lorepack", |draft| draft.version = Some("0.2.0".parse().unwrap()));
    lore_packs::publish(&without, &shelf, lore_packs::Layout::Repository).unwrap();
    assert!(!shelf.join("router.safetensors").exists(), "the entry is not of this version");

    fs::write(&entry, workshop::router_entry(4, &workshop::BASE.replace("00", "11"))).unwrap();
    let mut draft = workshop.draft();
    draft.router = Some(entry);
    let error = build(&workshop.path("other.lorepack"), &draft).unwrap_err().to_string();
    assert!(error.contains("made for the base lore-base-v1:11"), "{error}");
}

#[test]
fn everything_that_is_missing_is_named_at_once() {
    let workshop = Workshop::new();
    let mut draft = workshop.draft();
    (draft.license, draft.corpus, draft.evaluation, draft.version) = (None, None, None, None);
    draft.authors.clear();
    let error = build(&workshop.path("a.lorepack"), &draft).unwrap_err();
    let text = error.to_string();
    for part in ["no licence", "no corpus manifest", "no evaluation on its base", "no version", "no author"] {
        assert!(text.contains(part), "`{part}` is not in: {text}");
    }
    assert!(!workshop.path("a.lorepack").exists());

    let mut draft = workshop.draft();
    draft.license = Some("MIT AND LicenseRef-terms".into());
    let mut evaluation = draft.evaluation.take().unwrap();
    evaluation.base = evaluation.base.to_string().replace("00", "11").parse().unwrap();
    draft.evaluation = Some(evaluation);
    draft.corpus.as_mut().unwrap().texts[0].license.clear();
    let text = build(&workshop.path("a.lorepack"), &draft).unwrap_err().to_string();
    for part in [
        "the text of LicenseRef-terms is not known",
        "it was measured on lore-base-v1:11",
        "\"file:corpus\" has no licence",
    ] {
        assert!(text.contains(part), "`{part}` is not in: {text}");
    }
}

/// Flips one bit of every byte; returns the positions where nobody noticed.
fn unnoticed(bytes: &[u8]) -> Vec<usize> {
    let name = Path::new("flipped");
    assert!(verify_reader(name, bytes, None).is_ok());
    let mut bytes = bytes.to_vec();
    let mut unnoticed = Vec::new();
    for position in 0..bytes.len() {
        let bit = 1 << (position % 8);
        bytes[position] ^= bit;
        if verify_reader(name, &bytes[..], None).is_ok() {
            unnoticed.push(position);
        }
        bytes[position] ^= bit;
    }
    unnoticed
}

#[test]
fn one_flipped_bit_anywhere_is_detected() {
    let workshop = Workshop::new();
    let pack = workshop.pack("a.lorepack", |_| {});
    assert_eq!(unnoticed(&fs::read(&pack).unwrap()), [] as [usize; 0]);
    sign(&pack, &workshop.key("key")).unwrap();
    let signed = fs::read(&pack).unwrap();
    assert_eq!(unnoticed(&signed), [] as [usize; 0]);
    eprintln!("{} positions", signed.len());
}

#[test]
fn cut_anywhere_it_is_refused() {
    let workshop = Workshop::new();
    let bytes = fs::read(workshop.pack("a.lorepack", |_| {})).unwrap();
    for length in (0..bytes.len()).step_by(97) {
        assert!(verify_reader(Path::new("cut"), &bytes[..length], None).is_err(), "{length}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Any change of any number of bytes is noticed, whatever it makes of the file, and nothing panics.
    #[test]
    fn changed_packs_are_refused(changes in prop::collection::vec((any::<prop::sample::Index>(), 1_u8..), 1..20)) {
        thread_local! {
            static PACK: Vec<u8> = fs::read(Workshop::new().pack("a.lorepack", |_| {})).unwrap();
        }
        PACK.with(|pack| {
            let mut bytes = pack.clone();
            for (place, by) in &changes {
                let place = place.index(bytes.len());
                bytes[place] = bytes[place].wrapping_add(*by);
            }
            if bytes != *pack {
                assert!(verify_reader(Path::new("changed"), &bytes[..], None).is_err());
            }
        });
    }
}

#[test]
fn the_states_of_a_signature() {
    let workshop = Workshop::new();
    let pack = workshop.pack("a.lorepack", |_| {});
    let keyring = Keyring::new(workshop.path("keys"));
    let judge = |keyring: &Keyring| keyring.judge(&verify_file(&pack, None).unwrap(), &[]).unwrap();
    assert_eq!(judge(&keyring), Trust::Unsigned);

    let identity = verify_file(&pack, None).unwrap().manifest_sha256;
    let key = keyring.generate(None).unwrap();
    let secret = SigningKey::open(&keyring.secret_path(), || unreachable!("it has no password")).unwrap();
    let signed = sign(&pack, &secret).unwrap();
    assert_eq!(signed.manifest_sha256, identity, "signing changes nothing that is signed");
    assert_eq!(judge(&keyring), Trust::Trusted { name: "own".into(), key: key.clone() });

    let stranger = Keyring::new(workshop.path("stranger"));
    assert_eq!(judge(&stranger), Trust::Unknown { key: key.clone() });
    stranger.trust("ada", &key).unwrap();
    assert_eq!(judge(&stranger), Trust::Trusted { name: "ada".into(), key: key.clone() });
    let other = PublicKey::parse("other", &generate(None).unwrap().1).unwrap();
    assert!(stranger.trust("ada", &other).unwrap_err().to_string().contains("another key"));
    stranger.trust("bob", &other).unwrap();

    stranger.revoke(&Revocation::Pack(identity.clone()), "learnt from the test set").unwrap();
    assert!(matches!(judge(&stranger), Trust::Revoked { reason } if reason.contains("learnt from the test set")));
    keyring.revoke(&Revocation::Key(key.clone()), "stolen").unwrap();
    assert!(matches!(judge(&keyring), Trust::Revoked { reason } if reason.contains("stolen")));
    let publisher = [(Revocation::Pack(identity), "taken back".to_owned())];
    let third = Keyring::new(workshop.path("third"));
    let judged = third.judge(&verify_file(&pack, None).unwrap(), &publisher).unwrap();
    assert!(matches!(judged, Trust::Revoked { reason } if reason.contains("taken back")));

    // A list that cannot be read protects nobody, so it is not skipped.
    fs::write(workshop.path("keys/revoked.txt"), "keys RWabc\n").unwrap();
    assert!(keyring.judge(&verify_file(&pack, None).unwrap(), &[]).unwrap_err().to_string().contains("line 1"));

    // Signed again by another key, only that signature is there.
    sign(&pack, &workshop.key("again")).unwrap();
    assert!(matches!(judge(&stranger), Trust::Revoked { .. }));
    assert_eq!(Parts::of(&fs::read(&pack).unwrap()).0.len(), 13);

    let mut bytes = fs::read(&pack).unwrap();
    let last = bytes.len() - 1600;
    bytes[last] ^= 1;
    fs::write(&pack, bytes).unwrap();
    assert!(matches!(verify_file(&pack, None), Err(Error::Altered { .. } | Error::Refused { .. })));
}

#[test]
fn keys_are_kept_from_others_and_never_overwritten() {
    let workshop = Workshop::new();
    let keyring = Keyring::new(workshop.path("keys"));
    keyring.generate(Some("a password")).unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs::metadata(keyring.secret_path()).unwrap().permissions().mode() & 0o777, 0o600);
    }
    assert!(keyring.generate(None).unwrap_err().to_string().contains("there is a key already"));
    let open = |password: &str| SigningKey::open(&keyring.secret_path(), || Ok(password.to_owned()));
    assert!(open("another").is_err());
    let key = open("a password").unwrap();
    assert_eq!(keyring.trusted().unwrap(), [("own".to_owned(), key.public().clone())]);
    assert!("RWnonsense".parse::<PublicKey>().is_err());
}

/// Made by `minisign -G -W` 0.11, which writes no checksum.
#[test]
fn a_key_of_minisigns_own_program_signs() {
    const SECRET: &str = "untrusted comment: minisign encrypted secret key\nRWQAAEIyAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE8YNQ0XEyiylG3zNTDjdgjl0Bbi8fP+nbdOklvTiLigopc0rmeTchEzT+CecTgnKQiA9xERwpEOB2M4YT7wxaCkhNJKAs33HAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n";
    const PUBLIC: &str = "RWQTxg1DRcTKLEzT+CecTgnKQiA9xERwpEOB2M4YT7wxaCkhNJKAs33H";
    let workshop = Workshop::new();
    let pack = workshop.pack("a.lorepack", |_| {});
    let file = workshop.path("minisign.key");
    let open = |text: &str| {
        fs::write(&file, text).unwrap();
        SigningKey::open(&file, || unreachable!("it has no password"))
    };
    let key = open(SECRET).unwrap();
    assert_eq!(key.public().to_string(), PUBLIC);
    assert_eq!(sign(&pack, &key).unwrap().signer.unwrap().to_string(), PUBLIC);
    // A damaged one signs nothing that is kept.
    let before = fs::read(&pack).unwrap();
    let damaged = open(&SECRET.replace("E8YNQ0XEyiylG", "E8YNQ0XEyiylH")).unwrap();
    assert!(sign(&pack, &damaged).is_err());
    assert!(fs::read(&pack).unwrap() == before);
    assert!(open("untrusted comment: nothing\nRWQAAEIy\n").is_err());
}

#[test]
fn names_come_from_topics() {
    assert_eq!(name_from("Fantasy RPG").as_deref(), Some("fantasy-rpg"));
    assert_eq!(name_from("geography"), Some("geography".into()));
    assert_eq!(name_from("5e_srd"), Some("e-srd".into()));
    assert_eq!(name_from("..."), None);
}
