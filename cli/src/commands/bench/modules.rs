//! `lore bench modules`: what it costs to have modules.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Instant;

use lore_model::Decoder;
use lore_model::fingerprint::Fingerprint;
use lore_model::generate::{Generation, generate};
use lore_model::sampling::{Random, Sampling};
use lore_model::save::StoredType;
use lore_modules::on_demand::{ModuleSet, OnDemand, folders};
use lore_modules::{Adapter, AdapterConfig, LowRank, peft};
use serde_json::json;

use super::median;
use crate::error::{Error, Result};

const RANK: usize = 16;
/// How many modules write together at most.
const MODULES: usize = 4;
const ACTIVE: [usize; 4] = [0, 1, 2, MODULES];
const PROMPT: usize = 32;
const WRITTEN: usize = 48;
/// Loads and changes counted; they are short.
const REPEATS: usize = 15;

/// Measures and prints. Files are read just after they were written: what is measured is loading, not the disk.
pub(super) fn bench(base: &Decoder, rounds: usize, as_json: bool) -> Result<()> {
    let folder = tempfile::tempdir().map_err(Error::while_doing("making a folder for modules"))?;
    let fingerprint: Fingerprint = format!("{}{}", lore_model::fingerprint::PREFIX, "0".repeat(64)).parse()?;
    for number in 0..MODULES {
        let path = folder.path().join(format!("m{number}"));
        peft::write(&path, &random_module(base, fingerprint, number as u64), StoredType::Bf16)?;
    }
    let open = || open(base, fingerprint, folder.path());

    let (mut loads, mut bytes) = (Vec::new(), 0);
    for _ in 0..REPEATS {
        let mut library = open()?;
        let began = Instant::now();
        let active = lease(&mut library, 1)?;
        loads.push(began.elapsed().as_secs_f64() * 1e3);
        bytes = active.bytes();
    }
    let mut library = open()?;
    // All are in memory from here on.
    let all = lease(&mut library, MODULES)?;
    let mut swaps = Vec::new();
    for turn in 0..2 * REPEATS {
        let set = ModuleSet::new([(format!("m{}", turn % 2), 1.0)]).map_err(Error::Failed)?;
        let began = Instant::now();
        let active = library.lease(&set).map_err(Error::while_doing("loading a module"))?;
        let decoder = active.on(base);
        swaps.push(began.elapsed().as_secs_f64() * 1e3);
        drop(decoder);
    }
    drop(all);

    let mut rates = BTreeMap::<usize, Vec<f64>>::new();
    // In turns, so that a slow moment meets all of them.
    for _ in 0..rounds {
        for count in ACTIVE {
            let active = lease(&mut library, count)?;
            rates.entry(count).or_default().push(written_per_second(&active.on(base))?);
        }
    }
    let rates: Vec<(usize, f64)> = rates.iter().map(|(count, rates)| (*count, median(&rates[1..]))).collect();
    let (load, swap) = (median(&loads), median(&swaps));
    let slowest = loads.iter().copied().fold(0.0, f64::max);
    if as_json {
        let rates: BTreeMap<String, f64> = rates.iter().map(|(count, rate)| (count.to_string(), *rate)).collect();
        let result = json!({
            "workload": "modules", "module_bytes": bytes, "cold_load_ms": load, "cold_load_worst_ms": slowest,
            "swap_ms": swap, "tokens_per_second": rates,
        });
        println!("{result}");
    } else {
        println!("modules: rank {RANK} on all projections, {:.1} MB in memory", bytes as f64 / 1e6);
        println!("cold load {load:.1} ms (worst {slowest:.1}), change of the active module {swap:.2} ms");
        for (count, rate) in rates {
            println!("{count} active: {rate:.1} tokens/s");
        }
    }
    Ok(())
}

fn open(base: &Decoder, fingerprint: Fingerprint, folder: &Path) -> Result<OnDemand> {
    let mut library = OnDemand::new(base.clone(), fingerprint, u64::MAX);
    library.set_folders(folders(folder)?);
    Ok(library)
}

fn lease(library: &mut OnDemand, count: usize) -> Result<lore_modules::on_demand::ActiveSet> {
    let set = ModuleSet::new((0..count).map(|number| (format!("m{number}"), 0.5))).map_err(Error::Failed)?;
    library.lease(&set).map_err(Error::while_doing("loading modules"))
}

/// Tokens a second of one text, after the first.
fn written_per_second(decoder: &Decoder) -> Result<f64> {
    let prompt = (0..PROMPT as u32).map(|i| i * 7 + 3).collect();
    let how = Generation { max_tokens: WRITTEN, sampling: Sampling::greedy(), seed: 0, stop: Vec::new() };
    let (mut began, mut drawn) = (None, 0);
    generate(decoder, &[prompt], &how, |_, _| {
        began.get_or_insert_with(Instant::now);
        drawn += 1;
        ControlFlow::Continue(())
    })?;
    let seconds = began.map_or(f64::INFINITY, |began: Instant| began.elapsed().as_secs_f64());
    Ok(f64::from(drawn - 1) / seconds)
}

/// A module of small random values on all projections.
fn random_module(base: &Decoder, fingerprint: Fingerprint, seed: u64) -> Adapter {
    let (config, mut random) = (AdapterConfig::uniform(RANK, RANK as f64), Random::new(seed, 5));
    let mut updates = BTreeMap::new();
    for (name, shape) in base.config.expected_tensors() {
        let Some(path) = name.strip_suffix("_proj.weight").map(|stem| format!("{stem}_proj")) else { continue };
        let (out_features, in_features) = (shape[0], shape[1]);
        let mut draw =
            |count: usize| -> Vec<f32> { (0..count).map(|_| ((random.uniform() - 0.5) * 0.02) as f32).collect() };
        let (a, b) = (draw(RANK * in_features), draw(out_features * RANK));
        updates.insert(path, LowRank { a, b, rank: RANK, in_features, out_features, scale: 1.0, magnitude: None });
    }
    Adapter { config, updates, base: Some(fingerprint), metadata: BTreeMap::new() }
}
