//! `lore`: distils a base from a teacher, trains knowledge modules on topics, measures how they compose.

mod clock;
mod commands;
mod composing;
mod device;
mod error;
mod launch;
mod location;
mod memory;
mod models;
mod on_demand;
mod passages;
mod plan;
mod progress;
mod quantity;
mod recipe;
mod routing;
mod session;
mod stages;
mod table;
mod together;
mod walk;
mod work;

use std::io::Write;
use std::panic::PanicHookInfo;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use error::Result;
use session::{GlobalOptions, Session};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Distil a small English base from a large teacher, train knowledge modules for it, measure how they
/// compose.
#[derive(Debug, Parser)]
#[command(name = "lore", version, max_term_width = 100, after_help = "Example:\n  lore run recipes/quickstart.toml")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    #[command(flatten, next_help_heading = "Options of every command")]
    global: GlobalOptions,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(commands::run::RunArguments),
    Fetch(commands::fetch::FetchArguments),
    Finetune(commands::finetune::FinetuneArguments),
    Generate(commands::generate::GenerateArguments),
    Score(commands::score::ScoreArguments),
    Serve(commands::serve::ServeArguments),
    Chat(commands::chat::ChatArguments),
    Compose(commands::compose::ComposeArguments),
    Module(commands::module::ModuleArguments),
    Eval(Box<commands::eval::EvalArguments>),
    Convert(commands::convert::ConvertArguments),
    Trim(commands::trim::TrimArguments),
    Data(commands::data::DataArguments),
    Doctor(commands::doctor::DoctorArguments),
    Bench(commands::bench::BenchArguments),
    Pack(commands::pack::PackArguments),
    Route(commands::route::RouteArguments),
    Work(commands::work::WorkArguments),
    Leaderboard(commands::leaderboard::LeaderboardArguments),
}

fn main() -> ExitCode {
    memory::keep_freed();
    std::panic::set_hook(Box::new(report_defect));
    let arguments = Arguments::parse();
    match std::panic::catch_unwind(|| dispatch(&arguments)) {
        Err(_) => ExitCode::FAILURE,
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => {
            // Nothing is left to do when stderr is closed.
            let _ = writeln!(std::io::stderr(), "error: {}", error::chain(&error));
            ExitCode::from(error.exit_code())
        }
    }
}

/// What helps when a device's memory is full.
const MEMORY_ADVICE: &str = "In the recipe's `train` tables raise `accumulate` (parts of a batch, same result), set \
     `recompute = true`, or shorten `sequence_length`; `lore run RECIPE --plan` says what each stage takes";

/// Whether a GPU's backend gave up for want of memory; it has no other way to say so.
fn is_out_of_memory(what: &str) -> bool {
    let what = what.to_lowercase();
    [
        "out of memory",
        "out of device memory",
        "out_of_memory",
        "outofmemory",
        "not enough memory",
        "can't allocate buffer",
    ]
    .iter()
    .any(|sign| what.contains(sign))
}

fn report_defect(panic: &PanicHookInfo<'_>) {
    let payload = panic.payload();
    let what = payload.downcast_ref::<&str>().copied();
    let what = what.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("unknown");
    // Whoever reads our output has enough, as `head` does.
    if what.starts_with("failed printing to std") {
        std::process::exit(1);
    }
    if is_out_of_memory(what) {
        let what = what.lines().next().unwrap_or_default();
        let _ = writeln!(std::io::stderr(), "error: the device has not enough memory ({what}). {MEMORY_ADVICE}");
        return;
    }
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    let what = what.replace('\n', " ");
    // Nothing is left to do when stderr is closed.
    let _ = writeln!(
        std::io::stderr(),
        "error: lore has a defect; please report this line with the command that led to it: {what} ({place})"
    );
}

fn dispatch(arguments: &Arguments) -> Result<()> {
    let session = Session::new(&arguments.global)?;
    if matches!(&arguments.command, Command::Run(_) | Command::Finetune(_) | Command::Work(_)) {
        session.heed_signals()?;
    }
    match &arguments.command {
        Command::Run(arguments) => commands::run::run(arguments, &session),
        Command::Fetch(arguments) => commands::fetch::fetch(arguments, &session),
        Command::Finetune(arguments) => commands::finetune::finetune(arguments, &session),
        Command::Pack(arguments) => commands::pack::pack(arguments, &session),
        Command::Route(arguments) => commands::route::route(arguments, &session),
        Command::Work(arguments) => commands::work::work(arguments, &session),
        Command::Leaderboard(arguments) => commands::leaderboard::leaderboard(arguments, &session),
        Command::Bench(arguments) => commands::bench::bench(arguments, &session),
        Command::Generate(arguments) => commands::generate::run(arguments, &session),
        Command::Serve(arguments) => commands::serve::serve(arguments, &session),
        Command::Chat(arguments) => commands::chat::chat(arguments, &session),
        Command::Score(arguments) => commands::score::score(arguments, &session),
        Command::Compose(arguments) => commands::compose::run(arguments, &session),
        Command::Module(arguments) => commands::module::run(arguments, &session),
        Command::Eval(arguments) => commands::eval::eval(arguments, &session),
        Command::Convert(arguments) => commands::convert::convert(arguments, &session),
        Command::Trim(arguments) => commands::trim::run(arguments, &session),
        Command::Data(arguments) => commands::data::data(arguments, &session),
        Command::Doctor(arguments) => commands::doctor::doctor(arguments, &session),
    }
}

#[cfg(test)]
mod tests {
    use super::is_out_of_memory;

    #[test]
    fn a_full_device_is_recognised() {
        for what in [
            "called `Result::unwrap()` on an `Err` value: DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\")",
            "wgpu error: Out of Memory",
            "can't allocate buffer of size: 4294967296",
            "out of device memory allocating 4096 bytes",
        ] {
            assert!(is_out_of_memory(what), "{what}");
        }
        assert!(!is_out_of_memory("index out of bounds: the len is 3 but the index is 3"));
    }
}
