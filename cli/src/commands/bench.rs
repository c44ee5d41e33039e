//! `lore bench`: how fast this machine trains, scores and writes.

mod modules;
mod profile_table;
mod work;

use std::collections::BTreeMap;

use lore_distill::{Depth, Distillation, NextToken, student_from_teacher};
use lore_finetune::{LoraConfig, LoraTraining};
use lore_model::Decoder;
use lore_model::config::ModelConfig;
use lore_model::ops::precision::Precision;
use lore_model::quantised::Blocks;
use lore_train::{Parameters, TrainConfig};
use serde_json::json;

use profile_table::print_profile;
use work::{Measured, Work, random_decoder};

use crate::error::{Error, Result};
use crate::memory::peak_resident;
use crate::plan::memory::{self, Taught};
use crate::session::Session;

/// Measure training steps, scoring and generation on this machine
///
/// The model has the shape of SmolLM2-135M and random weights. One workload per invocation, so that its peak
/// memory is its own; scripts/bench runs them all, in turns with PyTorch.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  lore bench lora
  lore bench lora --profile
  lore bench modules
  lore bench distil --sequences 8 --rounds 10 --json
  scripts/bench --peer python3")]
pub struct BenchArguments {
    /// What to measure
    #[arg(value_enum)]
    workload: Workload,
    /// Blocks of the model; a distilled student has half of them
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u16).range(1..))]
    layers: u16,
    /// Sequences in a step
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..))]
    sequences: u16,
    /// Tokens in a sequence
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u16).range(2..))]
    length: u16,
    /// Repetitions; the first is not counted
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(2..))]
    rounds: u16,
    /// Compute blocks again in the backward pass instead of keeping them
    #[arg(long)]
    recompute: bool,
    /// What the factors of large matrix products are rounded to
    #[arg(long, value_enum, default_value_t = BenchPrecision::F32)]
    precision: BenchPrecision,
    /// With `lora`: keep the frozen matrices in blocks: q8_0, q4_1 or q4_0
    #[arg(long, value_name = "BLOCKS")]
    quantise: Option<Blocks>,
    /// Show where the time goes, by operation
    #[arg(long)]
    profile: bool,
    /// Print one JSON object instead of a line for people
    #[arg(long)]
    json: bool,
}

/// Precision of large matrix products.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum BenchPrecision {
    /// Not rounded
    F32,
    /// To bfloat16, where the processor multiplies that faster
    Bf16,
}

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Workload {
    /// A training step of a rank-16 module on all seven projections
    Lora,
    /// A training step of every weight
    Full,
    /// A distillation step: frozen teacher forward, student of half the depth forward and backward
    Distil,
    /// Reading a prompt
    Prefill,
    /// Writing, one token at a time for all sequences
    Decode,
    /// Scoring 200 multiple-choice items of four choices
    Score,
    /// Loading rank-16 modules, changing which are active, and writing one text with 0, 1, 2 and 4 of them
    Modules,
}

/// Measures and prints.
///
/// # Errors
/// A device that is not there.
pub fn bench(arguments: &BenchArguments, session: &Session) -> Result<()> {
    let device = session.device.device()?;
    let decoder = random_decoder(arguments.layers.into(), &device)?.with_recompute(arguments.recompute);
    let decoder = match (arguments.quantise, arguments.workload) {
        (None, _) => decoder,
        (Some(blocks), Workload::Lora) => decoder.quantised(blocks),
        (Some(_), _) => return Err(Error::Usage("--quantise is for `lore bench lora`".into())),
    };
    if arguments.workload == Workload::Modules {
        return modules::bench(&decoder, arguments.rounds.into(), arguments.json);
    }
    let work = Work {
        decoder,
        rows: usize::from(arguments.sequences) * usize::from(arguments.length),
        length: arguments.length.into(),
        sequences: arguments.sequences.into(),
        rounds: arguments.rounds.into(),
        profile: arguments.profile,
    };
    let precision = match arguments.precision {
        BenchPrecision::F32 => Precision::F32,
        BenchPrecision::Bf16 => Precision::Bf16,
    };
    let (unit, measured) = precision.during(|| measure(arguments, &work))?;
    report(arguments, session, &work, unit, measured);
    Ok(())
}

fn measure(arguments: &BenchArguments, work: &Work) -> Result<(&'static str, Measured)> {
    Ok(match arguments.workload {
        Workload::Lora => {
            let training = LoraTraining::new(work.decoder.clone(), &LoraConfig::default(), 1)
                .map_err(Error::while_doing("making the module"))?;
            ("tokens/s", work.steps(training.parameters(), &training))
        }
        Workload::Full => {
            let objective = NextToken(work.decoder.clone());
            ("tokens/s", work.steps(Parameters::new(work.decoder.parameters()), &objective))
        }
        Workload::Distil => {
            let layers = usize::from(arguments.layers).div_ceil(2);
            let depth = Depth { first: layers - layers / 2, last: layers / 2 };
            let student =
                student_from_teacher(&work.decoder, &depth).map_err(Error::while_doing("making the student"))?;
            let objective = Distillation::new(student, work.decoder.clone(), 1.0);
            ("tokens/s", work.steps(objective.parameters(), &objective))
        }
        Workload::Prefill => ("tokens/s", work.generation(1)?),
        Workload::Decode => ("tokens/s", work.generation(64)?),
        Workload::Score => ("items/s", work.scoring()?),
        Workload::Modules => unreachable!("measured in its own way"),
    })
}

fn report(arguments: &BenchArguments, session: &Session, work: &Work, unit: &str, measured: Measured) {
    let mut rates = measured.rates;
    let estimate = estimated_memory(arguments, &work.decoder);
    // How the last tenth of the rounds compares with the first: 1 when long runs keep their speed.
    let tenth = rates.len().div_ceil(10);
    let drift = median(&rates[rates.len() - tenth..]) / median(&rates[..tenth]);
    rates.sort_by(f64::total_cmp);
    let (low, middle, high) = (rates[0], rates[rates.len() / 2], rates[rates.len() - 1]);
    let (peak, weights) = (peak_resident(), weight_bytes(&work.decoder));
    let name = format!("{:?}", arguments.workload).to_lowercase();
    if arguments.json {
        let profile: BTreeMap<_, _> = measured.profile.iter().map(|line| (line.name, line.milliseconds())).collect();
        let result = json!({
            "workload": name, "unit": unit, "min": low, "median": middle, "max": high, "peak_bytes": peak,
            "estimated_bytes": estimate, "weight_bytes": weights, "drift": drift, "threads": session.threads,
            "device": session.device.to_string(), "milliseconds_by_operation": profile,
        });
        println!("{result}");
    } else {
        let peak = peak.map_or_else(|| "unknown".into(), |bytes| format!("{:.2} GB", bytes as f64 / 1e9));
        let peak = estimate.map_or(peak.clone(), |bytes| format!("{peak} (estimated {:.2} GB)", bytes as f64 / 1e9));
        println!(
            "{name}: {middle:.1} {unit} (min {low:.1}, max {high:.1}), peak memory {peak}, the model's matrices {:.2} GB, \
             end against start {drift:.2}",
            weights as f64 / 1e9
        );
        if arguments.profile {
            print_profile(&measured.profile);
        }
    }
}

/// Bytes of a model's matrices as they are kept, in `f32` or in blocks; its vectors are next to nothing.
fn weight_bytes(decoder: &Decoder) -> usize {
    let projections = decoder.blocks.iter().flat_map(|block| block.projections().map(|(_, one)| one.weight.size()));
    let tables = [Some(&decoder.embedding), decoder.lm_head.as_ref()].into_iter().flatten();
    projections.sum::<usize>() + tables.map(|table| 4 * table.dims().iter().product::<usize>()).sum::<usize>()
}

/// What `lore run --plan` would say of a training step like this.
fn estimated_memory(arguments: &BenchArguments, decoder: &Decoder) -> Option<u64> {
    let train = TrainConfig {
        batch_sequences: arguments.sequences.into(),
        sequence_length: arguments.length.into(),
        recompute: arguments.recompute,
        ..TrainConfig::default()
    };
    match arguments.workload {
        Workload::Lora => Some(memory::of_module_step(
            &decoder.config,
            arguments.quantise,
            &LoraConfig::default(),
            &train,
            Taught::Labels,
        )),
        Workload::Full => Some(memory::of_whole_step(&decoder.config, &train, Taught::Labels)),
        Workload::Distil => {
            let student =
                ModelConfig { num_hidden_layers: usize::from(arguments.layers).div_ceil(2), ..decoder.config.clone() };
            Some(memory::of_whole_step(&student, &train, Taught::By(&decoder.config)))
        }
        Workload::Prefill | Workload::Decode | Workload::Score | Workload::Modules => None,
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}
