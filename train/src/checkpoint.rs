//! Complete, atomic checkpoints: weights, moments, position.

use crate::adamw::AdamW;
use crate::held_out::{Best, Measurement};
use crate::{Error, Parameters};
use lore_model::ops::host::{matrix, values};
use lore_model::weights::WeightFile;
use lore_model::weights::safetensors::SafetensorsFiles;
use lore_model::weights::safetensors_writer::{SafetensorsWriter, StoredType};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};

const SCHEMA: u32 = 1;
const TENSORS: &str = "state.safetensors";
const MANIFEST: &str = "checkpoint.json";

#[derive(Serialize, Deserialize)]
struct Manifest {
    schema: u32,
    /// What the run is: a hash over everything that decides its result.
    identity: String,
    /// Steps made.
    step: u64,
    /// Tokens seen.
    tokens: u64,
    /// Optimiser updates made.
    updates: u64,
    /// What measured best on held-out text so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    best: Option<BestFacts>,
}

/// The best measurement; its parameters are among the tensors.
#[derive(Serialize, Deserialize)]
struct BestFacts {
    step: u64,
    /// The bits of the number: as text it might change in its last digit, and with it what is better.
    value: u64,
    since: u64,
}

/// Where a run goes on.
pub(crate) struct Position {
    pub(crate) step: u64,
    pub(crate) tokens: u64,
}

/// Writes a checkpoint and removes older ones. The folder appears under its name only when whole.
pub(crate) fn save(
    directory: &Path,
    identity: &str,
    position: &Position,
    parameters: &Parameters,
    optimiser: &AdamW,
    best: Option<&Best>,
) -> Result<(), Error> {
    let partial = directory.join("checkpoint.partial");
    if partial.exists() {
        fs::remove_dir_all(&partial).map_err(Error::io("remove", &partial))?;
    }
    fs::create_dir_all(&partial).map_err(Error::io("create", &partial))?;
    let mut tensors = Vec::new();
    for (name, weights) in parameters.iter() {
        let [first, second] = &optimiser.moments[name];
        tensors.extend([
            (format!("weights.{name}"), weights),
            (format!("first.{name}"), first),
            (format!("second.{name}"), second),
        ]);
    }
    let best_tensors = best.iter().flat_map(|best| best.parameters.iter());
    tensors.extend(best_tensors.map(|(name, tensor)| (format!("best.{name}"), tensor)));
    let path = partial.join(TENSORS);
    let shapes: Vec<(String, Vec<usize>)> =
        tensors.iter().map(|(name, tensor)| (name.clone(), tensor.dims().to_vec())).collect();
    let mut writer = SafetensorsWriter::create(&path, StoredType::F32, &shapes, &Default::default())?;
    for (name, tensor) in &tensors {
        writer.write(name, &values(tensor))?;
    }
    writer.finish()?;
    let manifest = Manifest {
        schema: SCHEMA,
        identity: identity.to_owned(),
        step: position.step,
        tokens: position.tokens,
        updates: optimiser.updates,
        best: best.map(|best| BestFacts {
            step: best.measured.step,
            value: best.measured.value.to_bits(),
            since: best.since,
        }),
    };
    let path = partial.join(MANIFEST);
    let text = serde_json::to_string_pretty(&manifest).expect("a manifest is plain data");
    fs::write(&path, text).map_err(Error::io("write", &path))?;
    for name in [TENSORS, MANIFEST] {
        let path = partial.join(name);
        fs::File::open(&path).and_then(|file| file.sync_all()).map_err(Error::io("write", &path))?;
    }
    let target = directory.join(format!("checkpoint-{:08}", position.step));
    if target.exists() {
        fs::remove_dir_all(&target).map_err(Error::io("remove", &target))?;
    }
    fs::rename(&partial, &target).map_err(Error::io("rename to", &target))?;
    for old in checkpoints(directory)? {
        if old != target {
            fs::remove_dir_all(&old).map_err(Error::io("remove", &old))?;
        }
    }
    Ok(())
}

/// Loads the newest checkpoint, if there is one, into `parameters`, `optimiser` and `best`.
pub(crate) fn load(
    directory: &Path,
    identity: &str,
    parameters: &mut Parameters,
    optimiser: &mut AdamW,
    best: &mut Option<Best>,
) -> Result<Option<Position>, Error> {
    let Some(newest) = checkpoints(directory)?.pop() else { return Ok(None) };
    let refuse = |reason: String| Error::Checkpoint { path: newest.clone(), reason };
    let path = newest.join(MANIFEST);
    let text = fs::read_to_string(&path).map_err(Error::io("read", &path))?;
    let manifest: Manifest = serde_json::from_str(&text).map_err(|error| refuse(error.to_string()))?;
    if manifest.schema != SCHEMA {
        return Err(refuse(format!("it has schema {}, this program writes {SCHEMA}", manifest.schema)));
    }
    if manifest.identity != identity {
        return Err(refuse("it belongs to a run with another recipe, base or data".into()));
    }
    let damaged = |error: lore_model::Error| refuse(error.to_string());
    let file = SafetensorsFiles::open_with_limit(&newest.join(TENSORS), usize::MAX).map_err(damaged)?;
    let mut best_parameters = Vec::new();
    for (name, weights) in parameters.iter_mut() {
        let [rows, columns] = weights.dims();
        let device = weights.device();
        let read = |kind: &str| -> Result<_, Error> {
            let name = format!("{kind}.{name}");
            let values = file.read_f32(&name).map_err(damaged)?;
            if values.len() != rows * columns {
                return Err(refuse(format!("tensor {name} has {} values instead of {}", values.len(), rows * columns)));
            }
            Ok(matrix(values, rows, columns, &device))
        };
        *weights = read("weights")?;
        optimiser.moments.insert(name.to_owned(), [read("first")?, read("second")?]);
        if manifest.best.is_some() {
            best_parameters.push((name.to_owned(), read("best")?));
        }
    }
    *best = manifest.best.map(|facts| Best {
        measured: Measurement { step: facts.step, value: f64::from_bits(facts.value) },
        parameters: Parameters::new(best_parameters),
        since: facts.since,
    });
    optimiser.updates = manifest.updates;
    Ok(Some(Position { step: manifest.step, tokens: manifest.tokens }))
}

/// Whole checkpoints, oldest first.
fn checkpoints(directory: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut found = Vec::new();
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(found),
        Err(error) => return Err(Error::io("read", directory)(error)),
    };
    for entry in entries {
        let path = entry.map_err(Error::io("read", directory))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let step = name.strip_prefix("checkpoint-");
        if step.is_some_and(|step| !step.is_empty() && step.bytes().all(|b| b.is_ascii_digit())) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Removes every checkpoint of a finished run.
pub(crate) fn clear(directory: &Path) -> Result<(), Error> {
    for path in checkpoints(directory)?.into_iter().chain([directory.join("checkpoint.partial")]) {
        if path.exists() {
            fs::remove_dir_all(&path).map_err(Error::io("remove", &path))?;
        }
    }
    Ok(())
}
