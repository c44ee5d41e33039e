//! `lore route ask`: which modules a text needs, and why.

use std::path::PathBuf;

use lore_modules::{LoadedModule, peft};
use lore_route::{Router, arrow, probe};
use serde_json::json;

use super::{PROBE, by_name, print_json};
use crate::commands::pack::folders::LibraryOption;
use crate::error::{Error, Result};
use crate::location::Location;
use crate::models::load_model;
use crate::session::Session;
use crate::table;

/// Say which modules a text needs, and why
///
/// A module is used where its score reaches its threshold; where none does, the base alone. Scores are about 1 for text
/// of the module's topic and below 0 for general text; short texts tell less.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  lore route ask --base runs/quickstart/base --module runs/quickstart/modules/geography \\
      --module runs/quickstart/modules/cybersecurity --prompt 'SQL injection happens when'
  lore route ask --base base --library ~/.cache/lore/library --file question.txt --top 2 --json")]
pub struct AskArguments {
    /// The base: a directory, a GGUF file or a source
    #[arg(long, value_name = "DIR")]
    base: Location,
    /// A module with a router entry, a directory or source; repeated [default: those of the library]
    #[arg(long = "module", value_name = "DIR")]
    modules: Vec<Location>,
    #[command(flatten)]
    library: LibraryOption,
    /// A router's file, instead of the modules' own entries
    #[arg(long, value_name = "FILE", conflicts_with = "modules")]
    router: Option<PathBuf>,
    /// The text
    #[arg(long, value_name = "TEXT", required_unless_present = "file", conflicts_with = "file")]
    prompt: Option<String>,
    /// A file with the text
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Modules to choose at most
    #[arg(long, value_name = "N", default_value_t = 1)]
    top: u16,
    /// Also let the modules' matrices (arrow) and what each module saves on the text's first 64 tokens (probe) tell, to
    /// compare with; the modules are loaded for that
    #[arg(long, conflicts_with = "router")]
    compare: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Asks; the answer goes to stdout.
///
/// # Errors
/// No module with a router entry for this base; files that cannot be read.
pub fn ask(arguments: &AskArguments, session: &Session) -> Result<()> {
    let text = match (&arguments.prompt, &arguments.file) {
        (Some(text), _) => text.clone(),
        (None, Some(path)) => std::fs::read_to_string(path).map_err(Error::io(path))?,
        (None, None) => String::new(),
    };
    let model = load_model(&arguments.base.resolve(session)?, &session.device.device()?)?;
    let fingerprint = model.fingerprint()?;
    let folders = if arguments.modules.is_empty() {
        crate::on_demand::folders(&arguments.library.library(session))?
    } else {
        by_name(&arguments.modules.iter().map(|module| module.resolve(session)).collect::<Result<Vec<_>>>()?)?
    };
    let router = match &arguments.router {
        Some(path) => Router::read(path)?,
        None => Router::of_folders(&folders, &fingerprint)?,
    };
    if let Some((module, entry)) = router.entries().iter().find(|(_, entry)| entry.base != fingerprint) {
        let module = module.clone();
        return Err(lore_route::Error::OtherBase { module, made_with: entry.base, found: fingerprint }.into());
    }
    if router.is_empty() {
        return Err(Error::Failed(
            "no module has a router entry for this base; `lore run` writes them, and `lore route build` makes them"
                .to_owned(),
        ));
    }
    let refused = |error| Error::Failed(format!("the tokenizer: {error}"));
    let ids = model.files.tokenizer.encode(text.as_str(), false).map_err(refused)?;
    let mut tokens = [&[model.start], ids.get_ids()].concat();
    let choice = router.choose(&model.decoder, &tokens, arguments.top.into())?;
    tokens.truncate(model.decoder.max_positions());

    let mut others = Vec::new();
    if arguments.compare {
        for scored in &choice.scored {
            let adapter = peft::read(&folders[&scored.module])?;
            adapter
                .check_base(&model.files.config, &fingerprint, false)
                .map_err(Error::while_doing(format!("module {}", scored.module)))?;
            let prototypes = &router.entries()[&scored.module].arrow;
            let passage = std::slice::from_ref(&tokens);
            let along = arrow::scores(&model.decoder, passage, &[prototypes])[0][0];
            let loaded = LoadedModule::new(&adapter, &model.decoder.embedding.device());
            others.push((along, probe::savings(&model.decoder, &[&loaded], passage, PROBE)[0][0]));
        }
    }
    let weight = |module: &str| choice.picks.iter().find(|(name, _)| name == module).map(|(_, weight)| *weight);
    if arguments.json {
        let scores = choice.scored.iter().enumerate().map(|(place, scored)| {
            let mut one = json!({ "module": scored.module, "score": scored.score, "threshold": scored.threshold });
            if let Some((along, saved)) = others.get(place) {
                one["arrow"] = json!(along);
                one["saved_nats_per_token"] = json!(saved);
            }
            one
        });
        let picks = choice.picks.iter().map(|(module, weight)| json!({ "module": module, "weight": weight }));
        return print_json(&json!({
            "tokens": tokens.len() - 1,
            "modules": picks.collect::<Vec<_>>(),
            "scores": scores.collect::<Vec<_>>(),
        }));
    }
    let rows = choice.scored.iter().enumerate().map(|(place, scored)| {
        let used = weight(&scored.module).map_or("-".to_owned(), |weight| format!("{weight:.2}"));
        let mut row =
            vec![scored.module.clone(), format!("{:+.2}", scored.score), format!("{:+.2}", scored.threshold), used];
        if let Some((along, saved)) = others.get(place) {
            row.extend([format!("{along:.4}"), format!("{saved:+.3}")]);
        }
        row
    });
    let mut headers = vec!["module", "score", "threshold", "weight"];
    if arguments.compare {
        headers.extend(["arrow", "saved nats/token"]);
    }
    print!("{}", table::lines(&headers, &rows.collect::<Vec<_>>(), 1));
    let names: Vec<&str> = choice.picks.iter().map(|(name, _)| name.as_str()).collect();
    if names.is_empty() {
        println!("\nthe base alone: no module reaches its threshold");
    } else {
        println!("\nuse {}", names.join(", "));
    }
    Ok(())
}
