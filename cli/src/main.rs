//! `lore`: distils a base from a teacher, trains knowledge modules on topics, measures how they compose.

mod clock;
mod commands;
mod device;
mod error;
mod launch;
mod location;
mod memory;
mod models;
mod plan;
mod progress;
mod quantity;
mod recipe;
mod routing;
mod session;
mod stages;
mod table;

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
}

fn main() -> ExitCode {
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

fn report_defect(panic: &PanicHookInfo<'_>) {
    let payload = panic.payload();
    let what = payload.downcast_ref::<&str>().copied();
    let what = what.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("unknown");
    // Whoever reads our output has enough, as `head` does.
    if what.starts_with("failed printing to std") {
        std::process::exit(1);
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
    match &arguments.command {
        Command::Run(arguments) => commands::run::run(arguments, &session),
        Command::Fetch(arguments) => commands::fetch::fetch(arguments, &session),
        Command::Finetune(arguments) => commands::finetune::finetune(arguments, &session),
        Command::Pack(arguments) => commands::pack::pack(arguments, &session),
        Command::Route(arguments) => commands::route::route(arguments, &session),
        Command::Bench(arguments) => commands::bench::bench(arguments, &session),
        Command::Generate(arguments) => commands::generate::run(arguments, &session),
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
