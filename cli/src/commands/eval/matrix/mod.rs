//! `lore eval matrix`: every module of a run on every task, alone and together, beside controls and a teacher.

mod cost;
mod routed;
mod rows;
mod shown;

use std::fs;
use std::path::{Path, PathBuf};

use lore_eval::comparison::{self, Evaluated};
use lore_eval::engine::Options;
use lore_eval::result::ModelIdentity;
use lore_eval::statistics::Bootstrap;
use lore_eval::task::Selection;
use lore_model::fingerprint::Fingerprint;
use lore_model::quantised::Blocks;
use serde_json::json;

use super::asked::{DataArguments, Question, identified, name_of, questions};
use super::asking::Asking;
use super::documents::DocumentsArguments;
use crate::error::{Error, Result};
use crate::location::Location;
use crate::models::{LoadedModel, load_model, load_model_in};
use crate::session::Session;
use cost::Cost;
use rows::{Loaded, Wanted, rows, single_topics};

/// Ask a run's base, each of its modules, combinations of them and controls every task, and say what each costs
///
/// The run's folder holds `base` and `modules`, as `lore run` leaves them. Every change from the base is paired item by
/// item; p-values are corrected for the whole matrix by Holm's method. Of what is loaded, the last table says what it gains
/// over the base in the mean of the tasks, what it costs, and whether anything cheaper gains as much. Where every module has
/// a router entry, `routed` takes for each item the answer of the module that the router chooses by what is asked.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  lore eval matrix runs/openstax --task openstax_review/psychology --task mmlu/anatomy --task blimp \\
      --limit 50 --data data --out runs/openstax/tasks
  lore eval matrix runs/openstax --task mmlu/anatomy --data data --out matrix --combine 3 --combinations 20 --seed 1 \\
      --teacher teacher.gguf --teacher-blocks q4_1 --documents runs/openstax")]
pub struct MatrixArguments {
    /// Folder of a finished run
    #[arg(value_name = "RUN")]
    run: PathBuf,
    /// A task's name (see `lore eval tasks`) or file, or one subset of it; may be repeated
    #[arg(long = "task", value_name = "NAME|FILE[/SUBSET]", required = true)]
    tasks: Vec<String>,
    /// Only the first N items of each subset
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    #[command(flatten)]
    data: DataArguments,
    #[command(flatten)]
    documents: DocumentsArguments,
    /// Sets of 2 to K modules of single topics too
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u16).range(2..))]
    combine: Option<u16>,
    /// At most N such sets; where there are more, of each size an equal share is drawn
    #[arg(long, value_name = "N", default_value_t = 30, requires = "combine")]
    combinations: u32,
    /// Weight of each module in such a set
    #[arg(long, value_name = "W", default_value_t = 1.0, requires = "combine")]
    weight: f32,
    /// Draws the sets of --combine and the values of the shuffled module
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// A module of something else, as a control; may be repeated
    #[arg(long = "off-topic", value_name = "DIR")]
    off_topic: Vec<Location>,
    /// Neither the module that changes nothing nor the one whose values are shuffled
    #[arg(long)]
    no_controls: bool,
    /// The model that the base was distilled from, or any other, as the last row: a directory, a GGUF file or a source
    #[arg(long, value_name = "DIR")]
    teacher: Option<Location>,
    /// The teacher with the matrices of its projections in blocks too: q8_0, q4_1 or q4_0; may be repeated
    #[arg(long, value_name = "KIND", requires = "teacher")]
    teacher_blocks: Vec<Blocks>,
    /// Folder for results, `matrix.json` and `matrix.md`
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

/// What was found of one row.
pub(super) struct Measured {
    /// What it is called.
    name: String,
    /// Its result and samples of each task.
    results: Vec<Evaluated>,
    /// What it costs.
    cost: Cost,
}

/// Asks everything and prints the matrix.
///
/// # Errors
/// A folder that is no run; tasks or data that cannot be used.
pub fn matrix(arguments: &MatrixArguments, session: &Session) -> Result<()> {
    if !arguments.weight.is_finite() {
        return Err(Error::Usage(format!("--weight {} is not a finite number", arguments.weight)));
    }
    let selection = Selection { limit: arguments.limit.map(|limit| limit as usize), ..Selection::default() };
    let (questions, data) = questions(&arguments.tasks, &arguments.data, &selection, session)?;
    let asked = questions.iter().map(|(task, selection, _)| (task, selection));
    let searched = arguments.documents.search(asked, &data, session)?;
    fs::create_dir_all(&arguments.out).map_err(Error::io(&arguments.out))?;
    let wanted = Wanted {
        combine: arguments.combine.map(usize::from),
        combinations: arguments.combinations as usize,
        weight: arguments.weight,
        seed: arguments.seed,
        off_topic: arguments.off_topic.iter().map(|one| one.resolve(session)).collect::<Result<_>>()?,
        controls: (!arguments.no_controls).then(|| arguments.out.join("controls")),
    };
    let wanted = rows(&arguments.run, &wanted)?;
    let asking = Asking { options: Options::default(), searched: searched.as_ref(), session };
    let rows = Rows { questions: &questions, asking, out: &arguments.out };
    let path = arguments.run.join("base");
    let model = load_model(&path, &session.device.device()?)?;
    let fingerprint = model.fingerprint()?;
    let mut measured = Vec::new();
    for row in &wanted {
        measured.push(rows.measure(row, &model, &fingerprint, &name_of(&path))?);
    }
    let modules = single_topics(&arguments.run)?;
    measured.extend(routed::routed(&modules, &model, &fingerprint, &questions, &measured, &rows.asking)?);
    // The base is no longer needed beside the teacher.
    drop(model);
    if let Some(teacher) = &arguments.teacher {
        let path = teacher.resolve(session)?;
        let in_blocks = arguments.teacher_blocks.iter().copied().map(Some);
        for blocks in std::iter::once(None).chain(in_blocks) {
            let model = load_model_in(&path, &session.device.device()?, blocks)?;
            let name = blocks.map_or("teacher".to_owned(), |kind| format!("teacher-{}", kind.name()));
            let row = Loaded { name, modules: Vec::new() };
            measured.push(rows.measure(&row, &model, &model.fingerprint()?, &name_of(&path))?);
        }
    }
    write(&arguments.out, &measured)
}

/// What every row is asked, and where the answers go.
struct Rows<'a> {
    questions: &'a [Question],
    asking: Asking<'a>,
    out: &'a Path,
}

impl Rows<'_> {
    fn measure(&self, row: &Loaded, model: &LoadedModel, fingerprint: &Fingerprint, base: &str) -> Result<Measured> {
        let (identities, modules) = identified(row.modules.clone())?;
        let (decoder, cost) = cost::load(model, fingerprint, &modules, self.questions)?;
        let fingerprint = fingerprint.to_string();
        let identity = ModelIdentity { base: base.to_owned(), fingerprint, blocks: model.blocks, modules: identities };
        let (subject, out) = (model.subject(&decoder), self.out.join(&row.name));
        let results = self.asking.ask_all(self.questions, &row.name, &subject, &identity, &out)?;
        Ok(Measured { name: row.name.clone(), results, cost })
    }
}

/// Compares every row with the first and writes `matrix.md` and `matrix.json`.
fn write(out: &Path, rows: &[Measured]) -> Result<()> {
    let pairs: Vec<(&Evaluated, &Evaluated)> =
        rows[1..].iter().flat_map(|row| rows[0].results.iter().zip(&row.results)).collect();
    let compared = comparison::compare(&pairs, &Bootstrap::default())?;
    let gains = shown::gains(rows, &compared);
    let text = shown::tables(rows, &compared, &gains);
    let write = |name: &str, text: &str| {
        let path = out.join(name);
        fs::write(&path, text).map_err(Error::io(path))
    };
    write("matrix.md", &text)?;
    let results = |row: &Measured| row.results.iter().map(|(result, _)| json!(result.metrics)).collect::<Vec<_>>();
    let clean = |row: &Measured| {
        let of_task = |(result, _): &Evaluated| json!(result.contamination.as_ref().map(|split| &split.clean));
        row.results.iter().map(of_task).collect::<Vec<_>>()
    };
    let facts = json!({
        "rows": rows.iter().map(|row| &row.name).collect::<Vec<_>>(),
        "tasks": rows[0].results.iter().map(|(result, _)| result.name()).collect::<Vec<_>>(),
        "metrics": rows.iter().map(results).collect::<Vec<_>>(),
        "clean": rows.iter().map(clean).collect::<Vec<_>>(),
        "controls": rows.iter().map(|row| row.results.iter().map(|(r, _)| &r.controls).collect()).collect::<Vec<Vec<_>>>(),
        "compared": compared,
        "gains": gains,
        "costs": rows.iter().map(|row| &row.cost).collect::<Vec<_>>(),
    });
    write("matrix.json", &format!("{facts:#}\n"))?;
    print!("{text}");
    Ok(())
}
