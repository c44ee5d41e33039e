//! Modules against tasks and their subsets.

use std::collections::BTreeSet;

use minijinja::{Value, context};

use super::Pages;
use super::text::{self, NOTHING};

pub(super) fn view(pages: &Pages<'_>) -> Value {
    let Some(scores) = &pages.standing.scores else {
        return context! { rows => Vec::<Value>::new(), columns => Vec::<Value>::new(), heat_limit => "0" };
    };
    // A task as a whole, then each of several subsets.
    let mut columns: Vec<(usize, Option<&str>)> = Vec::new();
    for (index, task) in scores.tasks.iter().enumerate() {
        columns.push((index, None));
        let subsets: BTreeSet<&str> = task.subsets.iter().map(String::as_str).collect();
        if subsets.len() > 1 {
            columns.extend(subsets.into_iter().map(|subset| (index, Some(subset))));
        }
    }
    let rows =
        || pages.standing.rows.iter().filter(|row| row.facts.is_some()).filter_map(|row| Some((row, row.model?)));
    let change = |model: usize, (task, subset): (usize, Option<&str>)| {
        let task = &scores.tasks[task];
        task.gain(model, |item| subset.is_none_or(|subset| task.subsets[item] == subset))
    };
    let all = rows().flat_map(|(_, model)| columns.iter().filter_map(move |&column| change(model, column)));
    let limit = text::heat_limit(all.map(|gain| gain.value));
    let heads: Vec<Value> = columns
        .iter()
        .map(|&(task, subset)| {
            let found = &scores.tasks[task];
            let items = found.subsets.iter().filter(|name| subset.is_none_or(|subset| *name == subset)).count();
            let name = subset.map_or_else(|| found.name.clone(), |subset| subset.replace('_', " "));
            context! { name, under => format!("{items} items") }
        })
        .collect();
    let views: Vec<Value> = rows()
        .map(|(row, model)| {
            let cells: Vec<Value> = columns
                .iter()
                .map(|&column| match change(model, column) {
                    Some(gain) => {
                        context! { heat => text::heat(gain.value, limit), text => text::points(gain.value) }
                    }
                    None => context! { heat => "", text => NOTHING },
                })
                .collect();
            context! { id => row.id, name => text::name(row), cells }
        })
        .collect();
    context! { columns => heads, rows => views, heat_limit => format!("{:.0}", 100.0 * limit) }
}
