//! From passages to checked items.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use lore_datasets::dedup::{DedupSpec, deduplicate};
use lore_datasets::extract::Extracted;
use lore_datasets::progress::{Progress, Silent, Unit};
use lore_model::sampling::{Random, Sampling};
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::author::{Author, Turn};
use super::ledger::Ledger;
use super::{Error, Item, Kind, KindReport, Passage, Rejected, Report, Request, checks, prompts, reply};

/// Items that passed, JSON lines.
pub const ACCEPTED: &str = "synthetic.jsonl";
/// What did not pass, with the reason, JSON lines.
pub const REJECTED: &str = "rejected.jsonl";
/// The [`Report`].
pub const REPORT: &str = "synth.json";
/// What the folder was begun from.
const BEGUN: &str = "begun.json";
/// Replies of the author.
const WRITTEN: &str = "written.jsonl";
/// Answers to questions that were put back.
const ANSWERS: &str = "answers.jsonl";
/// Tokens of an answer to a question that was put back.
const ANSWER_TOKENS: usize = 32;

/// What was written.
#[derive(Debug, Clone, PartialEq)]
pub struct Synthesis {
    /// Items that passed, in the order of passages and kinds.
    pub accepted: Vec<Item>,
    /// The others.
    pub rejected: Vec<Rejected>,
    /// Counts.
    pub report: Report,
}

/// One thing to write.
#[derive(Clone, Copy)]
struct Wanted<'a> {
    passage: &'a Passage,
    kind: Kind,
    number: usize,
}

/// Lets `author` write items from passages, checks them, and writes [`ACCEPTED`], [`REJECTED`] and [`REPORT`] to
/// `folder`. An interrupted run that is started again goes on behind its last whole batch.
///
/// # Errors
/// A folder that was begun from something else or cannot be written; an author that fails.
pub fn synthesise(
    passages: &[Passage],
    request: &Request,
    author: &dyn Author,
    folder: &Path,
    progress: &dyn Progress,
) -> Result<Synthesis, Error> {
    std::fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
    begin(passages, request, author, folder)?;
    let wanted: Vec<Wanted<'_>> = passages
        .iter()
        .flat_map(|passage| {
            let of_kind = move |&kind: &Kind| (0..request.each).map(move |number| Wanted { passage, kind, number });
            request.kinds.iter().flat_map(of_kind)
        })
        .collect();
    let turns = |wanted: &Wanted<'_>| prompts::ask(wanted.kind, &wanted.passage.text);
    let writing = Writing { author, request, folder, progress };
    let replies = writing.all(WRITTEN, &wanted, turns, &request.sampling, request.max_tokens)?;

    // What is said, or the check that failed first.
    let mut judged: Vec<Result<reply::Said, &'static str>> = wanted
        .iter()
        .zip(&replies)
        .map(|(wanted, reply)| {
            let said = reply::read(wanted.kind, reply).ok_or(checks::FORM)?;
            checks::failed(wanted.kind, &said, &wanted.passage.text).map_or(Ok(said), Err)
        })
        .collect();
    put_back(&writing, &wanted, &mut judged)?;
    reject_duplicates(&wanted, &mut judged)?;

    let mut report =
        Report { passages: passages.len() as u64, seed: request.seed, author: author.name(), ..Report::default() };
    let (mut accepted, mut rejected) = (Vec::new(), Vec::new());
    for ((wanted, judged), reply) in wanted.iter().zip(judged).zip(replies) {
        let of_kind: &mut KindReport = report.kinds.entry(wanted.kind.name().to_owned()).or_default();
        of_kind.written += 1;
        let Wanted { passage, kind, number } = *wanted;
        let id = format!("{}/{}-{number}", passage.id, kind.name());
        let document = passage.document.clone();
        match judged {
            Ok(reply::Said { text, question, answer }) => {
                of_kind.accepted += 1;
                accepted.push(Item { id, kind, text, question, answer, document, passage: passage.text.clone() });
            }
            Err(reason) => {
                *of_kind.rejected.entry(reason.to_owned()).or_default() += 1;
                rejected.push(Rejected { id, kind, reason: reason.to_owned(), reply, document });
            }
        }
    }
    for of_kind in report.kinds.values_mut() {
        of_kind.acceptance_rate = of_kind.accepted as f64 / of_kind.written.max(1) as f64;
    }
    write(&folder.join(ACCEPTED), &lines(&accepted))?;
    write(&folder.join(REJECTED), &lines(&rejected))?;
    let text = serde_json::to_string_pretty(&report).expect("a report is plain data") + "\n";
    write(&folder.join(REPORT), &text)?;
    Ok(Synthesis { accepted, rejected, report })
}

/// Notes what the folder is for, or checks that it is for this.
fn begin(passages: &[Passage], request: &Request, author: &dyn Author, folder: &Path) -> Result<(), Error> {
    let Request { kinds, each, batch, sampling, max_tokens, seed } = request;
    let Sampling { temperature, top_k, top_p } = sampling;
    let mut hasher = Sha256::new();
    hasher.update(lines(passages));
    let passages: String = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    let now = json!({
        "version": 1, "author": author.name(), "passages": passages, "kinds": kinds, "each": each, "batch": batch,
        "temperature": temperature, "top_k": top_k, "top_p": top_p, "max_tokens": max_tokens, "seed": seed,
    });
    let path = folder.join(BEGUN);
    match std::fs::read_to_string(&path) {
        Ok(text) => {
            let begun: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
            let differs = now.as_object().into_iter().flatten().find(|(key, value)| begun[key.as_str()] != **value);
            match differs {
                Some((key, _)) => Err(Error::Begun { folder: folder.to_owned(), what: format!("`{key}`") }),
                None => Ok(()),
            }
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => write(&path, &format!("{now:#}\n")),
        Err(error) => Err(Error::io("read", path)(error)),
    }
}

/// What writing works with.
struct Writing<'a> {
    author: &'a dyn Author,
    request: &'a Request,
    folder: &'a Path,
    progress: &'a dyn Progress,
}

impl Writing<'_> {
    /// Replies to all of `wanted`, those that `file` has first.
    fn all<T>(
        &self,
        file: &str,
        wanted: &[T],
        turn: impl Fn(&T) -> Turn,
        sampling: &Sampling,
        max_tokens: usize,
    ) -> Result<Vec<String>, Error> {
        let batch = self.request.batch.max(1);
        let mut ledger = Ledger::open(&self.folder.join(file), batch, wanted.len())?;
        let left = wanted.len() - ledger.replies.len();
        let label = if file == WRITTEN { "write" } else { "put questions back" };
        let mut task = self.progress.task(label, Some(left as u64), Unit::Items);
        while ledger.replies.len() < wanted.len() {
            let first = ledger.replies.len();
            let some = &wanted[first..(first + batch).min(wanted.len())];
            let turns: Vec<Turn> = some.iter().map(&turn).collect();
            // Streams are numbered within a batch; its first number tells the batches apart.
            let seed = Random::new(self.request.seed, first as u64).bits();
            ledger.add(self.author.reply(&turns, sampling, max_tokens, seed)?)?;
            task.advance(some.len() as u64);
        }
        task.finish(&format!("{} replies", wanted.len()));
        Ok(ledger.replies)
    }
}

/// Puts the questions that passed so far back to the author, who must find their answers in the passage.
fn put_back(
    writing: &Writing<'_>,
    wanted: &[Wanted<'_>],
    judged: &mut [Result<reply::Said, &'static str>],
) -> Result<(), Error> {
    let asked: Vec<(usize, &Passage, String, String)> = wanted
        .iter()
        .enumerate()
        .filter(|(_, wanted)| wanted.kind == Kind::Question)
        .filter_map(|(at, wanted)| {
            let said = judged[at].as_ref().ok()?;
            Some((at, wanted.passage, said.question.clone()?, said.answer.clone()?))
        })
        .collect();
    let turn =
        |(_, passage, question, _): &(usize, &Passage, String, String)| prompts::ask_back(question, &passage.text);
    let answers = writing.all(ANSWERS, &asked, turn, &Sampling::greedy(), ANSWER_TOKENS)?;
    for ((at, _, _, own), found) in asked.iter().zip(answers) {
        if !checks::agrees(own, &reply::answer(&found)) {
            judged[*at] = Err(checks::NOT_ANSWERABLE);
        }
    }
    Ok(())
}

/// Rejects items like an earlier one of their kind.
fn reject_duplicates(wanted: &[Wanted<'_>], judged: &mut [Result<reply::Said, &'static str>]) -> Result<(), Error> {
    let spec = DedupSpec { paragraphs: false, threshold: 0.8, shingle_words: 2, ..DedupSpec::default() };
    let kinds: BTreeMap<Kind, ()> = wanted.iter().map(|wanted| (wanted.kind, ())).collect();
    for kind in kinds.into_keys() {
        let mut texts = Vec::new();
        for (at, (wanted, judged)) in wanted.iter().zip(judged.iter()).enumerate() {
            if let (true, Ok(said)) = (wanted.kind == kind, judged) {
                let text = said.question.clone().unwrap_or_else(|| said.text.clone());
                texts.push(Extracted { id: at.to_string(), group: String::new(), title: String::new(), text });
            }
        }
        let all: Vec<String> = texts.iter().map(|text| text.id.clone()).collect();
        let kept = deduplicate(texts, &spec, &Silent)?.documents;
        let kept: HashSet<String> = kept.into_iter().map(|text| text.id).collect();
        for id in all.iter().filter(|id| !kept.contains(*id)) {
            let at: usize = id.parse().expect("a number, written above");
            judged[at] = Err(checks::DUPLICATE);
        }
    }
    Ok(())
}

fn lines<T: Serialize>(values: &[T]) -> String {
    values.iter().map(|value| serde_json::to_string(value).expect("plain data") + "\n").collect()
}

/// Writes a file that is there whole or not at all.
pub(super) fn write(path: &Path, text: &str) -> Result<(), Error> {
    let partial = path.with_extension("partial");
    std::fs::write(&partial, text).map_err(Error::io("write", &partial))?;
    std::fs::rename(&partial, path).map_err(Error::io("rename", path))
}
