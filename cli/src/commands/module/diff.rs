//! `lore module diff`: what sets two modules apart.

use lore_modules::inspect::{Difference, diff};
use lore_modules::peft;

use crate::error::{Error, Result};
use crate::location::Location;
use crate::session::Session;
use crate::table;

/// Compare two modules: settings, and the change of each projection
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  lore module diff modules/geography modules/geography-2")]
pub struct DiffArguments {
    /// A module: a directory or a source
    #[arg(value_name = "A")]
    first: Location,
    /// Another
    #[arg(value_name = "B")]
    second: Location,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Compares; the report goes to stdout.
pub fn run(arguments: &DiffArguments, session: &Session) -> Result<()> {
    let read = |location: &Location| Ok::<_, Error>(peft::read(&location.resolve(session)?)?);
    let difference = diff(&read(&arguments.first)?, &read(&arguments.second)?)?;
    if arguments.json {
        let text = serde_json::to_string_pretty(&difference).map_err(Error::while_doing("writing JSON"))?;
        println!("{text}");
    } else {
        print!("{}", text(&difference));
    }
    Ok(())
}

fn text(difference: &Difference) -> String {
    let mut text = String::new();
    for (name, [a, b]) in &difference.settings {
        text.push_str(&format!("{name}: {a:?} in A, {b:?} in B\n"));
    }
    for (side, only) in [("A", &difference.only_first), ("B", &difference.only_second)] {
        only.iter().for_each(|path| text.push_str(&format!("{path}: only in {side}\n")));
    }
    if difference.identical {
        return text + "the updates are identical\n";
    }
    if let Some(distance) = difference.distance {
        text.push_str(&format!("‖A − B‖ is {distance:.4} of ‖A‖\n"));
    }
    let rows: Vec<Vec<String>> = difference
        .projections
        .iter()
        .map(|projection| {
            let [a, b] = projection.norms;
            let numbers = [a, b, projection.distance, projection.cosine];
            std::iter::once(projection.projection.clone()).chain(numbers.map(|x| format!("{x:.4}"))).collect()
        })
        .collect();
    if rows.is_empty() {
        return text;
    }
    text + "\n" + &table::lines(&["projection", "‖A‖", "‖B‖", "‖A − B‖", "cosine"], &rows, 1)
}
