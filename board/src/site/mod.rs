//! A board as pages that need no server: they read from a folder, on a phone, without JavaScript.

mod card;
mod chart;
mod compare;
mod index;
mod matrix;
mod method;
mod module;
mod text;

use std::fs;
use std::path::Path;

use minijinja::{AutoEscape, Environment, Value, context};

use crate::error::{Error, Result};
use crate::folder::{Board, write_whole};
use crate::standing::Standing;

const TEMPLATES: [(&str, &str); 8] = [
    ("base.html", include_str!("templates/base.html")),
    ("macros.html", include_str!("templates/macros.html")),
    ("index.html", include_str!("templates/index.html")),
    ("matrix.html", include_str!("templates/matrix.html")),
    ("module.html", include_str!("templates/module.html")),
    ("pair.html", include_str!("templates/pair.html")),
    ("compare.html", include_str!("templates/compare.html")),
    ("method.html", include_str!("templates/method.html")),
];
const FILES: [(&str, &str); 4] = [
    ("style.css", include_str!("templates/style.css")),
    ("shared.css", lore_eval::report::SHARED_STYLE),
    ("board.js", include_str!("templates/board.js")),
    ("compare.js", include_str!("templates/compare.js")),
];
const PAGES: [(&str, &str); 4] = [
    ("index.html", "Ranking"),
    ("matrix.html", "Matrix"),
    ("compare.html", "Compare"),
    ("method.html", "How to read and check it"),
];

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Site {
    /// Pages and files.
    pub files: usize,
    /// Bytes of the main page.
    pub main_page: usize,
}

/// What every page is made of.
struct Pages<'a> {
    board: &'a Board,
    standing: &'a Standing,
    environment: Environment<'static>,
    facts: Value,
    folder: &'a Path,
    written: usize,
}

/// Makes all pages in `folder`, which is emptied of pages first. `program` names and dates what made them.
///
/// # Errors
/// A folder with files that no site has; files that cannot be written.
pub fn build(board: &Board, standing: &Standing, folder: &Path, program: &str) -> Result<Site> {
    clear(folder)?;
    let mut environment = Environment::new();
    environment
        .set_auto_escape_callback(|name| if name.ends_with(".html") { AutoEscape::Html } else { AutoEscape::None });
    environment.set_trim_blocks(true);
    environment.set_lstrip_blocks(true);
    for (name, source) in TEMPLATES {
        environment.add_template(name, source)?;
    }
    let last = board.log.entries.last();
    let facts = context! {
        name => board.settings.name,
        about => board.settings.about,
        updated => last.map(|entry| text::date(&entry.time)),
        entries => board.log.entries.len(),
        program,
    };
    let mut pages = Pages { board, standing, environment, facts, folder, written: 0 };
    // First, as they tell the folder of a site, even half made.
    for (name, content) in FILES {
        pages.put(name, content)?;
    }
    let main_page = pages.write("index.html", "index.html", index::view(&pages))?;
    pages.write("matrix.html", "matrix.html", matrix::view(&pages))?;
    pages.write("method.html", "method.html", method::view(&pages))?;
    pages.write("compare.html", "compare.html", compare::choice(&pages))?;
    for row in standing.rows.iter().filter(|row| row.facts.is_some()) {
        let view = module::view(&pages, row)?;
        pages.write(&format!("modules/{}.html", row.id), "module.html", view)?;
    }
    for (a, b) in compare::pairs(standing) {
        let view = compare::view(&pages, a, b);
        pages.write(&format!("compare/{}", compare::file(standing, a, b)), "pair.html", view)?;
    }
    for (name, content) in compare::data(&pages) {
        pages.put(&name, &content)?;
    }
    Ok(Site { files: pages.written, main_page })
}

impl Pages<'_> {
    /// Renders a page; returns its bytes.
    fn write(&mut self, file: &str, template: &str, view: Value) -> Result<usize> {
        let root = if file.contains('/') { "../" } else { "" };
        let shared = context! { board => self.facts, pages => PAGES, here => file, root };
        let values = minijinja::value::merge_maps([view, shared]);
        let page = self.environment.get_template(template)?.render(values)?;
        self.put(file, &page)?;
        Ok(page.len())
    }

    fn put(&mut self, file: &str, content: &str) -> Result<()> {
        self.written += 1;
        write_whole(&self.folder.join(file), content.as_bytes())
    }
}

/// Removes an older site; refuses a folder of something else.
fn clear(folder: &Path) -> Result<()> {
    if !folder.exists() {
        return Ok(());
    }
    let known = |name: &str| {
        let page = PAGES.iter().any(|(file, _)| *file == name) || FILES.iter().any(|(file, _)| *file == name);
        page || ["modules", "compare", "data"].contains(&name)
    };
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(Error::io(folder))? {
        let entry = entry.map_err(Error::io(folder))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !known(&name) {
            return Error::request(format!("{} holds `{name}`, which is no part of a site", folder.display()));
        }
        found.push(entry.path());
    }
    // Other folders are called `data` and `modules` too.
    if !found.is_empty() && !folder.join(FILES[0].0).is_file() {
        return Error::request(format!("{} is not empty and holds no site; name another folder", folder.display()));
    }
    found.sort_by_key(|path| path.ends_with(FILES[0].0));
    for path in found {
        let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        removed.map_err(Error::io(path))?;
    }
    Ok(())
}
