//! `lore route build`: the router entry of a module, or one file for several.

use std::path::{Path, PathBuf};

use lore_datasets::progress::Unit;
use lore_modules::peft;
use lore_route::build::{General, Settings};
use lore_route::{ENTRY_FILE, Entry, Reader, Router};

use super::by_name;
use super::of_run::RoutedRun;
use crate::error::{Error, Result};
use crate::location::Location;
use crate::models::{LoadedModel, load_model};
use crate::quantity;
use crate::routing::{EntryMaker, corpus, passages_of_text};
use crate::session::Session;

/// Make the router entry of a module from text of its topic and general text
///
/// `lore run` writes one beside every module it trains; this is for modules that came without. Without --corpus the
/// entries that modules already have are collected into the file --out; with --run new ones of all modules of a run are.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  lore route build --base base --module modules/history --corpus history.txt --general prose.txt
  lore route build --base base --module modules/history --module modules/law --out router.safetensors
  lore route build --run runs/openstax --out router.safetensors")]
pub struct BuildArguments {
    /// The base: a directory, a GGUF file or a source
    #[arg(long, value_name = "DIR", required_unless_present = "run")]
    base: Option<Location>,
    /// A module, a directory or source; with --corpus one, else repeated
    #[arg(long = "module", value_name = "DIR", required_unless_present = "run")]
    modules: Vec<Location>,
    /// Text of the module's topic, plain text in UTF-8; may be repeated
    #[arg(long, value_name = "FILE", requires = "general")]
    corpus: Vec<PathBuf>,
    /// General text that has nothing to do with the topic; may be repeated
    #[arg(long, value_name = "FILE", requires = "corpus")]
    general: Vec<PathBuf>,
    /// Directory of a finished run: new entries for all of its modules, from its own texts, in the file --out
    #[arg(long, value_name = "DIR", requires = "out", conflicts_with_all = ["base", "modules", "corpus", "general"])]
    run: Option<PathBuf>,
    /// File to write [default: router.safetensors in the module's directory]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Builds; says what was written.
///
/// # Errors
/// Too little text; modules of another base; files that cannot be read or written.
pub fn build(arguments: &BuildArguments, session: &Session) -> Result<()> {
    if let (Some(run), Some(out)) = (&arguments.run, &arguments.out) {
        return anew(run, out, session);
    }
    let base = arguments.base.as_ref().expect("required without --run").resolve(session)?;
    let paths = arguments.modules.iter().map(|module| module.resolve(session)).collect::<Result<Vec<_>>>()?;
    if arguments.corpus.is_empty() {
        return collect(arguments, &base, &paths);
    }
    let [module] = paths.as_slice() else {
        return Err(Error::Usage("--corpus is the text of one module's topic: give --module once".to_owned()));
    };
    let model = load_model(&base, &session.device.device()?)?;
    let fingerprint = model.fingerprint()?;
    let adapter = peft::read(module)?;
    adapter
        .check_base(&model.files.config, &fingerprint, false)
        .map_err(Error::while_doing(format!("module {}", module.display())))?;
    let (general, topic) = (passages(&arguments.general, &model)?, passages(&arguments.corpus, &model)?);
    let reader = Reader::usual(&model.decoder);
    let maker = EntryMaker { general: General::read(&reader, &general)?, reader, base: fingerprint };
    let (mut learn, mut validate) = (Vec::new(), Vec::new());
    for (index, passage) in topic.into_iter().enumerate() {
        if index % 5 == 4 { validate.push(passage) } else { learn.push(passage) }
    }
    let entry = maker.entry(&adapter, &learn, &validate)?;
    let out = arguments.out.clone().unwrap_or_else(|| module.join(ENTRY_FILE));
    entry.write(&out)?;
    println!("{}: {}, threshold {:.2}", out.display(), size(&out)?, entry.threshold);
    Ok(())
}

/// One file of the entries that modules have.
fn collect(arguments: &BuildArguments, base: &Path, paths: &[PathBuf]) -> Result<()> {
    let Some(out) = &arguments.out else {
        return Err(Error::Usage(
            "give --corpus and --general to make a module's entry, or --out to collect entries in one file".to_owned(),
        ));
    };
    let (_, fingerprint) = crate::commands::module::open_base(base)?;
    let mut router = Router::default();
    for (name, folder) in by_name(paths)? {
        let entry = Entry::read(&folder.join(ENTRY_FILE))?;
        if entry.base != fingerprint {
            return Err(lore_route::Error::OtherBase { module: name, made_with: entry.base, found: fingerprint }.into());
        }
        router.insert(name, entry)?;
    }
    write(&router, out)
}

/// One file of new entries for the modules of a run.
fn anew(run: &Path, out: &Path, session: &Session) -> Result<()> {
    let run = RoutedRun::open(run, session)?;
    let (model, base) = (&run.model, run.model.fingerprint()?);
    let reader = Reader::usual(&model.decoder);
    let [english, _] = corpus(run.texts("general")?, model)?;
    let maker = EntryMaker { general: General::read(&reader, &english)?, reader, base };
    let mut router = Router::default();
    let mut task = session.progress.task("router entries", Some(run.modules.len() as u64), Unit::Items);
    for (name, folder) in &run.modules {
        let adapter = peft::read(folder)?;
        adapter.check_base(&model.files.config, &base, false)?;
        let [learn, validate] = corpus(run.texts(&format!("topic:{name}"))?, model)?;
        router.insert(name, maker.entry(&adapter, &learn, &validate)?)?;
        task.advance(1);
    }
    task.finish(&format!("{} modules", run.modules.len()));
    write(&router, out)
}

fn write(router: &Router, out: &Path) -> Result<()> {
    router.write(out)?;
    println!("{}: {} modules, {}", out.display(), router.entries().len(), size(out)?);
    Ok(())
}

/// Passages of all files, as long as a router looks at.
fn passages(files: &[PathBuf], model: &LoadedModel) -> Result<Vec<Vec<u32>>> {
    let mut passages = Vec::new();
    for path in files {
        let bytes = std::fs::read(path).map_err(Error::io(path))?;
        let text = String::from_utf8(bytes).map_err(|error| {
            let byte = error.utf8_error().valid_up_to();
            Error::Failed(format!("{}: not UTF-8 text (byte {byte})", path.display()))
        })?;
        let tokens = Settings::of(&model.decoder).tokens;
        passages.extend(passages_of_text(&text, &model.files.tokenizer, model.start, tokens)?);
    }
    Ok(passages)
}

fn size(path: &Path) -> Result<String> {
    Ok(quantity::bytes(std::fs::metadata(path).map_err(Error::io(path))?.len()))
}
