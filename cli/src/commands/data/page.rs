//! A survey as one self-contained page.

use std::io::Write;
use std::path::Path;

use lore_datasets::clean::meaning;
use minijinja::{Environment, context};

use super::survey::Survey;
use crate::error::{Error, Result};
use crate::quantity;

/// The `.html` of its name turns on the escaping of what is shown.
const NAME: &str = "inspect.html";
const TEMPLATE: &str = include_str!("inspect.html");

/// Writes the page, whole or not at all. It loads nothing from anywhere.
///
/// # Errors
/// What kept it from being written.
pub fn write_page(survey: &Survey, path: &Path) -> Result<()> {
    let page = render(survey).map_err(Error::while_doing("drawing the page"))?;
    let folder = folder_of(path);
    let mut file = lore_datasets::whole::beside(folder).map_err(Error::io(folder))?;
    file.write_all(page.as_bytes()).map_err(Error::io(path))?;
    file.as_file().sync_all().map_err(Error::io(path))?;
    file.persist(path).map_err(|error| error.error).map_err(Error::io(path))?;
    Ok(())
}

/// The folder that a file is written to.
pub fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn render(survey: &Survey) -> Result<String, minijinja::Error> {
    let mut environment = Environment::new();
    environment.add_filter("bytes", quantity::bytes);
    environment.add_filter("count", quantity::count);
    environment.add_filter("meaning", |rule: String| meaning(&rule).unwrap_or_default());
    environment.add_template(NAME, TEMPLATE)?;
    environment.get_template(NAME)?.render(context! { survey })
}
