//! `lore route test`: how often a router is right on the held-out text of a run, and what its mistakes cost.

use std::path::{Path, PathBuf};

use lore_datasets::evaluation::EvalPassage;
use lore_datasets::progress::Unit;
use lore_datasets::split::Split;
use lore_eval::composition::{Row, Text, score_texts};
use lore_eval::score::TokenScores;
use lore_model::Decoder;
use lore_modules::{LoadedModule, activate, peft};
use lore_route::build::{Settings, evenly};
use lore_route::{Router, View, arrow};
use serde_json::{Value, json};

use super::of_run::RoutedRun;
use super::{PROBE, print_json};
use crate::error::{Error, Result};
use crate::models::LoadedModel;
use crate::passages;
use crate::routing::{COUNTED, Routed, Worth, begun};
use crate::session::Session;
use crate::stages::prepared::passages_of;
use crate::table;

/// Passages that are read at once.
const AT_ONCE: usize = 8;

/// Measure the routing of a run's modules on its held-out text and on other text
///
/// top-1: the share of a topic's passages whose own module scores best. used: the share that gets it. left: the share of
/// text on no topic that is left to the base. regret: how much more bits per byte are needed than with the best choice
/// for each passage. Unless --choices-only is given, two more lines choose by the modules' matrices alone (arrow), which
/// cannot abstain, and by what each module saves on the first 64 tokens (probe).
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  lore route test --run runs/quickstart
  lore route test --run runs/openstax --off-topic wikitext.txt --tokens 128 --json
  lore route test --run runs/openstax --choices-only --passages 10000")]
pub struct TestArguments {
    /// Directory of a finished run
    #[arg(long, value_name = "DIR")]
    run: PathBuf,
    /// Plain text on none of the topics; may be repeated
    #[arg(long, value_name = "FILE")]
    off_topic: Vec<PathBuf>,
    /// A router's file, instead of the modules' own entries
    #[arg(long, value_name = "FILE")]
    router: Option<PathBuf>,
    /// Tokens of a passage that are looked at [default: 256, or as the entries say]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    tokens: Option<u32>,
    /// Passages of each text at most, evenly over all of it
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..))]
    passages: u32,
    /// Only what the router chooses, not what each choice costs: no module reads the text, so that all of it can be tested in
    /// minutes. No regret, and no other ways of choosing
    #[arg(long)]
    choices_only: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Tests; the figures go to stdout.
///
/// # Errors
/// A run that is not finished or whose modules have no entries; files that cannot be read.
pub fn test(arguments: &TestArguments, session: &Session) -> Result<()> {
    let run = RoutedRun::open(&arguments.run, session)?;
    let model = &run.model;
    let router = router(arguments.router.as_deref(), &run)?;
    let texts = texts(arguments, &run)?;
    let candidates = if arguments.choices_only { None } else { Some(score_all(&texts, &run, session)?) };
    let limit = arguments.tokens.map_or(usize::MAX, |tokens| tokens as usize);
    let ways = route_all(&texts, model, &router, candidates.as_deref(), limit, session)?;

    let mut rows: Vec<(String, Worth)> =
        texts.iter().zip(&ways[0].1).map(|(text, routed)| (text.name.clone(), Worth::of(routed))).collect();
    rows.extend(ways.iter().map(|(name, routed)| (format!("all, {name}"), Worth::of(&routed.concat()))));
    if arguments.json {
        let rows: Vec<Value> = rows.iter().map(|(name, worth)| json!({ "text": name, "figures": worth })).collect();
        return print_json(&rows);
    }
    let percent = |share: Option<f64>| share.map_or("-".to_owned(), |share| format!("{:.1} %", 100.0 * share));
    let lines: Vec<Vec<String>> = rows
        .into_iter()
        .map(|(name, worth)| {
            let passages = (worth.passages + worth.general).to_string();
            let shares = [worth.top1(), worth.used(), worth.abstained(), worth.regret].map(percent);
            [name, passages].into_iter().chain(shares).collect()
        })
        .collect();
    print!("{}", table::lines(&["text", "passages", "top-1", "used", "left", "regret"], &lines, 1));
    Ok(())
}

/// The router in `file`, or that of the modules' own entries; either must know every module of the run.
fn router(file: Option<&Path>, run: &RoutedRun) -> Result<Router> {
    let base = run.model.fingerprint()?;
    if let Some(file) = file {
        let router = Router::read(file)?.only(run.modules.keys().map(String::as_str))?;
        return match router.entries().iter().find(|(_, entry)| entry.base != base) {
            None => Ok(router),
            Some((module, entry)) => {
                let module = module.clone();
                Err(lore_route::Error::OtherBase { module, made_with: entry.base, found: base }.into())
            }
        };
    }
    let router = Router::of_folders(&run.modules, &base)?;
    let missing: Vec<&str> =
        run.modules.keys().filter(|name| !router.entries().contains_key(*name)).map(String::as_str).collect();
    if !missing.is_empty() {
        return Err(Error::Failed(format!(
            "{}: no router entry for this base beside {}; finish the run, or give --router with what `lore route build \
             --run` makes",
            run.folder().display(),
            missing.join(", "),
        )));
    }
    Ok(router)
}

/// Held-out text of each topic in the router's order, then of general English, then the other texts.
fn texts(arguments: &TestArguments, run: &RoutedRun) -> Result<Vec<Text>> {
    let model = &run.model;
    let mut texts = Vec::new();
    for name in run.modules.keys() {
        let passages = held_out(run.texts(&format!("topic:{name}"))?, arguments, model)?;
        texts.push(Text { name: name.clone(), passages });
    }
    texts.push(Text { name: "general".to_owned(), passages: held_out(run.texts("general")?, arguments, model)? });
    let Settings { tokens, .. } = Settings::of(&model.decoder);
    for path in &arguments.off_topic {
        let passages = passages::of_file(path, "--off-topic", arguments.passages as usize, tokens, model)?;
        texts.push(Text { name: path.display().to_string(), passages });
    }
    Ok(texts)
}

/// A way of choosing, and what it chose for each passage of each text.
type Way = (&'static str, Vec<Vec<Routed>>);

/// What the router chooses by a passage's first `limit` tokens and, where it is known what each choice costs, what the
/// other ways choose.
fn route_all(
    texts: &[Text],
    model: &LoadedModel,
    router: &Router,
    candidates: Option<&[Row]>,
    limit: usize,
    session: &Session,
) -> Result<Vec<Way>> {
    let reader = router.reader(&model.decoder)?.expect("a router with entries has a reader");
    let prototypes: Vec<&arrow::Prototypes> = router.entries().values().map(|entry| &entry.arrow).collect();
    let names: &[&str] = if candidates.is_some() { &["router", "arrow", "probe"] } else { &["router"] };
    let mut ways: Vec<Way> = names.iter().map(|name| (*name, vec![Vec::new(); texts.len()])).collect();
    let count: usize = texts.iter().map(|text| text.passages.len()).sum();
    let mut task = session.progress.task("route", Some(count as u64), Unit::Items);
    for (t, text) in texts.iter().enumerate() {
        let own = (t < router.entries().len()).then_some(t);
        for (start, passages) in (0..).step_by(AT_ONCE).zip(text.passages.chunks(AT_ONCE)) {
            let mut seen = begun(passages, model.start);
            seen.iter_mut().for_each(|passage| passage.truncate(limit.saturating_add(1)));
            let views = reader.read(&seen);
            let along = candidates.map(|_| arrow::scores(&model.decoder, &seen, &prototypes));
            for (p, passage) in passages.iter().enumerate() {
                let mut chosen = vec![by_router(router, &views[p])];
                let mut nats = None;
                if let (Some(rows), Some(along)) = (candidates, &along) {
                    let scores: Vec<&TokenScores> = rows.iter().map(|row| &row.scores[t][start + p]).collect();
                    let matrices = Some(first_of_largest(&along[p]));
                    chosen.extend([(matrices, matrices), by_probe(&scores, PROBE.min(limit))]);
                    nats = Some(scores.iter().map(|score| -score.total()).collect::<Vec<f64>>());
                }
                for ((_, all), (best, chosen)) in ways.iter_mut().zip(chosen) {
                    all[t].push(Routed { own, best, chosen, nats: nats.clone(), bytes: passage.bytes as f64 });
                }
            }
            task.advance(passages.len() as u64);
        }
    }
    task.finish(&format!("{count} passages"));
    Ok(ways)
}

/// The best module, and the one that is used, if any.
type Chosen = (Option<usize>, Option<usize>);

fn by_router(router: &Router, view: &View) -> Chosen {
    let choice = router.choose_for(view, 1);
    let place = |name: &String| router.entries().keys().position(|one| one == name);
    (choice.scored.first().and_then(|one| place(&one.module)), choice.picks.first().and_then(|(name, _)| place(name)))
}

/// By the scores of a passage's first `tokens` tokens under the base and each module.
fn by_probe(scores: &[&TokenScores], tokens: usize) -> Chosen {
    let probed: Vec<f64> =
        scores.iter().map(|score| score.log_likelihoods.iter().take(tokens).map(|&x| f64::from(x)).sum()).collect();
    let best = first_of_largest(&probed[1..]);
    (Some(best), (probed[best + 1] > probed[0]).then_some(best))
}

/// The texts under the base and under each module.
fn score_all(texts: &[Text], run: &RoutedRun, session: &Session) -> Result<Vec<Row>> {
    let RoutedRun { model, modules, .. } = run;
    let base = model.fingerprint()?;
    let score = |decoder: &Decoder, label: &str| -> Result<Row> {
        score_texts(decoder, texts, model.start, label, &*session.progress)
            .map_err(Error::while_doing("scoring held-out texts"))
    };
    let mut rows = vec![score(&model.decoder, "score: base")?];
    for (name, folder) in modules {
        let adapter = peft::read(folder)?;
        adapter.check_base(&model.files.config, &base, false)?;
        let module = LoadedModule::new(&adapter, &model.decoder.embedding.device());
        rows.push(score(&activate(&model.decoder, &[(&module, 1.0)]), &format!("score: {name}"))?);
    }
    Ok(rows)
}

fn first_of_largest(values: &[f64]) -> usize {
    let mut best = 0;
    for (place, value) in values.iter().enumerate() {
        if *value > values[best] {
            best = place;
        }
    }
    best
}

/// Held-out passages evenly over a prepared corpus. The rest of a longer document is left out when it is short.
fn held_out(folder: &Path, arguments: &TestArguments, model: &LoadedModel) -> Result<Vec<EvalPassage>> {
    let Settings { tokens, .. } = Settings::of(&model.decoder);
    let all = passages_of(folder, Split::Test, &model.files.tokenizer, COUNTED, tokens, None)?;
    let long = |place: usize| 4 * all[place].tokens.len() >= tokens;
    let begins = |place: usize| place == 0 || all[place - 1].document != all[place].document;
    let worth: Vec<usize> = (0..all.len()).filter(|&place| long(place) || begins(place)).collect();
    Ok(evenly(worth.len(), arguments.passages as usize).into_iter().map(|at| all[worth[at]].clone()).collect())
}
