//! The report of a run: what was measured, as a file for programs and a page for people.
//!
//! A [`Report`] comes in; `report.json`, `report.html` and a terminal table go out. What can be worked
//! out from the measurements (changes against the base, shares of a gain that a combination keeps) is
//! never stored by the caller: see [`Report::derived`].
//!
//! ```
//! use lore_eval::report::{Cell, Column, Matrix, Report, Row, RowKind, render_terminal};
//!
//! let cell = |bits_per_byte| Cell { bits_per_byte, ..Cell::default() };
//! let row = |name: &str, kind, bits| Row {
//!     name: name.into(),
//!     kind,
//!     cells: [("geography".into(), cell(bits))].into(),
//!     ..Row::default()
//! };
//! let column = Column { name: "geography".into(), ..Column::default() };
//! let rows = vec![row("base", RowKind::Base, 1.25), row("base + geography", RowKind::Module, 1.0)];
//! let report = Report { matrix: Matrix { columns: vec![column], rows }, ..Report::default() };
//! assert!(render_terminal(&report, false).contains("−20.0 %"));
//! ```

mod charts;
mod data;
mod derived;
mod error;
mod file;
mod headline;
mod heat;
mod loss_chart;
mod matrix;
mod matrix_view;
mod page;
mod quality_chart;
mod quantity;
mod svg;
mod tasks;
mod terminal;
mod topic_chart;

pub use data::*;
pub use derived::*;
pub use error::ReportError;
pub use file::{Written, read_json, write, write_html, write_json};
pub use headline::{claim_on_trial, headline};
pub use heat::{HeatColor, HeatScale};
pub use loss_chart::{Series, loss_chart};
pub use matrix::*;
pub use page::{SHARED_STYLE, render_html};
pub use quality_chart::quality_chart;
pub use tasks::{CONTROLS, TaskCell, TaskChange, TaskColumn, task_columns};
pub use terminal::render_terminal;
pub use topic_chart::topic_chart;
