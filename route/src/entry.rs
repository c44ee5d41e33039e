//! What a router knows of one module: a small safetensors file in the module's folder.
//!
//! | tensor | shape | what it is |
//! |---|---|---|
//! | `centroid` | `[hidden]` | mean of the topic's averaged states |
//! | `spread` | `[passages, hidden]` | what single passages of the topic differ from it |
//! | `general` | `[hidden]` | mean of general English |
//! | `noise` | `[passages, hidden]` | half of what the two halves of a general passage differ |
//! | `words` | `[places]` | log odds of tokens, topic against general English |
//! | `arrow.<block>.attention`, `arrow.<block>.feed_forward` | `[hidden]` | Arrow prototypes, if there are any |
//!
//! All are `F32`, finite and from -16 to 16. The header's free text has exactly the keys `lore.router` (`1`), `lore.base`, `layer`,
//! `tokens`, `words` and `threshold`. A router of several modules is one file with `<module>/` before every name and key.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::Path;

use lore_model::fingerprint::Fingerprint;
use lore_model::weights::safetensors_header::Header;
use lore_model::weights::safetensors_writer::{SafetensorsWriter, StoredType};
use lore_model::whole::{file_beside, folder_of};

use crate::arrow::{Input, Prototypes};
use crate::error::Error;
use crate::words::PLACES;

/// The file of an entry in its module's folder.
pub const ENTRY_FILE: &str = "router.safetensors";
/// Most bytes that the file of one entry may have.
pub const ENTRY_LIMIT: u64 = 16 << 20;
/// Most modules of a router's file.
pub const MODULES: usize = 256;
/// Most passages that a matrix of an entry tells of.
pub(crate) const PASSAGES: usize = 64;

const HEADER_LIMIT: usize = 1 << 20;
const VERSION: &str = "1";
const WIDEST: usize = 1 << 16;
const LARGEST: f32 = 16.0;
const KEYS: [&str; 6] = ["lore.router", "lore.base", "layer", "tokens", "words", "threshold"];

/// What a router knows of one module.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The base whose states it was made of.
    pub base: Fingerprint,
    /// States after so many blocks.
    pub layer: usize,
    /// So many tokens of a passage are looked at.
    pub tokens: usize,
    /// `[hidden]`.
    pub centroid: Vec<f32>,
    /// `[passages, hidden]`, row-major.
    pub spread: Vec<f32>,
    /// `[hidden]`.
    pub general: Vec<f32>,
    /// `[passages, hidden]`, row-major.
    pub noise: Vec<f32>,
    /// Log odds by token.
    pub words: Vec<f32>,
    /// What the topic's own text has of them, on average over its passages; above 0.
    pub own_words: f64,
    /// Arrow prototypes.
    pub arrow: Prototypes,
    /// A passage that scores less is left to the base.
    pub threshold: f64,
}

impl Entry {
    /// Reads the bytes of an entry's file; `path` is only named in errors.
    ///
    /// # Errors
    /// [`Error::Malformed`] naming everything that is not as the format says.
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<Self, Error> {
        let mut entries = parse(path, bytes, false)?;
        Ok(entries.remove("").expect("one entry without a name"))
    }

    /// Reads an entry's file.
    ///
    /// # Errors
    /// As [`Self::parse`], a file that is too long, and errors of reading.
    pub fn read(path: &Path) -> Result<Self, Error> {
        Self::parse(path, &read_limited(path, ENTRY_LIMIT)?)
    }

    /// Writes an entry's file, whole or not at all.
    ///
    /// # Errors
    /// Those of writing.
    ///
    /// # Panics
    /// When the entry is not as the format says.
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        write(path, &[("", self)])
    }

    fn tensors(&self) -> Vec<(String, Vec<usize>, &Vec<f32>)> {
        let width = self.centroid.len();
        let arrow = self.arrow.iter().map(|(&(block, input), prototype)| {
            let (_, name) = Input::ALL.into_iter().find(|(one, _)| *one == input).expect("one of all inputs");
            (format!("arrow.{block}.{name}"), vec![width], prototype)
        });
        let rows = |values: &Vec<f32>| vec![values.len() / width, width];
        let mut all = vec![
            ("centroid".to_owned(), vec![width], &self.centroid),
            ("general".to_owned(), vec![width], &self.general),
            ("noise".to_owned(), rows(&self.noise), &self.noise),
            ("spread".to_owned(), rows(&self.spread), &self.spread),
            ("words".to_owned(), vec![self.words.len()], &self.words),
        ];
        all.extend(arrow);
        all
    }

    fn metadata(&self) -> [(&'static str, String); 6] {
        [
            ("lore.router", VERSION.to_owned()),
            ("lore.base", self.base.to_string()),
            ("layer", self.layer.to_string()),
            ("tokens", self.tokens.to_string()),
            ("words", self.own_words.to_string()),
            ("threshold", self.threshold.to_string()),
        ]
    }
}

/// Reads a file of at most `limit` bytes.
pub(crate) fn read_limited(path: &Path, limit: u64) -> Result<Vec<u8>, Error> {
    let file = std::fs::File::open(path).map_err(Error::io(path))?;
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).map_err(Error::io(path))?;
    if bytes.len() as u64 > limit {
        return Err(malformed(path, vec![format!("it has more than the {limit} bytes allowed")]));
    }
    Ok(bytes)
}

fn malformed(path: &Path, problems: Vec<String>) -> Error {
    Error::Malformed { path: path.to_owned(), problems }
}

/// Writes entries, each with what stands before its names.
pub(crate) fn write(path: &Path, entries: &[(&str, &Entry)]) -> Result<(), Error> {
    let (mut shapes, mut values, mut metadata) = (Vec::new(), Vec::new(), BTreeMap::new());
    for (prefix, entry) in entries {
        for (name, shape, tensor) in entry.tensors() {
            assert_eq!(shape.iter().product::<usize>(), tensor.len(), "`{name}` is not of its shape");
            shapes.push((format!("{prefix}{name}"), shape));
            values.push(tensor);
        }
        metadata.extend(entry.metadata().map(|(key, text)| (format!("{prefix}{key}"), text)));
    }
    let folder = folder_of(path);
    let temporary = file_beside(folder).map_err(Error::io(folder))?;
    let mut writer = SafetensorsWriter::create(temporary.path(), StoredType::F32, &shapes, &metadata)?;
    for ((name, _), values) in shapes.iter().zip(values) {
        writer.write(name, values)?;
    }
    writer.finish()?;
    temporary.persist(path).map_err(|error| Error::io(path)(error.error))?;
    Ok(())
}

/// Whether a router may hold a module of this name.
pub(crate) fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    (1..=64).contains(&name.len()) && name.chars().all(plain) && !name.starts_with('.')
}

/// Entries by module; a single one without names is the module ``.
pub(crate) fn parse(path: &Path, bytes: &[u8], named: bool) -> Result<BTreeMap<String, Entry>, Error> {
    let header = Header::parse(bytes, HEADER_LIMIT).map_err(|problem| malformed(path, vec![problem]))?;
    let split = |name: &String| -> (String, String) {
        match name.split_once('/') {
            Some((module, rest)) if named => (module.to_owned(), rest.to_owned()),
            _ => (String::new(), name.clone()),
        }
    };
    let modules: BTreeSet<String> =
        header.tensors.keys().chain(header.metadata.keys()).map(|name| split(name).0).collect();
    let mut problems: Vec<String> = modules
        .iter()
        .filter(|module| named && !is_name(module))
        .map(|module| format!("`{}` is not the name of a module", module.escape_debug()))
        .collect();
    if modules.is_empty() || modules.len() > MODULES {
        problems.push(format!("it tells of {} modules; from 1 to {MODULES} are allowed", modules.len()));
    }
    if !problems.is_empty() {
        return Err(malformed(path, problems));
    }
    let mut entries = BTreeMap::new();
    for module in modules {
        let own = |name: &String| {
            let (of, rest) = split(name);
            (of == module).then_some(rest)
        };
        let mut parts = Parts { module: &module, problems: Vec::new(), tensors: BTreeMap::new() };
        for (name, tensor) in &header.tensors {
            if let Some(rest) = own(name) {
                parts.add(rest, &tensor.dtype, &tensor.shape, &bytes[tensor.bytes.clone()]);
            }
        }
        let metadata: BTreeMap<String, &String> =
            header.metadata.iter().filter_map(|(key, text)| Some((own(key)?, text))).collect();
        let entry = parts.finish(&metadata);
        problems.extend(parts.problems);
        if let Some(entry) = entry {
            entries.insert(module, entry);
        }
    }
    if problems.is_empty() { Ok(entries) } else { Err(malformed(path, problems)) }
}

/// The tensors of one entry while it is read.
struct Parts<'a> {
    module: &'a str,
    problems: Vec<String>,
    tensors: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
}

impl Parts<'_> {
    fn problem(&mut self, text: String) {
        let of = if self.module.is_empty() { String::new() } else { format!("{}: ", self.module) };
        self.problems.push(of + &text);
    }

    fn add(&mut self, name: String, dtype: &str, shape: &[usize], bytes: &[u8]) {
        let shown = name.escape_debug().to_string();
        if dtype != "F32" {
            return self.problem(format!("`{shown}` is stored as {dtype}; all is F32"));
        }
        let values: Vec<f32> = bytes.as_chunks::<4>().0.iter().map(|&value| f32::from_le_bytes(value)).collect();
        // NaN is not in the range either. Larger values could not be means of directions, or log odds.
        let wrong = values.iter().filter(|value| !(-LARGEST..=LARGEST).contains(*value)).count();
        if wrong > 0 {
            let count = values.len();
            return self
                .problem(format!("{wrong} of {count} values of `{shown}` are NaN, infinite or beyond {LARGEST}"));
        }
        self.tensors.insert(name, (shape.to_vec(), values));
    }

    fn vector(&mut self, name: &str, width: Option<usize>, limit: usize) -> Option<Vec<f32>> {
        let Some((shape, values)) = self.tensors.remove(name) else {
            self.problem(format!("`{name}` is missing"));
            return None;
        };
        if shape.len() != 1 || values.is_empty() || values.len() > limit || width.is_some_and(|w| w != values.len()) {
            let expected = width.map_or(format!("[1 to {limit}]"), |width| format!("[{width}]"));
            self.problem(format!("`{name}` has the shape {shape:?}; expected {expected}"));
            return None;
        }
        Some(values)
    }

    fn rows(&mut self, name: &str, width: usize) -> Option<Vec<f32>> {
        let Some((shape, values)) = self.tensors.remove(name) else {
            self.problem(format!("`{name}` is missing"));
            return None;
        };
        if !matches!(shape[..], [rows, columns] if (1..=PASSAGES).contains(&rows) && columns == width) {
            self.problem(format!("`{name}` has the shape {shape:?}; expected [1 to {PASSAGES}, {width}]"));
            return None;
        }
        Some(values)
    }

    fn finish(&mut self, metadata: &BTreeMap<String, &String>) -> Option<Entry> {
        for key in metadata.keys().filter(|key| !KEYS.contains(&key.as_str())) {
            self.problem(format!("the header's key `{}` is not known", key.escape_debug()));
        }
        let text = |parts: &mut Self, key: &str| match metadata.get(key) {
            Some(text) => Some((*text).clone()),
            None => {
                parts.problem(format!("the header lacks `{key}`"));
                None
            }
        };
        let version = text(self, "lore.router");
        if version.as_ref().is_some_and(|version| version != VERSION) {
            self.problem(format!("its version is not {VERSION}, the one this program reads"));
        }
        let base: Option<Fingerprint> = text(self, "lore.base").and_then(|text| match text.parse() {
            Ok(base) => Some(base),
            Err(_) => {
                self.problem("`lore.base` is not a fingerprint".to_owned());
                None
            }
        });
        let mut count = |key: &str, most: usize| -> Option<usize> {
            let text = text(self, key)?;
            let value = text.parse().ok().filter(|value| (1..=most).contains(value));
            if value.is_none() {
                self.problem(format!("`{key}` is not a whole number from 1 to {most}"));
            }
            value
        };
        let (layer, tokens) = (count("layer", 1024), count("tokens", WIDEST));
        let mut number = |key: &str, least: f64, most: f64| -> Option<f64> {
            let text = text(self, key)?;
            let value = text.parse().ok().filter(|value: &f64| (least..=most).contains(value));
            if value.is_none() {
                self.problem(format!("`{key}` is not a number from {least} to {most}"));
            }
            value
        };
        let own_words = number("words", 1e-6, 10.0);
        let threshold = number("threshold", -1e6, 1e6);
        let centroid = self.vector("centroid", None, WIDEST);
        let width = centroid.as_ref().map_or(0, Vec::len);
        let general = self.vector("general", Some(width), WIDEST);
        let (noise, spread) = (self.rows("noise", width), self.rows("spread", width));
        let words = self.vector("words", None, PLACES);
        let mut arrow = Prototypes::new();
        for name in self.tensors.keys().cloned().collect::<Vec<_>>() {
            match prototype_place(&name) {
                Some(place) => drop(self.vector(&name, Some(width), WIDEST).map(|values| arrow.insert(place, values))),
                None => self.problem(format!("`{}` is no tensor of a router entry", name.escape_debug())),
            }
        }
        if !self.problems.is_empty() {
            return None;
        }
        Some(Entry {
            base: base?,
            layer: layer?,
            tokens: tokens?,
            centroid: centroid?,
            spread: spread?,
            general: general?,
            noise: noise?,
            words: words?,
            own_words: own_words?,
            arrow,
            threshold: threshold?,
        })
    }
}

/// Block and input of `arrow.<block>.<input>`.
fn prototype_place(name: &str) -> Option<(usize, Input)> {
    let (block, input) = name.strip_prefix("arrow.")?.split_once('.')?;
    let number: usize = block.parse().ok().filter(|number| *number < 1024)?;
    let (input, _) = Input::ALL.into_iter().find(|(_, known)| *known == input)?;
    (number.to_string() == block).then_some((number, input))
}
