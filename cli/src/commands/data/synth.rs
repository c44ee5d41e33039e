//! `lore data synth`: texts that a model writes from a corpus.

use std::path::{Path, PathBuf};

use lore_datasets::extract::{BadFiles, ExtractSpec, Extracted, discover, extract_into};
use lore_datasets::spool::Sink;
use lore_distill::synth::{Kind, ModelAuthor, PassagePicker, Request, synthesise};
use lore_model::chat::ChatTemplate;
use lore_model::sampling::Sampling;
use serde_json::json;

use super::terminal::synthesis_lines;
use crate::error::{Error, Result};
use crate::location::Location;
use crate::models::load_model;
use crate::session::Session;
use crate::stages::prepared::DOCUMENTS;

/// Let a model write questions, paraphrases, summaries and cloze facts from texts
///
/// Each item is kept with the passage it was written from and has to pass checks: its answer stands in the passage, the
/// model finds the same answer again, nothing is copied, names and numbers are those of the passage, lengths, no
/// duplicates. --out gets synthetic.jsonl (what passed; its `text` is what to train on), rejected.jsonl (the rest,
/// with the reason) and synth.json (acceptance by kind). A run that was stopped goes on when it is started again, to
/// the same bytes.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  lore data synth data/astronomy --model hf:owner/instruct-model --out data/astronomy-synth
  lore data synth notes/ --model teacher.gguf --kind question --kind cloze --passages 50 --out synth")]
pub struct SynthArguments {
    /// What `lore data build` wrote (its training documents are used), or files as `lore data inspect` reads them
    #[arg(value_name = "PATH|SOURCE")]
    corpus: Location,
    /// The model that writes, best one tuned for conversations
    #[arg(long, value_name = "FILE|DIR|SOURCE")]
    model: Location,
    /// Folder for what is written
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// question, paraphrase, summary or cloze; may be repeated [default: all]
    #[arg(long = "kind", value_name = "KIND")]
    kinds: Vec<Kind>,
    /// Passages to write from, at most, drawn with the seed
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    passages: u32,
    /// Words of a passage, at most
    #[arg(long, value_name = "N", default_value_t = 150, value_parser = clap::value_parser!(u32).range(40..=4000))]
    passage_words: u32,
    /// Items of each kind from each passage
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    each: u32,
    /// Tokens of an item, at most
    #[arg(long, value_name = "N", default_value_t = 160, value_parser = clap::value_parser!(u32).range(8..))]
    max_tokens: u32,
    /// Items written at the same time; part of what is drawn
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..))]
    batch: u32,
    /// Logits are divided by it; 0 always takes the most probable token
    #[arg(long, value_name = "T", default_value_t = 0.7, value_parser = crate::commands::generate::temperature)]
    temperature: f64,
    /// Draw only from the most probable tokens with this joint probability
    #[arg(long, value_name = "P", default_value_t = 0.9, value_parser = crate::commands::generate::probability)]
    top_p: f64,
    /// Of the passages and of what is drawn
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
}

/// Writes; the acceptance by kind goes to stdout.
///
/// # Errors
/// A corpus without passages, a model that cannot be run, a folder begun with other settings.
pub fn synth(arguments: &SynthArguments, session: &Session) -> Result<()> {
    let corpus = arguments.corpus.resolve(session)?;
    let words = arguments.passage_words as usize;
    let mut picker = Picked(PassagePicker::new(arguments.passages as usize, words, arguments.seed), 0);
    read(&corpus, &mut picker, session)?;
    let (least, most) = picker.0.words();
    let passages = picker.0.finish();
    if passages.is_empty() {
        return Err(lore_distill::synth::Error::NoPassages { least, most }.into());
    }
    let model = load_model(&arguments.model.resolve(session)?, &session.device.device()?)?;
    let settings = &model.files.tokenizer_settings;
    let chat = settings.chat_template.is_some().then(|| ChatTemplate::new(settings)).transpose()?;
    if chat.is_none() {
        session.progress.note("the model has no chat template: it is given texts to continue, and few will pass");
    }
    let author = ModelAuthor {
        name: model.fingerprint()?.to_string(),
        decoder: &model.decoder,
        tokenizer: &model.files.tokenizer,
        chat,
        start: model.start,
        stop: [model.files.config.eos_token_ids.as_slice(), &[model.start]].concat(),
    };
    let kinds = if arguments.kinds.is_empty() { Kind::ALL.to_vec() } else { arguments.kinds.clone() };
    let request = Request {
        kinds,
        each: arguments.each as usize,
        batch: arguments.batch as usize,
        sampling: Sampling {
            temperature: arguments.temperature as f32,
            top_k: None,
            top_p: (arguments.top_p < 1.0).then_some(arguments.top_p as f32),
        },
        max_tokens: arguments.max_tokens as usize,
        seed: arguments.seed,
    };
    let made = synthesise(&passages, &request, &author, &arguments.out, &*session.progress)?;
    synthesis_lines(&made.report).iter().for_each(|line| println!("{line}"));
    Ok(())
}

/// Gives the passages of every document to the draw.
struct Picked(PassagePicker, u64);

impl Sink for Picked {
    fn push(&mut self, document: Extracted) -> lore_datasets::Result<()> {
        self.0.document(&document.id, &document.text);
        self.1 += 1;
        Ok(())
    }

    fn taken(&self) -> u64 {
        self.1
    }

    /// Passages of a file that ends badly are whole all the same.
    fn forget(&mut self, _count: u64) -> lore_datasets::Result<()> {
        Ok(())
    }
}

/// Reads the training documents of a built corpus, or any files.
fn read(path: &Path, sink: &mut Picked, session: &Session) -> Result<()> {
    let built = path.join(DOCUMENTS);
    let (path, rules) = if built.is_file() {
        (built, vec![built_documents()])
    } else if path.file_name().is_some_and(|name| name == DOCUMENTS) {
        (path.to_owned(), vec![built_documents()])
    } else {
        let mut rules = discover(path, &[])?.rules;
        rules.iter_mut().for_each(|rule| rule.bad_files = BadFiles::Skip);
        (path.to_owned(), rules)
    };
    let name = path.display().to_string();
    if rules.is_empty() {
        return Err(Error::Failed(format!("{name}: no file of a kind of text that is known")));
    }
    let report = extract_into(&name, &path, &rules, sink, &*session.progress)?;
    report.left_out.iter().for_each(|left_out| session.progress.note(&format!("left out: {left_out}")));
    Ok(())
}

/// What is held out is never written from.
fn built_documents() -> ExtractSpec {
    let rule = json!({
        "format": "parquet", "id": "{{ record.id }}", "layout": "lines",
        "text": "{% if record.split == 'train' %}{{ record.text }}{% endif %}",
    });
    serde_json::from_value(rule).expect("a valid rule")
}
