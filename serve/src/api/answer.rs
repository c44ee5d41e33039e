//! What all answers have in common.

use lore_modules::on_demand::ModuleSet;
use serde_json::{Map, Value, json};

use super::parameters::Parameters;
use super::{Service, now};
use crate::chooser::model_name;
use crate::engine::Started;

/// The parts of an answer that are the same in all its pieces.
pub struct Head {
    id: String,
    object: &'static str,
    created: u64,
    model: String,
    fingerprint: String,
    modules: Value,
}

impl Head {
    /// Of an answer called `prefix-..`.
    pub fn new(
        prefix: &str,
        object: &'static str,
        service: &Service,
        parameters: &Parameters,
        started: Option<&Started>,
    ) -> Self {
        let none = ModuleSet::none();
        let set = started.map_or(&none, |started| &started.set);
        let bytes = started.map(|started| started.module_bytes.as_slice()).unwrap_or_default();
        let modules = set
            .modules()
            .iter()
            .zip(bytes)
            .map(|((name, weight), bytes)| json!({ "name": name, "weight": weight, "bytes": bytes }));
        // What was chosen, where the request left it open.
        let model = started.map_or_else(|| parameters.model.clone(), |started| model_name(&started.set));
        Self {
            id: format!("{prefix}-{:016x}", service.random()),
            object,
            created: now(),
            model,
            fingerprint: service.engine.base().fingerprint.clone(),
            modules: modules.collect(),
        }
    }

    /// A piece of the answer.
    pub fn with_choices(&self, choices: Vec<Value>) -> Value {
        Value::Object(self.fields(choices))
    }

    /// The answer, or its last piece.
    pub fn with_usage(&self, choices: Vec<Value>, usage: Value) -> Value {
        let mut fields = self.fields(choices);
        fields.insert("usage".to_owned(), usage);
        Value::Object(fields)
    }

    fn fields(&self, choices: Vec<Value>) -> Map<String, Value> {
        let fields = [
            ("id", json!(self.id)),
            ("object", json!(self.object)),
            ("created", json!(self.created)),
            ("model", json!(self.model)),
            ("system_fingerprint", json!(self.fingerprint)),
            ("modules", self.modules.clone()),
            ("choices", Value::Array(choices)),
        ];
        fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
    }
}

/// Tokens that were read and written.
pub fn usage(prompt: usize, written: usize, started: Option<&Started>) -> Value {
    json!({
        "prompt_tokens": prompt,
        "completion_tokens": written,
        "total_tokens": prompt + written,
        "prompt_tokens_details": { "cached_tokens": started.map_or(0, |started| started.known) },
    })
}
