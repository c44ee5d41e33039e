//! A library of modules of which only what is asked for is in memory.
//!
//! Modules are read from memory-mapped files when they are first asked for. Together they never take more than a cap:
//! room is made before a module is read, by forgetting those whose last use is the longest ago. Modules in use are not
//! forgotten; whoever asks for more than fits beside them is told to wait.
//!
//! ```no_run
//! use lore_model::{Decoder, files::ModelFiles, fingerprint::Fingerprint};
//! use lore_modules::on_demand::{ModuleSet, OnDemand, folders};
//!
//! let files = ModelFiles::open("base".as_ref())?;
//! let device = burn::tensor::Device::flex();
//! let base = Decoder::load(&files.config, &*files.weights, &device)?;
//! let fingerprint = Fingerprint::of(&files.config, &*files.weights, &files.tokenizer)?;
//! let mut library = OnDemand::new(base.clone(), fingerprint, 512_000_000);
//! library.set_folders(folders("library".as_ref())?);
//! let active = library.lease(&ModuleSet::parse("geography=0.5,history", ',')?)?;
//! println!("{} bytes of {}", library.resident_bytes(), library.cap());
//! let decoder = active.on(&base);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod active;
mod error;
mod files;
mod prefix;
mod set;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lore_model::Decoder;
use lore_model::fingerprint::Fingerprint;

use crate::{LoadedModule, peft};
use active::Part;
use files::Stamp;

pub use active::{ActiveSet, SetKey, by_rows};
pub use error::LeaseError;
pub use files::folders;
pub use prefix::{Claim, PrefixCache};
pub use set::ModuleSet;

/// A library whose modules are loaded when they are asked for.
#[derive(Debug)]
pub struct OnDemand {
    base: Decoder,
    fingerprint: Fingerprint,
    allow_mismatch: bool,
    cap: u64,
    folders: BTreeMap<String, PathBuf>,
    held: Vec<Held>,
    uses: u64,
    counts: Counts,
}

/// What a library has done so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Modules read from their files.
    pub loaded: u64,
    /// Modules forgotten to make room.
    pub evicted: u64,
    /// Most bytes in memory at once.
    pub peak_bytes: u64,
    /// How long the last reading took.
    pub last_load: Duration,
}

/// A module in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resident {
    /// Its name.
    pub name: String,
    /// Bytes it takes.
    pub bytes: u64,
    /// Whether somebody uses it.
    pub in_use: bool,
}

#[derive(Debug)]
struct Held {
    name: String,
    stamp: Stamp,
    module: Arc<LoadedModule>,
    last_use: u64,
}

impl Held {
    fn bytes(&self) -> u64 {
        self.module.bytes() as u64
    }

    fn in_use(&self) -> bool {
        Arc::strong_count(&self.module) > 1
    }
}

impl OnDemand {
    /// An empty library for a base, whose modules may take `cap` bytes.
    pub fn new(base: Decoder, fingerprint: Fingerprint, cap: u64) -> Self {
        Self {
            base,
            fingerprint,
            allow_mismatch: false,
            cap,
            folders: BTreeMap::new(),
            held: Vec::new(),
            uses: 0,
            counts: Counts::default(),
        }
    }

    /// Whether modules of another base are accepted, if their shapes fit.
    pub fn allow_base_mismatch(mut self, allow: bool) -> Self {
        self.allow_mismatch = allow;
        self
    }

    /// Says where modules are. What is in memory stays, unless its name is gone and nobody uses it.
    pub fn set_folders(&mut self, folders: BTreeMap<String, PathBuf>) {
        self.held.retain(|held| held.in_use() || folders.contains_key(&held.name));
        self.folders = folders;
    }

    /// The base that modules must have been trained on.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// Names of all modules.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.folders.keys().map(String::as_str)
    }

    /// Where a module is.
    pub fn folder(&self, name: &str) -> Option<&Path> {
        self.folders.get(name).map(PathBuf::as_path)
    }

    /// Bytes that modules may take.
    pub fn cap(&self) -> u64 {
        self.cap
    }

    /// Bytes that modules take.
    pub fn resident_bytes(&self) -> u64 {
        self.held.iter().map(Held::bytes).sum()
    }

    /// The modules in memory, the last used first.
    pub fn resident(&self) -> Vec<Resident> {
        let mut held: Vec<&Held> = self.held.iter().collect();
        held.sort_by_key(|held| std::cmp::Reverse(held.last_use));
        let of = |held: &Held| Resident { name: held.name.clone(), bytes: held.bytes(), in_use: held.in_use() };
        held.into_iter().map(of).collect()
    }

    /// What was done so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Forgets every module that nobody uses.
    pub fn forget_unused(&mut self) {
        self.held.retain(Held::in_use);
    }

    /// The modules of a set, read if they are not in memory; they stay there while the result lives. A module whose
    /// files have changed since is read again.
    ///
    /// # Errors
    /// [`LeaseError`]; nothing that is in use is affected.
    pub fn lease(&mut self, set: &ModuleSet) -> Result<ActiveSet, LeaseError> {
        let wanted = self.find(set)?;
        self.forget_changed(&wanted);
        self.make_room(set, &wanted)?;
        let mut parts = Vec::with_capacity(wanted.len());
        for Wanted { name, weight, stamp, .. } in wanted {
            self.uses += 1;
            let place = self.held.iter().position(|held| held.name == name && held.stamp == stamp);
            let place = match place {
                Some(place) => place,
                None => {
                    let module = self.read(&name, &stamp)?;
                    self.held.push(Held { name, stamp: stamp.clone(), module: Arc::new(module), last_use: 0 });
                    self.counts.peak_bytes = self.counts.peak_bytes.max(self.resident_bytes());
                    self.held.len() - 1
                }
            };
            self.held[place].last_use = self.uses;
            parts.push(Part { module: self.held[place].module.clone(), stamp, weight });
        }
        Ok(ActiveSet { set: set.clone(), parts })
    }

    /// Where the modules of a set are and what they need beside what is in memory.
    fn find(&self, set: &ModuleSet) -> Result<Vec<Wanted>, LeaseError> {
        let find = |(name, weight): &(String, f32)| {
            let Some(folder) = self.folders.get(name) else {
                let names = self.names().map(str::to_owned).collect();
                return Err(LeaseError::Unknown { name: name.clone(), names });
            };
            let failed = |source| LeaseError::Module { name: name.clone(), folder: folder.clone(), source };
            let stamp = Stamp::of(folder).map_err(failed)?;
            let held = self.held.iter().find(|held| held.name == *name && held.stamp == stamp);
            let bytes = match held {
                Some(held) => held.bytes(),
                None => stamp.resident_bytes().map_err(failed)?,
            };
            Ok(Wanted { name: name.clone(), weight: *weight, stamp, bytes, held: held.is_some() })
        };
        set.modules().iter().map(find).collect()
    }

    /// Forgets earlier states of modules that are asked for, unless they are in use.
    fn forget_changed(&mut self, wanted: &[Wanted]) {
        self.held.retain(|held| {
            held.in_use() || !wanted.iter().any(|wanted| wanted.name == held.name && wanted.stamp != held.stamp)
        });
    }

    /// Forgets modules, the longest unused first, until what is to be read fits.
    fn make_room(&mut self, set: &ModuleSet, wanted: &[Wanted]) -> Result<(), LeaseError> {
        let needed: u64 = wanted.iter().map(|wanted| wanted.bytes).sum();
        if needed > self.cap {
            return Err(LeaseError::OverCap { set: set.to_string(), needed, cap: self.cap });
        }
        let is_wanted = |held: &Held| wanted.iter().any(|w| w.name == held.name && w.stamp == held.stamp);
        let in_use: u64 = self.held.iter().filter(|held| held.in_use() && !is_wanted(held)).map(Held::bytes).sum();
        if needed + in_use > self.cap {
            return Err(LeaseError::Busy { set: set.to_string(), in_use, cap: self.cap });
        }
        let new: u64 = wanted.iter().filter(|wanted| !wanted.held).map(|wanted| wanted.bytes).sum();
        while self.resident_bytes() + new > self.cap {
            let unused = self.held.iter().enumerate().filter(|(_, held)| !held.in_use() && !is_wanted(held));
            let (oldest, _) = unused.min_by_key(|(_, held)| held.last_use).expect("what is wanted and used fits");
            self.held.swap_remove(oldest);
            self.counts.evicted += 1;
        }
        Ok(())
    }

    fn read(&mut self, name: &str, stamp: &Stamp) -> Result<LoadedModule, LeaseError> {
        let began = Instant::now();
        let read = || {
            let adapter = peft::read(stamp.folder())?;
            adapter.check_base(&self.base.config, &self.fingerprint, self.allow_mismatch)?;
            Ok(LoadedModule::taking(adapter, &self.base.embedding.device()).bound(&self.base))
        };
        let failed = |source| LeaseError::Module { name: name.to_owned(), folder: stamp.folder().to_owned(), source };
        let module = read().map_err(failed)?;
        self.counts.loaded += 1;
        self.counts.last_load = began.elapsed();
        Ok(module)
    }
}

/// A module of a set that is asked for.
struct Wanted {
    name: String,
    weight: f32,
    stamp: Stamp,
    bytes: u64,
    held: bool,
}
