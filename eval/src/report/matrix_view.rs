//! The composition matrix as the page shows it.

use minijinja::{Value, context};
use serde::Serialize;

use super::data::Report;
use super::heat::HeatScale;
use super::matrix::{Column, Row, RowKind};
use super::quantity;

#[derive(Serialize)]
pub(super) struct CellView {
    style: String,
    bits: String,
    error: Option<String>,
    change: Option<String>,
    own: bool,
}

#[derive(Serialize)]
pub(super) struct RowView<'a> {
    name: &'a str,
    group: &'static str,
    cells: Vec<CellView>,
    resident: String,
    speed: String,
}

#[derive(Serialize)]
pub(super) struct KeptView<'a> {
    name: &'a str,
    shares: Vec<String>,
    general: Vec<String>,
}

pub(super) fn column_view(column: &Column) -> Value {
    context! {
        name => column.name,
        general => column.general,
        documents => quantity::grouped(column.documents),
        bytes => quantity::bytes(column.bytes),
    }
}

pub(super) fn row_view<'a>(report: &'a Report, row: &'a Row, heat: &HeatScale) -> RowView<'a> {
    let cell = |column: &Column| {
        let percent = report.change_percent(row, &column.name);
        let module = report.module_for(&column.name);
        let error = row.cells.get(&column.name).and_then(|cell| cell.standard_error).filter(|e| e.is_finite());
        CellView {
            style: heat.color(percent).css(),
            bits: quantity::bits(report.value(row, &column.name)),
            error: error.map(|error| quantity::fixed(error, 3)),
            change: (row.kind != RowKind::Base && percent.is_some()).then(|| quantity::change(percent)),
            own: row.kind == RowKind::Module && module.is_some_and(|module| row.modules.contains(&module.name)),
        }
    };
    let speed = |speed: f64| quantity::fixed(speed, if speed < 10.0 { 1 } else { 0 });
    RowView {
        name: &row.name,
        group: group(row.kind),
        cells: report.matrix.columns.iter().map(cell).collect(),
        resident: row.resident_bytes.map_or_else(|| quantity::MISSING.into(), quantity::bytes),
        speed: row.tokens_per_second.map_or_else(|| quantity::MISSING.into(), speed),
    }
}

/// The style of a row.
pub(super) fn group(kind: RowKind) -> &'static str {
    match kind {
        RowKind::Base => "base",
        RowKind::Module => "module",
        RowKind::Teacher => "teacher",
        RowKind::Control => "control",
        _ => "combination",
    }
}

pub(super) fn legend(heat: &HeatScale) -> Vec<(String, String)> {
    let limit = heat.limit();
    let steps = [-1.0, -0.5, 0.0, 0.5, 1.0].map(|step: f64| step * limit);
    let label = |percent: f64| {
        let sign = if percent > 0.0 { "+" } else { "" };
        format!("{sign}{} %", quantity::fixed(percent, if limit < 10.0 { 1 } else { 0 }))
    };
    steps.iter().map(|percent| (heat.color(Some(*percent)).css(), label(*percent))).collect()
}

/// Row names and what they mean; neighbours with the same meaning share an entry.
pub(super) fn meanings(report: &Report) -> Vec<(String, &str)> {
    let mut meanings: Vec<(String, &str)> = Vec::new();
    for row in &report.matrix.rows {
        let meaning = if row.description.is_empty() { row.kind.explanation() } else { &row.description };
        match meanings.last_mut() {
            Some((names, last)) if *last == meaning => {
                names.push_str(", ");
                names.push_str(&row.name);
            }
            _ => meanings.push((row.name.clone(), meaning)),
        }
    }
    meanings
}

pub(super) fn kept(report: &Report) -> Vec<KeptView<'_>> {
    let combinations = report.matrix.rows.iter().filter(|row| row.kind.is_combination());
    let view = |row: &'_ Row| {
        let retained = report.retained(row);
        let of = |name: &str| retained.iter().find(|kept| kept.module == name).map(|kept| kept.share);
        let shares: Vec<String> = report.modules.iter().map(|m| quantity::share(of(&m.name))).collect();
        let general = report.general().map(|column| quantity::change(report.change_percent(row, &column.name)));
        (shares, general.collect())
    };
    combinations
        .map(|row| {
            let (shares, general) = view(row);
            KeptView { name: &row.name, shares, general }
        })
        .collect()
}
