use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::data::{Report, SCHEMA_VERSION};
use super::derived::Derived;
use super::error::ReportError;
use super::page::render_html;

/// Where [`write()`] put its files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// `report.json`.
    pub json: PathBuf,
    /// `report.html`.
    pub html: PathBuf,
}

#[derive(Serialize)]
struct Document<'a> {
    #[serde(flatten)]
    report: &'a Report,
    derived: Derived,
}

#[derive(Deserialize)]
struct Header {
    schema_version: u64,
}

/// Writes `report.html` and then `report.json` into a folder, each atomically.
///
/// # Errors
/// [`ReportError::NotFinite`] names every number that is NaN or infinite; nothing is written then.
pub fn write(directory: &Path, report: &Report) -> Result<Written, ReportError> {
    let written = Written { json: directory.join("report.json"), html: directory.join("report.html") };
    let json = to_json(report)?;
    let html = render_html(report)?;
    replace(&written.html, html.as_bytes())?;
    replace(&written.json, json.as_bytes())?;
    Ok(written)
}

/// Writes the report as pretty JSON with fields in their declared order, atomically. What follows from
/// the measurements is added under `derived` for other programs; [`read_json`] works it out anew.
///
/// # Errors
/// As for [`write()`].
pub fn write_json(path: &Path, report: &Report) -> Result<(), ReportError> {
    replace(path, to_json(report)?.as_bytes())
}

/// Writes the report page atomically.
///
/// # Errors
/// When the file cannot be written.
pub fn write_html(path: &Path, report: &Report) -> Result<(), ReportError> {
    replace(path, render_html(report)?.as_bytes())
}

/// Reads what [`write_json`] wrote.
///
/// # Errors
/// When the file is missing, is not a report, or has another schema.
pub fn read_json(path: &Path) -> Result<Report, ReportError> {
    let io = |source| ReportError::Io { action: "read", path: path.to_owned(), source };
    let json = |source| ReportError::Json { path: path.to_owned(), source };
    let text = fs::read_to_string(path).map_err(io)?;
    let found = serde_json::from_str::<Header>(&text).map_err(json)?.schema_version;
    if found != u64::from(SCHEMA_VERSION) {
        return Err(ReportError::Schema { path: path.to_owned(), found, expected: SCHEMA_VERSION });
    }
    serde_json::from_str(&text).map_err(json)
}

fn to_json(report: &Report) -> Result<String, ReportError> {
    let document = Document { report, derived: report.derived() };
    let value = serde_json::to_value(&document).map_err(ReportError::Serialize)?;
    // Options that are None are left out, so a null can only be a float that JSON cannot hold.
    let mut fields = Vec::new();
    find_nulls(&value, &mut String::new(), &mut fields);
    fields.sort();
    if !fields.is_empty() {
        return Err(ReportError::NotFinite { fields });
    }
    let mut json = serde_json::to_string_pretty(&document).map_err(ReportError::Serialize)?;
    json.push('\n');
    Ok(json)
}

fn find_nulls(value: &Value, path: &mut String, found: &mut Vec<String>) {
    let length = path.len();
    match value {
        Value::Null => found.push(path.clone()),
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                path.push_str(&format!("[{index}]"));
                find_nulls(item, path, found);
                path.truncate(length);
            }
        }
        Value::Object(fields) => {
            for (name, field) in fields {
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(name);
                find_nulls(field, path, found);
                path.truncate(length);
            }
        }
        _ => {}
    }
}

fn replace(path: &Path, bytes: &[u8]) -> Result<(), ReportError> {
    let io = |source| ReportError::Io { action: "write", path: path.to_owned(), source };
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.partial", std::process::id()));
    let partial = path.with_file_name(name);
    let result = File::create(&partial)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&partial, path));
    if result.is_err() {
        // The first error is the one worth reporting.
        let _ = fs::remove_file(&partial);
    }
    result.map_err(io)
}
