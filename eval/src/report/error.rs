use std::path::PathBuf;

/// Why a report could not be written, read or drawn.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// A file could not be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was being done, as a verb: `read`, `write`.
        action: &'static str,
        /// The file concerned.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The file is not a report, or is damaged.
    #[error("{} is not a report: {source}", path.display())]
    Json {
        /// The file concerned.
        path: PathBuf,
        /// What the parser found, with line and column.
        source: serde_json::Error,
    },
    /// The file was written by a program with another schema.
    #[error(
        "{} has report schema {found}, this program reads {expected}; run the program version that wrote it, or the run again",
        path.display()
    )]
    Schema {
        /// The file concerned.
        path: PathBuf,
        /// The schema number in the file.
        found: u64,
        /// The schema number this program reads.
        expected: u32,
    },
    /// Some numbers are NaN or infinite. All of them are named.
    #[error("the report holds numbers that are not finite: {}; leave out what was not measured", fields.join(", "))]
    NotFinite {
        /// Paths of the fields, such as `matrix.rows[1].cells.geography.bits_per_byte`.
        fields: Vec<String>,
    },
    /// The report could not be turned into JSON.
    #[error("cannot serialise the report: {0}")]
    Serialize(#[source] serde_json::Error),
    /// The page's template failed.
    #[error("cannot draw the report page: {0}")]
    Template(#[from] minijinja::Error),
}
