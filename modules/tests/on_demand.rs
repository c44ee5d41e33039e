//! Modules on demand: the cap, who is forgotten, what a set computes, what caches of texts may be used again.
#![allow(missing_docs, clippy::unwrap_used)]

mod small;

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};

use burn::tensor::Device;
use lore_model::Decoder;
use lore_model::fingerprint::Fingerprint;
use lore_model::ops::host::values;
use lore_model::save::StoredType;
use lore_modules::on_demand::{ActiveSet, LeaseError, ModuleSet, OnDemand, PrefixCache, by_rows, folders};
use lore_modules::{Adapter, LoadedModule, activate, peft};
use proptest::prelude::*;
use small::{ALL, base, base_files, forward, relative_difference, text};

/// What the process has allocated, and the most of it since the last reset: a count that the library has no part in.
struct Counting;
static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

#[allow(unsafe_code)]
// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let live = LIVE.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(live, Ordering::Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The tests of this file count the allocations of the whole process.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

const COUNT: usize = 10;

struct Shelf {
    folder: tempfile::TempDir,
    base: Decoder,
    fingerprint: Fingerprint,
    adapters: Vec<Adapter>,
}

/// Ten modules of ranks 288 to 297, of about 1.1 MB each.
fn shelf() -> &'static Shelf {
    static SHELF: OnceLock<Shelf> = OnceLock::new();
    SHELF.get_or_init(|| {
        let files = base_files();
        let fingerprint = Fingerprint::of(&files.config, &*files.weights, &files.tokenizer).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let make = |number: usize| {
            let mut adapter = small::module(288 + number, 96.0, &ALL, number as u64);
            adapter.base = Some(fingerprint);
            peft::write(&folder.path().join(name(number)), &adapter, StoredType::F32).unwrap();
            adapter
        };
        let adapters = (0..COUNT).map(make).collect();
        Shelf { folder, base: base(), fingerprint, adapters }
    })
}

fn name(number: usize) -> String {
    format!("m{number}")
}

fn bytes(adapter: &Adapter) -> u64 {
    4 * adapter.parameter_count() as u64
}

impl Shelf {
    fn library(&self, cap: u64) -> OnDemand {
        let mut library = OnDemand::new(self.base.clone(), self.fingerprint, cap);
        library.set_folders(folders(self.folder.path()).unwrap());
        library
    }

    fn expected(&self, modules: &[(usize, f32)]) -> Vec<f32> {
        let loaded: Vec<(LoadedModule, f32)> = modules
            .iter()
            .map(|(number, weight)| (LoadedModule::new(&self.adapters[*number], &Device::flex()), *weight))
            .collect();
        let borrowed: Vec<(&LoadedModule, f32)> = loaded.iter().map(|(module, weight)| (module, *weight)).collect();
        forward(&activate(&self.base, &borrowed), &text())
    }
}

fn set(modules: &[(usize, f32)]) -> ModuleSet {
    ModuleSet::new(modules.iter().map(|(number, weight)| (name(*number), *weight))).unwrap()
}

#[derive(Clone, Debug)]
enum Step {
    Lease(BTreeMap<usize, i8>),
    Release(usize),
    Forget,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => prop::collection::btree_map(0..COUNT, -2i8..3, 1..5).prop_map(Step::Lease),
        3 => any::<usize>().prop_map(Step::Release),
        1 => Just(Step::Forget),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    /// Ten modules under a cap of three: by the library's own count and by the allocator's, before, during and after
    /// every request; and who is refused is refused for a reason.
    #[test]
    fn the_cap_is_never_exceeded(steps in prop::collection::vec(step(), 1..30)) {
        let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let shelf = shelf();
        let cap: u64 = shelf.adapters[COUNT - 3..].iter().map(bytes).sum();
        // Names, headers, the lists that hold the modules, what products keep to work in; a module is twice as large.
        const SLACK: u64 = 512 << 10;
        prop_assert!(bytes(&shelf.adapters[0]) > 2 * SLACK);
        let mut library = shelf.library(cap);
        let mut leases: Vec<(Vec<usize>, ActiveSet)> = Vec::new();
        // The room that products work in is kept by the threads, and is not the library's.
        shelf.expected(&[(0, 0.1), (COUNT - 1, 0.1)]);
        let before = LIVE.load(Ordering::Relaxed);
        for step in steps {
            PEAK.store(LIVE.load(Ordering::Relaxed), Ordering::Relaxed);
            match step {
                Step::Forget => library.forget_unused(),
                Step::Release(which) if !leases.is_empty() => drop(leases.swap_remove(which % leases.len())),
                Step::Release(_) => {}
                Step::Lease(modules) => {
                    let modules: Vec<(usize, f32)> = modules.iter().map(|(m, w)| (*m, f32::from(*w) * 0.1)).collect();
                    let numbers: Vec<usize> = modules.iter().map(|(number, _)| *number).collect();
                    let needed: u64 = numbers.iter().map(|&number| bytes(&shelf.adapters[number])).sum();
                    let others: std::collections::BTreeSet<usize> =
                        leases.iter().flat_map(|(held, _)| held.iter().copied()).filter(|held| !numbers.contains(held)).collect();
                    let in_use: u64 = others.iter().map(|&number| bytes(&shelf.adapters[number])).sum();
                    let answer = library.lease(&set(&modules));
                    let peak = PEAK.load(Ordering::Relaxed).saturating_sub(before) as u64;
                    prop_assert!(peak <= cap + SLACK, "{peak} bytes were allocated under a cap of {cap}");
                    match answer {
                        Ok(active) => {
                            prop_assert!(needed + in_use <= cap);
                            prop_assert_eq!(active.bytes(), needed);
                            let found = forward(&active.on(&shelf.base), &text());
                            prop_assert!(relative_difference(&found, &shelf.expected(&modules)) < 1e-5);
                            leases.push((numbers, active));
                        }
                        Err(LeaseError::OverCap { needed: said, .. }) => prop_assert!(needed > cap && said == needed),
                        Err(LeaseError::Busy { .. }) => prop_assert!(needed <= cap && needed + in_use > cap),
                        Err(other) => prop_assert!(false, "{other}"),
                    }
                }
            }
            let live = LIVE.load(Ordering::Relaxed).saturating_sub(before) as u64;
            prop_assert!(library.resident_bytes() <= cap);
            prop_assert!(library.counts().peak_bytes <= cap);
            prop_assert!(live <= cap + SLACK, "{live} bytes are allocated under a cap of {cap}");
            let used: u64 = library.resident().iter().filter(|held| held.in_use).map(|held| held.bytes).sum();
            prop_assert!(used <= library.resident_bytes());
        }
    }
}

fn resident(library: &OnDemand) -> Vec<String> {
    let mut names: Vec<String> = library.resident().into_iter().map(|held| held.name).collect();
    names.sort();
    names
}

#[test]
fn the_longest_unused_is_forgotten_first() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let shelf = shelf();
    let mut library = shelf.library(shelf.adapters[7..].iter().map(bytes).sum());
    for number in [0, 1, 2, 0] {
        library.lease(&set(&[(number, 1.0)])).unwrap();
    }
    assert_eq!(library.counts().loaded, 3);
    let third = library.lease(&set(&[(3, 1.0)])).unwrap();
    assert_eq!(resident(&library), ["m0", "m2", "m3"]);
    // The module in use stays, however long ago it was asked for.
    library.lease(&set(&[(4, 1.0), (5, 0.5)])).unwrap();
    assert_eq!(resident(&library), ["m3", "m4", "m5"]);
    let busy = library.lease(&set(&[(6, 1.0), (7, 1.0), (8, 1.0)])).unwrap_err();
    assert!(matches!(busy, LeaseError::Busy { .. }), "{busy}");
    assert!(busy.to_string().contains("m6+m7+m8 have to wait"), "{busy}");
    drop(third);
    library.lease(&set(&[(6, 1.0), (7, 1.0), (8, 1.0)])).unwrap();
    assert_eq!((library.counts().loaded, library.counts().evicted), (9, 6));
    let over = library.lease(&set(&[(0, 1.0), (7, 1.0), (8, 1.0), (9, 1.0)])).unwrap_err();
    assert!(matches!(over, LeaseError::OverCap { .. }), "{over}");
    let unknown = library.lease(&ModuleSet::parse("m1+hills", '+').unwrap()).unwrap_err();
    assert!(unknown.to_string().contains("no module `hills` in the library; there are m0, m1"), "{unknown}");
    library.forget_unused();
    assert_eq!(library.resident_bytes(), 0);
}

#[test]
fn a_module_that_changed_or_belongs_elsewhere() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let shelf = shelf();
    let folder = tempfile::tempdir().unwrap();
    let put = |adapter: &Adapter| peft::write(&folder.path().join("rivers"), adapter, StoredType::F32).unwrap();
    put(&shelf.adapters[0]);
    let mut library = shelf.library(1 << 30);
    library.set_folders(folders(folder.path()).unwrap());
    let rivers = ModuleSet::parse("rivers", '+').unwrap();
    let first = library.lease(&rivers).unwrap();
    assert_eq!(library.lease(&rivers).unwrap().key(), first.key());
    assert_eq!(library.counts().loaded, 1);
    put(&shelf.adapters[1]);
    let second = library.lease(&rivers).unwrap();
    assert_ne!(second.key(), first.key());
    // Who uses the old one keeps it.
    assert_eq!(library.resident().len(), 2);
    let found = forward(&second.on(&shelf.base), &text());
    assert!(relative_difference(&found, &shelf.expected(&[(1, 1.0)])) < 1e-5);
    let found = forward(&first.on(&shelf.base), &text());
    assert!(relative_difference(&found, &shelf.expected(&[(0, 1.0)])) < 1e-5);
    drop((first, second));
    library.lease(&rivers).unwrap();
    assert_eq!(library.resident().len(), 1);

    put(&Adapter { base: None, ..shelf.adapters[2].clone() });
    let error = library.lease(&rivers).unwrap_err();
    let LeaseError::Module { name, source, .. } = &error else { panic!("{error}") };
    assert!(name == "rivers" && source.to_string().contains("a base it does not name"), "{source}");
    let mut library = library.allow_base_mismatch(true);
    library.lease(&rivers).unwrap();
    fs::write(folder.path().join("rivers/adapter_model.safetensors"), "{").unwrap();
    assert!(matches!(library.lease(&rivers).unwrap_err(), LeaseError::Module { .. }));
    assert!(library.resident_bytes() <= bytes(&shelf.adapters[2]));
}

#[test]
fn modules_are_found_in_folders_and_in_installed_libraries() {
    let names = |folder: &Path| folders(folder).unwrap().into_keys().collect::<Vec<String>>();
    let shelf = shelf();
    assert_eq!(names(shelf.folder.path()).len(), COUNT);
    let root = tempfile::tempdir().unwrap();
    assert!(names(&root.path().join("nowhere")).is_empty());
    let put = |path: PathBuf| {
        fs::create_dir_all(&path).unwrap();
        fs::write(path.join("adapter_config.json"), "{}").unwrap();
    };
    for name in ["hills", ".hidden", "a+b", "a b", "a=1"] {
        put(root.path().join(name));
    }
    fs::create_dir(root.path().join("other")).unwrap();
    assert_eq!(names(root.path()), ["hills"]);
    // An installed library: its links, not its store.
    put(root.path().join("modules/rivers"));
    assert_eq!(names(root.path()), ["rivers"]);
}

/// The states of a text computed in two parts, the second with what the cache kept of the first.
#[test]
fn a_beginning_is_used_again_under_the_same_modules_only() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let shelf = shelf();
    let mut library = shelf.library(1 << 30);
    let tokens = text();
    let fresh = |active: &ActiveSet| {
        let mut cache = PrefixCache::new(&shelf.base, 1, 40);
        let claim = cache.claim(&active.key(), &tokens).unwrap();
        assert_eq!(claim.known, 0);
        let hidden = values(&cache.advance(&active.on(&shelf.base), &[(claim.slot, &tokens)]).unwrap());
        hidden[hidden.len() - 32..].to_vec()
    };
    let mut cache = PrefixCache::new(&shelf.base, 2, 40);
    let mut last = |active: &ActiveSet, expected_known: usize| {
        let claim = cache.claim(&active.key(), &tokens).unwrap();
        assert_eq!(claim.known, expected_known, "{}", active.set());
        let hidden = cache.advance(&active.on(&shelf.base), &[(claim.slot, &tokens[claim.known..])]).unwrap();
        cache.release(claim.slot);
        let hidden = values(&hidden);
        hidden[hidden.len() - 32..].to_vec()
    };
    let none = ActiveSet::none();
    let one = library.lease(&set(&[(1, 0.1)])).unwrap();
    let half = library.lease(&set(&[(1, 0.05)])).unwrap();
    let both = library.lease(&set(&[(1, 0.1), (2, 0.1)])).unwrap();
    let most = tokens.len() - 1;
    // A slot that was for another set is used again, but nothing of what it holds.
    let order = [(&none, 0), (&none, most), (&one, 0), (&one, most), (&none, most), (&half, 0), (&both, 0), (&one, 0)];
    for (active, known) in order {
        let found = last(active, known);
        assert!(relative_difference(&found, &fresh(active)) < 1e-5, "{}", active.set());
    }
    assert!(relative_difference(&fresh(&one), &fresh(&half)) > 1e-2);

    // Other texts share only their common beginning.
    let mut cache = PrefixCache::new(&shelf.base, 2, 40);
    let claim = cache.claim(&one.key(), &tokens[..20]).unwrap();
    cache.advance(&one.on(&shelf.base), &[(claim.slot, &tokens[..20])]).unwrap();
    assert_eq!(
        cache.claim(&one.key(), &tokens).map(|second| (second.slot != claim.slot, second.known)),
        Some((true, 0))
    );
    assert!(cache.claim(&one.key(), &tokens).is_none() && cache.free() == 0);
    cache.release(claim.slot);
    let mut other = tokens.clone();
    other[12] ^= 1;
    assert_eq!(cache.claim(&one.key(), &other).unwrap().known, 12);
}

/// Rows of one batch with other modules each.
#[test]
fn sequences_of_one_batch_have_their_own_modules() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let shelf = shelf();
    let mut library = shelf.library(1 << 30);
    let sets = [
        library.lease(&set(&[(3, 0.1), (4, -0.2)])).unwrap(),
        ActiveSet::none(),
        library.lease(&set(&[(4, 0.1)])).unwrap(),
    ];
    let tokens = text();
    let mut cache = PrefixCache::new(&shelf.base, 3, 40);
    let slots: Vec<usize> = sets.iter().map(|set| cache.claim(&set.key(), &tokens).unwrap().slot).collect();
    let rows: Vec<_> = (0..3).map(|i| i * tokens.len()..(i + 1) * tokens.len()).zip(&sets).collect();
    let parts: Vec<(usize, &[u32])> = slots.iter().map(|&slot| (slot, &tokens[..])).collect();
    let found = values(&cache.advance(&by_rows(&shelf.base, &rows), &parts).unwrap());
    for (rows, active) in rows {
        let mut alone = PrefixCache::new(&shelf.base, 1, 40);
        let claim = alone.claim(&active.key(), &tokens).unwrap();
        let expected = values(&alone.advance(&active.on(&shelf.base), &[(claim.slot, &tokens)]).unwrap());
        let own = &found[rows.start * 32..rows.end * 32];
        assert!(relative_difference(own, &expected) < 1e-5, "{}", active.set());
    }
}
