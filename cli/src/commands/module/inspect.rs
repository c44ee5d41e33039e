//! `lore module inspect`: a module in numbers, or several before they are composed.

use std::collections::{BTreeMap, BTreeSet};

use lore_model::files::ModelFiles;
use lore_modules::delta::root_of_squares;
use lore_modules::inspect::{ModuleFacts, Pair, ProjectionFacts, Report, inspect};
use lore_modules::{Adapter, peft};

use crate::commands::compose::name;
use crate::error::{Error, Result};
use crate::location::Location;
use crate::quantity;
use crate::session::Session;
use crate::table;

/// Describe a module, or report on several before they are composed
///
/// For several: how alike the changes of each two are (cosine), how much the inputs they react to and the outputs
/// they write to overlap, and how much each is predicted to disturb the other. --json has it by projection.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  lore module inspect modules/geography
  lore module inspect modules/geography modules/history --base runs/quickstart/base --json")]
pub struct InspectArguments {
    /// Modules: directories or sources
    #[arg(value_name = "DIR", required = true)]
    modules: Vec<Location>,
    /// The base, to tell sizes relative to its weights: a directory, a GGUF file or a source
    #[arg(long, value_name = "DIR")]
    base: Option<Location>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Inspects; the report goes to stdout.
pub fn run(arguments: &InspectArguments, session: &Session) -> Result<()> {
    let paths = arguments.modules.iter().map(|module| module.resolve(session)).collect::<Result<Vec<_>>>()?;
    let adapters = paths.iter().map(|path| Ok(peft::read(path)?)).collect::<Result<Vec<Adapter>>>()?;
    let base = arguments.base.as_ref().map(|base| base.resolve(session)).transpose()?;
    let base = base.map(|base| ModelFiles::open(&base)).transpose()?;
    let mut names: Vec<String> = paths.iter().map(|path| name(path)).collect();
    if names.iter().collect::<BTreeSet<_>>().len() < names.len() {
        names = paths.iter().map(|path| path.display().to_string()).collect();
    }
    let modules: Vec<(&str, &Adapter)> = names.iter().map(String::as_str).zip(&adapters).collect();
    let report = inspect(&modules, base.as_ref().map(|files| &*files.weights))?;
    if arguments.json {
        let text = serde_json::to_string_pretty(&report).map_err(Error::while_doing("writing JSON"))?;
        println!("{text}");
    } else if let ([facts], [adapter]) = (report.modules.as_slice(), adapters.as_slice()) {
        print!("{}", one(facts, adapter));
    } else {
        print!("{}", several(&report));
    }
    Ok(())
}

fn percent(part: Option<f64>) -> String {
    part.map_or("-".to_owned(), |part| format!("{:.2} %", 100.0 * part))
}

/// Layer and last name of a projection.
fn place(projection: &str) -> (&str, &str) {
    let layer = projection.strip_prefix("model.layers.").and_then(|rest| rest.split_once('.')).map_or("", |(l, _)| l);
    (layer, projection.rsplit('.').next().unwrap_or(projection))
}

/// Groups of projections, layers by number.
fn groups(facts: &ModuleFacts, by_layer: bool) -> BTreeMap<(usize, &str), Vec<&ProjectionFacts>> {
    let mut groups = BTreeMap::<(usize, &str), Vec<&ProjectionFacts>>::new();
    for facts in &facts.projections {
        let (layer, kind) = place(&facts.projection);
        let key = if by_layer { (layer.parse().unwrap_or(usize::MAX), layer) } else { (0, kind) };
        groups.entry(key).or_default().push(facts);
    }
    groups
}

fn norm(group: &[&ProjectionFacts]) -> f64 {
    root_of_squares(group.iter().map(|facts| facts.norm))
}

fn ranks(facts: &ModuleFacts) -> String {
    let ranks: BTreeSet<usize> = facts.projections.iter().map(|facts| facts.rank).collect();
    match (ranks.first(), ranks.last()) {
        (Some(least), Some(most)) if least != most => format!("{least} to {most}"),
        (Some(rank), _) => rank.to_string(),
        _ => "-".to_owned(),
    }
}

fn one(facts: &ModuleFacts, adapter: &Adapter) -> String {
    let config = &adapter.config;
    let mut lines = vec![("module", facts.name.clone())];
    lines.push(("base", facts.base.clone().unwrap_or_else(|| "not named".to_owned())));
    if let Some(name) = &config.base_model_name_or_path {
        lines.push(("base name", name.clone()));
    }
    lines.extend(adapter.metadata.iter().map(|(key, value)| (key.as_str(), value.clone())));
    lines.push(("projections", facts.projections.len().to_string()));
    lines.push(("rank", ranks(facts)));
    let scale = if config.use_rslora { "alpha / √rank" } else { "alpha / rank" };
    let patterns = if config.alpha_pattern.is_empty() { "" } else { ", and a pattern" };
    lines.push(("alpha", format!("{}{patterns}, scale {scale}", config.alpha)));
    let size = quantity::bytes(4 * facts.parameters as u64);
    lines.push(("values", format!("{}, {size} in memory", quantity::count(facts.parameters as u64))));
    let relative = facts.relative.map(|part| format!(", {} of the weights changed", percent(Some(part))));
    lines.push(("norm ‖ΔW‖", format!("{:.4}{}", facts.norm, relative.unwrap_or_default())));
    let width = lines.iter().map(|(key, _)| key.chars().count()).max().unwrap_or(0);
    let mut text: String = lines
        .into_iter()
        .map(|(key, value)| format!("{key}{}  {value}\n", " ".repeat(width - key.chars().count())))
        .collect();
    for (title, by_layer) in [("projection", false), ("layer", true)] {
        let row = |((_, group), facts): ((usize, &str), Vec<&ProjectionFacts>)| {
            // ‖ΔW‖ / ‖W‖ of the group, from the parts' own.
            let size =
                |facts: &&ProjectionFacts| facts.relative.filter(|part| *part > 0.0).map(|part| facts.norm / part);
            let sizes: Option<Vec<f64>> = facts.iter().map(size).collect();
            let mean = facts.iter().map(|facts| facts.stable_rank).sum::<f64>() / facts.len() as f64;
            let largest = facts.iter().map(|facts| facts.spectral).fold(0.0, f64::max);
            vec![
                if group.is_empty() { "other".to_owned() } else { group.to_owned() },
                facts.len().to_string(),
                format!("{:.4}", norm(&facts)),
                percent(sizes.map(|sizes| norm(&facts) / root_of_squares(sizes.into_iter()))),
                format!("{largest:.4}"),
                format!("{mean:.1}"),
            ]
        };
        let rows: Vec<Vec<String>> = groups(facts, by_layer).into_iter().map(row).collect();
        text.push('\n');
        text.push_str(&table::lines(&[title, "updates", "‖ΔW‖", "of ‖W‖", "largest σ", "stable rank"], &rows, 1));
    }
    text
}

fn several(report: &Report) -> String {
    let row = |facts: &ModuleFacts| {
        let rank = facts.projections.iter().map(|facts| facts.stable_rank).sum::<f64>();
        vec![
            facts.name.clone(),
            facts.projections.len().to_string(),
            ranks(facts),
            quantity::count(facts.parameters as u64),
            format!("{:.4}", facts.norm),
            percent(facts.relative),
            format!("{:.1}", rank / facts.projections.len().max(1) as f64),
        ]
    };
    let rows: Vec<Vec<String>> = report.modules.iter().map(row).collect();
    let headers = ["module", "updates", "rank", "values", "‖ΔW‖", "of ‖W‖", "stable rank"];
    let mut text = table::lines(&headers, &rows, 1);

    let row = |pair: &Pair| {
        let [first, second] = &pair.modules;
        let [on_first, on_second] = pair.interference;
        let overlap = |found: f64, chance: f64| format!("{:.1} % ({:.1} %)", 100.0 * found, 100.0 * chance);
        vec![
            first.clone(),
            second.clone(),
            format!("{:+.3}", pair.cosine),
            overlap(pair.input_overlap, pair.chance_input_overlap),
            overlap(pair.output_overlap, pair.chance_output_overlap),
            format!("{on_first:.3}"),
            format!("{on_second:.3}"),
        ]
    };
    let rows: Vec<Vec<String>> = report.pairs.iter().map(row).collect();
    let headers = ["first", "second", "cosine", "inputs shared", "outputs shared", "on first", "on second"];
    text.push('\n');
    text.push_str(&table::lines(&headers, &rows, 2));
    text.push_str(
        "\ncosine: of the changes, all projections together. shared: mean squared cosine of the principal angles\n\
         between row (column) spaces, by chance in brackets. on first, on second: predicted interference, the\n\
         other module's response to the inputs this one reacts to, relative to its own; 0 none, 1 as by a copy.\n",
    );
    for (title, by_layer) in [("projection", false), ("layer", true)] {
        let columns: Vec<BTreeMap<_, _>> = report.modules.iter().map(|facts| groups(facts, by_layer)).collect();
        let keys: BTreeSet<&(usize, &str)> = columns.iter().flat_map(BTreeMap::keys).collect();
        let row = |key: &(usize, &str)| {
            let name = if key.1.is_empty() { "other" } else { key.1 };
            let cells =
                columns.iter().map(|groups| groups.get(key).map_or("-".to_owned(), |g| format!("{:.4}", norm(g))));
            std::iter::once(name.to_owned()).chain(cells).collect()
        };
        let rows: Vec<Vec<String>> = keys.into_iter().map(row).collect();
        let headers: Vec<&str> =
            std::iter::once(title).chain(report.modules.iter().map(|facts| facts.name.as_str())).collect();
        text.push_str(&format!("\n‖ΔW‖ by {title}\n"));
        text.push_str(&table::lines(&headers, &rows, 1));
    }
    text
}
