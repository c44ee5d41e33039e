//! TOML files as typed values, read strictly.
//!
//! A type's own `Deserialize` is the only schema. Whatever does not fit is told at once, each problem with its line,
//! its column and what was probably meant.
//!
//! ```
//! #[derive(Debug, serde::Deserialize)]
//! struct Trip {
//!     river: String,
//!     #[serde(default)]
//!     days: u64,
//! }
//!
//! let (trip, _) = lore_settings::from_toml::<Trip>("river = \"Nile\"\ndays = 3")?;
//! assert_eq!((trip.river.as_str(), trip.days), ("Nile", 3));
//! let problems = lore_settings::from_toml::<Trip>("river = \"Nile\"\ndyas = 3").unwrap_err();
//! assert_eq!((problems[0].line, problems[0].hint.as_deref()), (2, Some("did you mean `days`?")));
//! # Ok::<(), Vec<lore_settings::Problem>>(())
//! ```

mod deserialize;
mod problem;
mod read;
mod suggest;
pub mod syntax;

pub use problem::{Problem, Problems};
pub use read::read;
pub use suggest::nearest;

use serde::de::DeserializeOwned;
use syntax::Node;

/// Reads a whole file; the tree says where each value stands, for checks that go beyond types.
///
/// # Errors
/// Everything that is wrong with it, at once.
pub fn from_toml<T: DeserializeOwned>(text: &str) -> Result<(T, Node), Vec<Problem>> {
    let mut tree = Node::parse(text)?;
    let mut problems = Vec::new();
    match read(&mut tree, text, &mut problems) {
        Some(value) if problems.is_empty() => Ok((value, tree)),
        _ => Err(problems),
    }
}
