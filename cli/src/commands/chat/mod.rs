//! `lore chat`: a conversation in the terminal.

mod answer;
mod commands;

use std::io::{BufRead, IsTerminal, Write};

use lore_model::sampling::Sampling;
use lore_modules::on_demand::ModuleSet;
use lore_serve::{Engine, Turn, Wanted, model_name};

use crate::error::{Error, Result};
use crate::location::Location;
use crate::models::load_model;
use crate::on_demand::{EngineOptions, LibraryOptions, Modules, no_router, parse_modules};
use crate::session::Session;

use answer::answer;
use commands::{Line, read_line};

/// Talk with a base and modules of a library
///
/// Answers go to stdout as they are written; which modules were active and what they cost goes to stderr. The base
/// must have a chat template, as models tuned for conversations have. /help lists the commands.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  lore chat --base runs/quickstart/base --library runs/quickstart/modules --modules geography
  echo 'What is the capital of Mongolia?' | lore chat --base runs/quickstart/base --temperature 0")]
pub struct ChatArguments {
    /// The base: a directory, a GGUF file or a source
    #[arg(long, value_name = "DIR")]
    base: Location,
    /// Modules of the library that are active from the start, or `auto`
    #[arg(long, value_name = "NAME[=WEIGHT],..", value_parser = parse_modules)]
    modules: Option<Modules>,
    #[command(flatten)]
    library: LibraryOptions,
    /// Use modules trained on another base, or that do not say on which; shapes must fit all the same
    #[arg(long)]
    allow_base_mismatch: bool,
    /// What the model is told before the conversation
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    /// Tokens of an answer at most
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..))]
    max_tokens: u32,
    /// Tokens of the whole conversation [default: the model's positions, at most 2048]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..))]
    context: Option<u32>,
    /// Logits are divided by it; 0 always takes the most probable token
    #[arg(long, value_name = "T", default_value_t = 0.7, value_parser = super::generate::temperature)]
    temperature: f64,
    /// Draw only from the most probable tokens with this joint probability
    #[arg(long, value_name = "P", value_parser = super::generate::probability)]
    top_p: Option<f64>,
    /// The same seed draws the same answers
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
}

/// A conversation so far.
struct Conversation {
    turns: Vec<Turn>,
    wanted: Wanted,
    system: Option<String>,
}

impl Conversation {
    fn restart(&mut self) {
        let system = self.system.iter().map(|text| Turn { role: "system".to_owned(), content: text.clone() });
        self.turns = system.collect();
    }

    /// The modules that are asked for.
    fn set(&self) -> ModuleSet {
        match &self.wanted {
            Wanted::Set(set) => set.clone(),
            Wanted::Auto => ModuleSet::none(),
        }
    }
}

/// Talks until the end of stdin.
///
/// # Errors
/// A model or library that cannot be read; a base that says nothing about conversations.
pub fn chat(arguments: &ChatArguments, session: &Session) -> Result<()> {
    let path = arguments.base.resolve(session)?;
    let model = load_model(&path, &session.device.device()?)?;
    let options = EngineOptions {
        parallel: 1,
        context: arguments.context,
        queue: 1,
        allow_base_mismatch: arguments.allow_base_mismatch,
    };
    let engine = arguments.library.engine(model, &options, session)?;
    if engine.base().layout.is_none() {
        return Err(Error::Failed(format!(
            "{}: the model has no chat template, so it was not tuned for conversations; `lore generate` continues texts",
            path.display()
        )));
    }
    let wanted = match &arguments.modules {
        None => Wanted::Set(ModuleSet::none()),
        Some(Modules::Set(set)) => Wanted::Set(set.clone()),
        Some(Modules::Auto) if engine.auto() => Wanted::Auto,
        Some(Modules::Auto) => return Err(no_router(&arguments.library.library(session))),
    };
    let mut conversation = Conversation { turns: Vec::new(), wanted, system: arguments.system.clone() };
    check_names(&engine, &conversation.set())?;
    conversation.restart();
    let sampling =
        Sampling { temperature: arguments.temperature as f32, top_k: None, top_p: arguments.top_p.map(|p| p as f32) };
    let terminal = std::io::stdin().is_terminal();
    if terminal {
        session.progress.note("/help lists the commands, Ctrl-D ends");
    }
    let mut answers = 0;
    let mut input = std::io::stdin().lock();
    loop {
        if terminal {
            eprint!("[{}] > ", shown(&conversation.wanted));
            // Nothing is left to do when stderr is closed.
            let _ = std::io::stderr().flush();
        }
        let mut line = String::new();
        if input.read_line(&mut line).map_err(Error::while_doing("reading stdin"))? == 0 {
            return Ok(());
        }
        match read_line(&line) {
            Line::Nothing => {}
            Line::Quit => return Ok(()),
            Line::Command(command) => commands::run(&command, &mut conversation, &engine, session),
            Line::Said(text) => {
                conversation.turns.push(Turn { role: "user".to_owned(), content: text });
                let asked = answer::Asked {
                    max_tokens: arguments.max_tokens as usize,
                    sampling: sampling.clone(),
                    seed: arguments.seed,
                    number: answers,
                };
                answers += 1;
                match answer(&engine, &conversation, asked, session)? {
                    Ok(text) => conversation.turns.push(Turn { role: "assistant".to_owned(), content: text }),
                    // What was not answered is not part of the conversation.
                    Err(problem) => {
                        conversation.turns.pop();
                        eprintln!("{problem}");
                        if !terminal {
                            return Err(Error::Failed("a question was not answered".to_owned()));
                        }
                    }
                }
            }
        }
    }
}

fn shown(wanted: &Wanted) -> String {
    match wanted {
        Wanted::Set(set) => model_name(set),
        Wanted::Auto => "auto".to_owned(),
    }
}

/// Checks that the library has all modules of a set.
fn check_names(engine: &Engine, set: &ModuleSet) -> Result<()> {
    let folders = engine.folders().map_err(Error::Failed)?;
    let missing: Vec<&str> =
        set.modules().iter().map(|(name, _)| name.as_str()).filter(|name| !folders.contains_key(*name)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = folders.into_keys().collect();
    let there = if names.is_empty() { "it is empty".to_owned() } else { format!("there are {}", names.join(", ")) };
    Err(Error::Usage(format!("the library has no module {}; {there}", missing.join(" and no "))))
}
