//! The main page.

use minijinja::{Value, context};

use super::Pages;
use super::text::{self, NOTHING};
use crate::log::Outcome;
use crate::standing::Row;

/// Stated figures that the main page lists.
const CLAIMS: usize = 60;

pub(super) fn view(pages: &Pages<'_>) -> Value {
    let standing = pages.standing;
    let ranked: Vec<&Row> = standing.rows.iter().filter(|row| row.group.is_some()).collect();
    let gains = ranked.iter().flat_map(|row| row.tasks.iter().map(|task| task.gain.value));
    let limit = text::heat_limit(gains);
    let mut rows = Vec::new();
    let mut before = None;
    for row in &ranked {
        rows.push(row_view(pages, row, before.is_some_and(|group| Some(group) != row.group), limit));
        before = row.group;
    }
    let tasks: Vec<Value> = standing
        .scores
        .iter()
        .flat_map(|scores| &scores.tasks)
        .map(|task| context! { name => task.name, metric => text::metric(task) })
        .collect();
    let unranked: Vec<Value> = standing
        .rows
        .iter()
        .filter(|row| row.unranked.is_some())
        .map(|row| {
            let flags: Vec<Value> = row.flags.iter().map(text::flag).collect();
            context! { id => row.id, name => text::name(row), under => under(row), why => row.unranked, flags }
        })
        .collect();
    let claims: Vec<Value> = standing
        .rows
        .iter()
        .filter_map(|row| Some((row, row.submitted.as_ref()?)))
        .flat_map(|(row, submitted)| submitted.claims.iter().map(move |claim| (row, claim)))
        .map(|(row, claim)| {
            let value = format!("{}", claim.value).replace('-', "−");
            context! { id => row.id, name => text::name(row), task => claim.task, metric => claim.metric, value }
        })
        .collect();
    context! {
        facts => facts(pages, ranked.len()),
        summary => summary(pages, &ranked),
        tasks,
        rows,
        unranked,
        more_claims => claims.len().saturating_sub(CLAIMS),
        claims => claims.into_iter().take(CLAIMS).collect::<Vec<Value>>(),
        disputes => disputes(pages),
        heat_limit => format!("{:.0}", 100.0 * limit),
    }
}

fn under(row: &Row) -> String {
    match (&row.facts, &row.submitted) {
        (Some(facts), Some(submitted)) => format!("{} · {}", facts.manifest.version, submitted.by),
        _ => "no module".into(),
    }
}

fn row_view(pages: &Pages<'_>, row: &Row, first: bool, limit: f64) -> Value {
    let scores = pages.standing.scores.as_ref().expect("ranked rows were scored");
    let group = row.group.expect("a ranked row");
    let cells: Vec<Value> = row
        .tasks
        .iter()
        .zip(&scores.tasks)
        .map(|(found, task)| {
            context! {
                heat => text::heat(found.gain.value, limit),
                value => format!("{:.6}", found.figure),
                figure => text::figure(task, found.figure),
                gain => if row.facts.is_some() { text::points(found.gain.value) } else { String::new() },
            }
        })
        .collect();
    let classes = [(group % 2 == 1).then_some("alt"), first.then_some("first"), row.facts.is_none().then_some("base")];
    let bytes = row.costs.as_ref().map(|costs| costs.bytes);
    context! {
        id => row.id,
        class => classes.into_iter().flatten().collect::<Vec<_>>().join(" "),
        link => row.facts.is_some(),
        group => group + 1,
        name => text::name(row),
        under => under(row),
        gain_value => row.gain.map_or_else(|| "0".into(), |gain| format!("{:.6}", gain.difference)),
        gain => row.gain.map_or_else(|| NOTHING.into(), |gain| text::points(gain.difference)),
        interval => row.gain.map(|gain| text::interval(gain.interval)).unwrap_or_default(),
        cells,
        bytes_value => bytes.map(|bytes| bytes.to_string()).unwrap_or_default(),
        bytes => bytes.map_or_else(|| NOTHING.into(), text::bytes),
        flags => row.flags.iter().map(text::flag).collect::<Vec<Value>>(),
    }
}

fn facts(pages: &Pages<'_>, ranked: usize) -> Vec<(String, &'static str)> {
    let state = &pages.standing.state;
    let items: usize = pages.standing.scores.iter().flat_map(|scores| &scores.tasks).map(|task| task.items.len()).sum();
    let seeds: Vec<String> = pages.board.settings.seeds.iter().map(u64::to_string).collect();
    vec![
        (pages.board.settings.base.name.clone(), "base"),
        (state.submissions.len().to_string(), "modules handed in"),
        (ranked.saturating_sub(1).to_string(), "ranked"),
        (text::count(items as u64), "items asked"),
        (seeds.join(", "), "seeds"),
    ]
}

/// What can be said, in words.
fn summary(pages: &Pages<'_>, ranked: &[&Row]) -> String {
    let Some(ranking) = &pages.standing.ranking else {
        return "Nothing was asked yet.".into();
    };
    let best: Vec<&&Row> = ranked.iter().filter(|row| row.group == Some(0)).collect();
    let above =
        ranked.iter().filter(|row| row.gain.is_some_and(|gain| gain.differs() && gain.difference > 0.0)).count();
    let first = match best.as_slice() {
        [] => String::new(),
        [one] => format!("{} is first. ", text::name(one)),
        several => format!("{} share the first place: no one of them can be called better. ", several.len()),
    };
    let mut detectable: Vec<f64> = ranked.iter().filter_map(|row| row.gain).map(|gain| gain.detectable()).collect();
    detectable.sort_unstable_by(f64::total_cmp);
    let detectable = detectable.get(detectable.len() / 2).filter(|effect| **effect > 0.0);
    let detectable = detectable.map_or_else(String::new, |effect| {
        format!(
            " With so many items a true difference of about {:.1} points is seen four times out of five, before the \
             correction for all pairs.",
            100.0 * effect
        )
    });
    let modules = ranked.len() - 1;
    let have = if above == 1 { "has" } else { "have" };
    format!(
        "{first}{above} of {modules} ranked modules {have} more than the base by {}, corrected for all pairs.{detectable}",
        ranking.test
    )
}

fn disputes(pages: &Pages<'_>) -> Vec<Value> {
    let disputes = pages.standing.state.disputes.iter().rev();
    disputes
        .map(|dispute| {
            let settled = match &dispute.settled {
                None => "open".to_owned(),
                Some((Outcome::Kept, reason)) => format!("stays: {reason}"),
                Some((Outcome::Withdrawn, reason)) => format!("withdrawn: {reason}"),
            };
            context! {
                name => dispute.id,
                entry => dispute.entry,
                time => text::date(&dispute.time),
                by => dispute.by,
                reason => dispute.reason,
                settled,
            }
        })
        .collect()
}
