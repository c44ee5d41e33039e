//! The page of one module.

use std::fs;

use lore_packs::documents::TextRole;
use minijinja::{Value, context};

use super::Pages;
use super::chart::{Bar, intervals};
use super::text::{self, HALF, NOTHING};
use super::{card, compare};
use crate::error::{Error, Result};
use crate::scores::TaskScores;
use crate::standing::{Row, TaskRow};
use crate::submission::{CARD, Facts};

pub(super) fn view(pages: &Pages<'_>, row: &Row) -> Result<Value> {
    let facts = row.facts.as_ref().expect("the base has no page");
    let submitted = row.submitted.as_ref().expect("a module was handed in");
    let path = pages.board.submission(&row.id).join(CARD);
    let markdown = fs::read_to_string(&path).map_err(Error::io(path))?;
    let scored = pages.standing.scores.iter().flat_map(|scores| &scores.tasks);
    let tasks: Vec<Value> =
        row.tasks.iter().zip(scored.clone()).map(|(found, task)| task_view(row, found, task)).collect();
    let mut bars: Vec<Bar> = row
        .gain
        .iter()
        .map(|gain| Bar { label: "all tasks".into(), value: gain.difference, interval: gain.interval })
        .collect();
    bars.extend(row.tasks.iter().zip(scored).map(|(found, task)| {
        let (value, half) = (found.gain.value, HALF * found.gain.standard_error);
        Bar { label: task.name.clone(), value, interval: [value - half, value + half] }
    }));
    let holdouts: Vec<String> = row
        .holdouts
        .iter()
        .map(|(held_out, gap)| {
            let gain = crate::scores::Gain { value: held_out.gain, standard_error: held_out.standard_error };
            let gap = gap.map_or_else(String::new, |gap| {
                let half = 100.0 * HALF * gap.standard_error;
                format!("; public less private gain {} ± {half:.1}", text::points(gap.value))
            });
            let (name, items) = (&held_out.name, held_out.items);
            format!("{name} ({items} items, beside {}): gain {}{gap}", held_out.of, text::gain(&gain))
        })
        .collect();
    let samples: Vec<Value> = facts
        .evaluation
        .samples
        .iter()
        .map(|s| context! { prompt => s.prompt, base => s.base, module => s.module })
        .collect();
    let claims: Vec<Value> = submitted
        .claims
        .iter()
        .map(|claim| {
            let value = claim.value.to_string().replace('-', "−");
            context! { task => claim.task, metric => claim.metric, value }
        })
        .collect();
    let chart = (!bars.is_empty()).then(|| intervals(&bars, "Gain over the base with its 95 % interval, by task"));
    let module = context! {
        id => row.id,
        name => facts.manifest.name,
        version => facts.manifest.version.to_string(),
        summary => facts.manifest.summary,
        verdict => verdict(pages, row),
        bad => row.unranked.is_some(),
        flags => row.flags.iter().map(text::flag).collect::<Vec<Value>>(),
        tasks,
        chart,
        detectable => row.gain.filter(|gain| gain.standard_error > 0.0).map(|gain| format!("{:.1}", 100.0 * gain.detectable())),
        holdouts,
        neighbours => compare::neighbours(pages.standing, row),
        samples,
        details => details(pages, row, facts),
        texts => texts(facts),
        claims,
        card => card::card(&markdown),
    };
    Ok(context! { m => module })
}

fn verdict(pages: &Pages<'_>, row: &Row) -> String {
    if let Some(why) = &row.unranked {
        return format!("Not ranked: {why}.");
    }
    let (Some(group), Some(gain)) = (row.group, row.gain) else { return "Not ranked.".into() };
    let members = pages.standing.rows.iter().filter(|other| other.group == Some(group)).count();
    let with = match members {
        1 => "alone".to_owned(),
        2 => "with one other that cannot be told apart".to_owned(),
        more => format!("with {} others that cannot be told apart", more - 1),
    };
    let what = if !gain.differs() {
        "it cannot be told apart from the base"
    } else if gain.difference > 0.0 {
        "it is better than the base"
    } else {
        "it is worse than the base"
    };
    format!("Group {}, {with}: {} over the base; {what}.", group + 1, text::pair(&gain))
}

fn task_view(row: &Row, found: &TaskRow, task: &TaskScores) -> Value {
    let model = row.model.expect("it has figures");
    let some = |gain: &Option<crate::scores::Gain>| gain.as_ref().map_or_else(|| NOTHING.into(), text::gain);
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let own = task.answer_only[model].as_deref().map(|alone| ("without the question", mean(alone)));
    let controls = task.controls.iter().map(|(name, values)| (*name, mean(values)));
    let best = controls.chain(own).max_by(|a, b| a.1.total_cmp(&b.1));
    let [low, high] = found.seeds.map(|figure| text::figure(task, figure));
    let (clean, dirty) = match found.dirty_items {
        None => (NOTHING.to_owned(), "not searched".to_owned()),
        Some(0) if task.searched[model] => (some(&found.clean), "none".to_owned()),
        Some(0) => (some(&found.clean), "none in what was searched".to_owned()),
        Some(count) => (some(&found.clean), format!("{} ({count} items)", some(&found.dirty))),
    };
    context! {
        name => task.name,
        metric => text::metric(task),
        items => text::count(task.items.len() as u64),
        base => task.figure(0, |_| true).map_or_else(|| NOTHING.into(), |value| text::figure(task, value)),
        figure => text::figure(task, found.figure),
        gain => text::gain(&found.gain),
        clean,
        dirty,
        seeds => if low == high { low } else { format!("{low} … {high}") },
        control => best.map_or_else(|| NOTHING.into(), |(_, value)| text::figure(task, value)),
        control_name => best.map(|(name, _)| name).unwrap_or_default(),
    }
}

fn details(pages: &Pages<'_>, row: &Row, facts: &Facts) -> Vec<(&'static str, String)> {
    let submitted = row.submitted.as_ref().expect("a module was handed in");
    let manifest = &facts.manifest;
    let signature = match &facts.signer {
        Some(key) => format!("good, by {key}"),
        None => "none: nobody vouches for it".into(),
    };
    let mut details = vec![
        ("Signature", signature),
        ("Identity", format!("manifest sha256 {}", submitted.manifest)),
        ("Handed in", format!("{} by {} (entry {})", text::date(&submitted.time), submitted.by, submitted.entry)),
        ("Authors", manifest.authors.join(", ")),
        ("Licence", manifest.license.clone()),
        ("Base", format!("{}, {}", manifest.base.name, manifest.base.fingerprint)),
        ("Made with", manifest.program.clone()),
        (
            "Adapter",
            format!(
                "{}, rank {}, {} values as {} on {}",
                manifest.method,
                manifest.rank,
                text::count(manifest.parameters),
                manifest.dtype,
                manifest.targets.join(", ")
            ),
        ),
    ];
    if let Some(costs) = &row.costs {
        details.push(("Size", text::bytes(costs.bytes)));
        details.push(("Loading", format!("{:.0} ms on the operator’s machine", costs.load_ms)));
        details.push(("Rerun", format!("{:.0} s", costs.rerun_seconds)));
    }
    if let Some(reran) = &submitted.rerun {
        details.push(("Asked", format!("{} (entry {})", text::date(&reran.time), reran.entry)));
    }
    let folder = pages.board.submission(&row.id);
    let kept = folder.join(crate::submission::PACK).is_file();
    details.push(("Pack", if kept { "kept on the board".into() } else { "known by its hash only".into() }));
    details
}

fn texts(facts: &Facts) -> Vec<Value> {
    let texts = facts.corpus.texts.iter();
    texts
        .map(|source| {
            context! {
                source => source.source,
                role => match source.role { TextRole::Topic => "topic", TextRole::General => "general English" },
                license => source.license,
                documents => text::count(source.documents),
                tokens => text::count(source.tokens.train),
            }
        })
        .collect()
}
