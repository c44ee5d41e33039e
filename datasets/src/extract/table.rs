//! Records from tables: CSV, SQLite and Parquet rows, with the columns as fields.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;

use minijinja::Value;
use polars::prelude::{AnyValue, ParquetReader, PolarsError, SerReader};
use rusqlite::OpenFlags;
use rusqlite::types::ValueRef;

use super::container::{Member, unreadable};
use super::record::{Record, Sink, utf8};

fn record(fields: BTreeMap<String, Value>, number: u64) -> Record {
    Record { value: Value::from(fields), root: Value::UNDEFINED, key: number.to_string() }
}

/// Gives every row of a file with a header line. `row` is set to 0 where one begins.
pub(super) fn read_csv(reader: impl Read, delimiter: u8, row: &Cell<u64>, sink: &mut Sink<'_>) -> Result<(), String> {
    let unread = |e: &csv::Error| match e.kind() {
        csv::ErrorKind::Io(e) => Some(unreadable(e)),
        _ => None,
    };
    let mut reader = csv::ReaderBuilder::new().delimiter(delimiter).from_reader(reader);
    let header =
        reader.headers().map_err(|e| unread(&e).unwrap_or_else(|| format!("its header cannot be read: {e}")))?.clone();
    let mut record_read = csv::StringRecord::new();
    for number in 0.. {
        row.set(0);
        sink(match reader.read_record(&mut record_read) {
            Ok(false) => break,
            Ok(true) => {
                let fields = header.iter().zip(record_read.iter());
                Ok(record(fields.map(|(name, value)| (name.to_owned(), Value::from(value))).collect(), number))
            }
            Err(e) => match unread(&e) {
                Some(problem) => return Err(problem),
                None => Err(e.to_string()),
            },
        });
    }
    Ok(())
}

/// Gives every row of `query` on a database, which is opened read-only from a private copy.
pub(super) fn read_sqlite(
    member: &mut Member<'_>,
    query: &str,
    json_columns: &[String],
    sink: &mut Sink<'_>,
) -> Result<(), String> {
    let mut copy = tempfile::NamedTempFile::new().map_err(|e| format!("no temporary copy could be made: {e}"))?;
    member.copy_to(copy.as_file_mut())?;
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let say = |e: rusqlite::Error| format!("SQLite: {e}");
    let connection = rusqlite::Connection::open_with_flags(copy.path(), flags).map_err(say)?;
    connection.pragma_update(None, "trusted_schema", false).map_err(say)?;
    let mut statement = connection.prepare(query).map_err(say)?;
    if !statement.readonly() || statement.column_count() == 0 {
        return Err("the query is not a single SELECT".into());
    }
    let columns: Vec<String> = statement.column_names().map(str::to_owned).collect();
    if let Some(missing) = json_columns.iter().find(|name| !columns.contains(name)) {
        return Err(format!("`json_columns` names `{missing}`, but the query gives {}", columns.join(", ")));
    }
    let mut rows = statement.query([]).map_err(say)?;
    let mut number = 0;
    while let Some(row) = rows.next().map_err(say)? {
        let fields = columns.iter().enumerate().map(|(i, name)| {
            let value = row.get_ref(i).map_err(say)?;
            sqlite_value(value, json_columns.contains(name))
                .map(|v| (name.clone(), v))
                .map_err(|e| format!("row {number}, column `{name}`: {e}"))
        });
        sink(fields.collect::<Result<_, _>>().map(|fields| record(fields, number)));
        number += 1;
    }
    Ok(())
}

/// Whether a query may be run at all: one SELECT, with or without a WITH clause before it.
pub(super) fn is_select(query: &str) -> bool {
    let first = query.split_whitespace().next().unwrap_or_default();
    first.eq_ignore_ascii_case("select") || first.eq_ignore_ascii_case("with")
}

fn sqlite_value(value: ValueRef<'_>, json: bool) -> Result<Value, String> {
    Ok(match value {
        ValueRef::Null => Value::UNDEFINED,
        ValueRef::Integer(number) => Value::from(number),
        ValueRef::Real(number) => Value::from(number),
        ValueRef::Text(bytes) if json => {
            let value: serde_json::Value = serde_json::from_slice(bytes).map_err(|e| format!("not JSON: {e}"))?;
            Value::from_serialize(&value)
        }
        ValueRef::Text(bytes) => Value::from(utf8(bytes)?),
        ValueRef::Blob(_) => return Err("binary data".into()),
    })
}

/// Gives every row of a Parquet file, of which one row group at a time is in memory.
pub(super) fn read_parquet(file: &File, sink: &mut Sink<'_>) -> Result<(), String> {
    let say = |e: PolarsError| format!("Parquet: {e}");
    let again = || file.try_clone().map_err(|e| e.to_string());
    let metadata = ParquetReader::new(again()?).get_metadata().map_err(say)?.clone();
    let mut first = 0;
    for group in &metadata.row_groups {
        let mut reader = ParquetReader::new(again()?).with_slice(Some((first, group.num_rows())));
        reader.set_metadata(metadata.clone());
        let frame = reader.finish().map_err(say)?;
        for row in 0..frame.height() {
            let mut fields = BTreeMap::new();
            for column in frame.columns() {
                let value = column.get(row).map_err(say)?;
                fields.insert(column.name().to_string(), parquet_value(&value));
            }
            sink(Ok(record(fields, (first + row) as u64)));
        }
        first += group.num_rows();
    }
    Ok(())
}

fn parquet_value(value: &AnyValue<'_>) -> Value {
    match value {
        AnyValue::Null => Value::UNDEFINED,
        AnyValue::Boolean(b) => Value::from(*b),
        AnyValue::String(text) => Value::from(*text),
        AnyValue::StringOwned(text) => Value::from(text.as_str()),
        AnyValue::List(series) => series.iter().map(|item| parquet_value(&item)).collect(),
        AnyValue::Struct(..) => parquet_value(&value.clone().into_static()),
        AnyValue::StructOwned(owned) => {
            let (values, fields) = &**owned;
            let named =
                fields.iter().zip(values).map(|(field, value)| (field.name().to_string(), parquet_value(value)));
            Value::from(named.collect::<BTreeMap<String, Value>>())
        }
        number if number.is_integer() => number.extract::<i64>().map_or(Value::UNDEFINED, Value::from),
        number if number.is_float() => number.extract::<f64>().map_or(Value::UNDEFINED, Value::from),
        other => Value::from(other.to_string()),
    }
}
