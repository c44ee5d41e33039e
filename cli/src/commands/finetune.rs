//! `lore finetune`: the modules of a recipe.

use std::path::PathBuf;

use lore_eval::report::SweptRate;
use lore_train::{Measurement, StepMetrics};
use serde_json::Value;

use crate::error::{Error, Result};
use crate::plan::{self, Plan};
use crate::recipe::Recipe;
use crate::session::Session;
use crate::stages::{Finished, RunFolder, Runner};
use crate::table;

/// Train the modules of a recipe, and what they need first
///
/// The same stages as `lore run`, up to the modules: what is finished is kept, in the same folder, and `lore run` goes on
/// from there.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  lore finetune recipes/quickstart.toml
  lore finetune recipes/quickstart.toml --module geography
  lore finetune recipes/quickstart.toml --module geography --again
  lore finetune recipes/quickstart.toml --plan")]
pub struct FinetuneArguments {
    /// The recipe
    #[arg(value_name = "RECIPE.toml")]
    recipe: PathBuf,
    /// Train this module only: the name of a topic, or of a `[[joint]]` module; may be repeated
    #[arg(long = "module", value_name = "NAME")]
    modules: Vec<String>,
    /// Train them again, even if they are finished
    #[arg(long, conflicts_with = "plan")]
    again: bool,
    /// Print the stages and what they will cost; run and fetch nothing
    #[arg(long)]
    plan: bool,
    /// Folder that holds a folder for each recipe
    #[arg(long, value_name = "DIR", default_value = "runs")]
    runs_dir: PathBuf,
}

/// Trains. A table of the modules goes to stdout.
///
/// # Errors
/// Recipe problems, a module that is not in it, or the first stage that fails.
pub fn finetune(arguments: &FinetuneArguments, session: &Session) -> Result<()> {
    let recipe = Recipe::open_with_topics(&arguments.recipe)?;
    let wanted = wanted(&recipe, &arguments.modules)?;
    let stages = plan::needed_for_all(plan::stages(&recipe), &wanted);
    let folder = RunFolder::new(&arguments.runs_dir, &recipe.name);
    if arguments.plan {
        print!("{}", Plan::new(&recipe, &stages, &folder, session, None));
        return Ok(());
    }
    let runner = Runner { folder: &folder, session, keeps_others: true };
    let again: &[String] = if arguments.again { &wanted } else { &[] };
    let summary = runner.run(&stages, again)?;
    let rows: Vec<Vec<String>> = wanted
        .iter()
        .filter_map(|stage| {
            let name = stage.strip_prefix("module:")?;
            let place = folder.root().join("modules").join(name);
            Some(row(name, summary.finished.get(stage)?, &place.display().to_string()))
        })
        .collect();
    let headers = ["module", "folder", "parameters", "steps", "learning rate", "loss", "validation"];
    print!("{}", table::lines(&headers, &rows, 2));
    for (stage, finished) in wanted.iter().filter_map(|stage| Some((stage, summary.finished.get(stage)?))) {
        let rates: Vec<SweptRate> =
            serde_json::from_value(finished.manifest.facts["sweep"].clone()).unwrap_or_default();
        if !rates.is_empty() {
            let tried = |rate: &SweptRate| format!("{:e}: {:.4}", rate.learning_rate, rate.bits_per_byte);
            let tried: Vec<String> = rates.iter().map(tried).collect();
            let name = stage.strip_prefix("module:").unwrap_or(stage);
            println!("\n{name}, bits per byte of validation text by learning rate: {}", tried.join(", "));
        }
    }
    Ok(())
}

/// The stages of the modules asked for, or of all.
fn wanted(recipe: &Recipe, modules: &[String]) -> Result<Vec<String>> {
    let known: Vec<&str> = recipe
        .topics
        .iter()
        .map(|topic| topic.name.as_str())
        .chain(recipe.joint.iter().map(|joint| joint.name.as_str()))
        .collect();
    if let Some(unknown) = modules.iter().find(|module| !known.contains(&module.as_str())) {
        return Err(Error::Usage(format!(
            "--module {unknown}: the recipe has no such module; it has {}",
            known.join(", ")
        )));
    }
    let chosen = known.into_iter().filter(|name| modules.is_empty() || modules.iter().any(|module| module == name));
    Ok(chosen.map(|name| format!("module:{name}")).collect())
}

/// A module as a line of the table.
fn row(name: &str, finished: &Finished, place: &str) -> Vec<String> {
    let facts: &Value = &finished.manifest.facts;
    let curve: Vec<StepMetrics> = serde_json::from_value(facts["curve"].clone()).unwrap_or_default();
    let best: Option<Measurement> = serde_json::from_value(facts["validation"].clone()).ok();
    let rate = curve.iter().map(|step| step.learning_rate).fold(0.0, f64::max);
    let steps = best.map_or_else(|| curve.len().to_string(), |best| format!("{} of {}", best.step, curve.len()));
    vec![
        name.to_owned(),
        place.to_owned(),
        facts["parameters"].to_string(),
        steps,
        format!("{rate:e}"),
        curve.last().map_or_else(|| "-".into(), |step| format!("{:.3}", step.loss)),
        best.map_or_else(|| "-".into(), |best| format!("{:.4}", best.value)),
    ]
}
