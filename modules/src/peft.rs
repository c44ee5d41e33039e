//! A module as a folder that PEFT loads: `adapter_config.json` and `adapter_model.safetensors`.
//!
//! What Lore knows beyond that (the base's fingerprint, the topic) stands beside them in `lore.json`, and
//! again in the weight file's header for when it travels alone.

use std::collections::BTreeMap;
use std::path::Path;

use lore_model::fingerprint::Fingerprint;
use lore_model::publish::{MARKER, write_folder};
use lore_model::save::StoredType;
use lore_model::weights::WeightFile;
use lore_model::weights::safetensors::SafetensorsFiles;
use lore_model::weights::safetensors_writer::SafetensorsWriter;
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::adapter::{Adapter, LowRank};
use crate::config::AdapterConfig;
use crate::layout::{self, UpdateShape, factor, magnitude};

pub(crate) const CONFIG: &str = "adapter_config.json";
pub(crate) const WEIGHTS: &str = "adapter_model.safetensors";
/// A module has hundreds of tensors, not millions; a longer header is an attack.
pub const HEADER_LIMIT: usize = 1 << 20;

/// Lore's own file, `lore.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    lore: String,
    /// The base the module was trained on.
    pub base: Option<Fingerprint>,
    /// Free text by key, such as `topic`.
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
    version: String,
}

impl Facts {
    /// Reads the text of a `lore.json`; `path` is only named in errors.
    ///
    /// # Errors
    /// [`Error::NotAModule`] if it describes anything else.
    pub fn parse(path: &Path, text: &[u8]) -> Result<Self, Error> {
        let problem = |reason: String| Error::NotAModule { path: path.to_owned(), reason };
        let facts: Self = serde_json::from_slice(text).map_err(|error| problem(error.to_string()))?;
        if facts.lore == "module" {
            Ok(facts)
        } else {
            Err(problem(format!("it describes a {}, not a module", facts.lore)))
        }
    }
}

/// Reads a folder written by [`write`] or by PEFT. Nothing but the three files named above is opened.
///
/// # Errors
/// [`Error::NotAModule`] if files are missing; [`Error::Config`] naming every setting that is not supported;
/// [`Error::Tensors`] naming every tensor that is missing its other half, of another shape than configured,
/// not finite, or not a low-rank factor.
pub fn read(folder: &Path) -> Result<Adapter, Error> {
    let (config_path, weights_path) = (folder.join(CONFIG), folder.join(WEIGHTS));
    let missing: Vec<&str> = [CONFIG, WEIGHTS].into_iter().filter(|name| !folder.join(name).is_file()).collect();
    if !missing.is_empty() {
        let mut reason = format!("it lacks {}", missing.join(" and "));
        if ["adapter_model.bin", "adapter_model.pt"].iter().any(|name| folder.join(name).exists()) {
            reason += "; pickled weights (.bin, .pt) can run code and are never read, convert them to safetensors";
        }
        return Err(Error::NotAModule { path: folder.to_owned(), reason });
    }
    let text = std::fs::read_to_string(&config_path).map_err(|error| Error::io("read", &config_path, error))?;
    let (config, targets) = AdapterConfig::from_json(&config_path, &text)?;
    let file = SafetensorsFiles::open_with_limit(&weights_path, HEADER_LIMIT)?;
    let (updates, mut problems) = read_updates(&file, &config, targets.as_deref())?;
    let facts = read_facts(folder)?;
    let base = facts.as_ref().and_then(|facts| facts.base);
    let stated = file.metadata().get("lore.base").map(|text| text.parse()).transpose()?;
    if let (Some(base), Some(stated)) = (base, stated)
        && base != stated
    {
        problems.push(format!("{MARKER} says the base is {base}, the weights say {stated}"));
    }
    let metadata = facts.map(|facts| facts.metadata).unwrap_or_default();
    let adapter = Adapter { config, updates, base: base.or(stated), metadata };
    problems.extend(adapter.problems());
    if problems.is_empty() { Ok(adapter) } else { Err(Error::Tensors { path: weights_path, problems }) }
}

/// Writes the module to `folder`, all or nothing.
///
/// # Errors
/// [`Error::Tensors`] if the updates contradict the configuration or are not finite;
/// [`lore_model::Error::Occupied`] if the folder holds files of another origin; errors of writing.
pub fn write(folder: &Path, adapter: &Adapter, dtype: StoredType) -> Result<(), Error> {
    let problems = adapter.problems();
    if !problems.is_empty() {
        return Err(Error::Tensors { path: folder.to_owned(), problems });
    }
    write_folder(folder, |temporary| {
        let put = |name: &str, text: &str| {
            let path = temporary.join(name);
            std::fs::write(&path, text).map_err(|error| Error::io("write", &path, error))
        };
        put(CONFIG, &adapter.config.to_json(adapter.updates.keys().map(String::as_str)))?;
        let tensors: Vec<(String, Vec<usize>)> = adapter
            .updates
            .iter()
            .flat_map(|(name, update)| {
                let factors = [
                    (factor(name, "A"), vec![update.rank, update.in_features]),
                    (factor(name, "B"), vec![update.out_features, update.rank]),
                ];
                let magnitudes = update.magnitude.as_ref().map(|values| (magnitude(name), vec![values.len()]));
                factors.into_iter().chain(magnitudes)
            })
            .collect();
        let mut header = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
        header.extend(adapter.metadata.iter().map(|(key, text)| (format!("lore.metadata.{key}"), text.clone())));
        if let Some(base) = adapter.base {
            header.insert("lore.base".to_owned(), base.to_string());
        }
        let mut writer = SafetensorsWriter::create(&temporary.join(WEIGHTS), dtype, &tensors, &header)?;
        let values =
            adapter.updates.values().flat_map(|update| [&update.a, &update.b].into_iter().chain(&update.magnitude));
        for ((name, _), values) in tensors.iter().zip(values) {
            writer.write(name, values)?;
        }
        writer.finish()?;
        let facts = Facts {
            lore: "module".to_owned(),
            base: adapter.base,
            metadata: adapter.metadata.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        put(MARKER, &(serde_json::to_string_pretty(&facts).expect("text keys make JSON") + "\n"))
    })
}

/// The updates in a weight file, and what is wrong with its tensors.
fn read_updates(
    file: &SafetensorsFiles,
    config: &AdapterConfig,
    targets: Option<&[String]>,
) -> Result<(BTreeMap<String, LowRank>, Vec<String>), Error> {
    let (shapes, problems) = layout::updates(file.tensors(), targets);
    let mut updates = BTreeMap::new();
    for (module, shape) in shapes {
        let UpdateShape { rank, in_features, out_features, .. } = shape;
        let (a, b) = (file.read_f32(&factor(&module, "A"))?, file.read_f32(&factor(&module, "B"))?);
        let magnitude = shape.magnitude.then(|| file.read_f32(&magnitude(&module))).transpose()?;
        let scale = config.scale_of(&module);
        updates.insert(module, LowRank { a, b, rank, in_features, out_features, scale, magnitude });
    }
    Ok((updates, problems))
}

fn read_facts(folder: &Path) -> Result<Option<Facts>, Error> {
    let path = folder.join(MARKER);
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io("read", &path, error)),
    };
    Facts::parse(&path, &text).map(Some)
}
