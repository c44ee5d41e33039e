//! What every command needs: device, sources, progress.

use std::path::PathBuf;
use std::sync::Arc;

use lore_datasets::fetch::{Fetcher, default_cache_dir};
use lore_datasets::progress::Progress;
use lore_train::Conditions;

use crate::device::DeviceChoice;
use crate::error::{Error, Result};
use crate::progress::Console;
use crate::routing::SharedEnglish;

/// Options that every command takes.
#[derive(Debug, Clone, clap::Args)]
pub struct GlobalOptions {
    /// Threads to compute with [default: all]
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub threads: Option<u16>,
    /// Device to compute on: cpu, cuda[:N], wgpu[:N], or cpu-composed (Burn's operations alone, to compare with)
    #[arg(long, global = true, value_name = "DEVICE", default_value_t)]
    pub device: DeviceChoice,
    /// Folder for what is downloaded [default: $LORE_CACHE or ~/.cache/lore]
    #[arg(long, global = true, value_name = "DIR")]
    pub cache_dir: Option<PathBuf>,
    /// Download nothing
    #[arg(long, global = true)]
    pub offline: bool,
    /// Report no progress
    #[arg(long, short, global = true)]
    pub quiet: bool,
}

/// One invocation of the program.
#[derive(Clone)]
pub struct Session {
    /// Device to compute on.
    pub device: DeviceChoice,
    /// Threads to compute with.
    pub threads: usize,
    /// Whether downloading is forbidden.
    pub offline: bool,
    /// Where sources come from.
    pub fetcher: Fetcher,
    /// Where long work reports.
    pub progress: Arc<dyn Progress>,
    /// With whom it trains, and how far.
    pub training: Conditions,
    /// General English for the router entries of the modules it trains.
    pub english: SharedEnglish,
}

impl Session {
    /// Sets up threads, sources and progress.
    ///
    /// # Errors
    /// When the threads cannot be started.
    pub fn new(options: &GlobalOptions) -> Result<Self> {
        if let Some(threads) = options.threads {
            rayon::ThreadPoolBuilder::new()
                .num_threads(threads.into())
                .build_global()
                .map_err(Error::while_doing("starting the threads"))?;
        }
        let cache = options.cache_dir.clone().unwrap_or_else(default_cache_dir);
        let mut fetcher = Fetcher::new(cache);
        // Not `.offline(options.offline)`: HF_HUB_OFFLINE may already have set it.
        if options.offline {
            fetcher = fetcher.offline(true);
        }
        Ok(Self {
            device: options.device,
            threads: rayon::current_num_threads(),
            offline: options.offline,
            fetcher,
            progress: Arc::new(Console::new(options.quiet)),
            training: Conditions::default(),
            english: SharedEnglish::default(),
        })
    }

    /// From here on SIGTERM and SIGUSR1, by which schedulers announce that a job will be killed, let a training keep a
    /// checkpoint after the step it is at. They end everything else as they always do.
    ///
    /// # Errors
    /// When the system does not take a handler.
    pub fn heed_signals(&self) -> Result<()> {
        #[cfg(unix)]
        for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGUSR1] {
            let interruption = &self.training.interruption;
            signal_hook::flag::register_conditional_default(signal, interruption.unheard())
                .and_then(|_| signal_hook::flag::register(signal, interruption.asked()))
                .map_err(Error::while_doing("listening for signals"))?;
        }
        Ok(())
    }
}
