//! `GET /v1/models`.

use serde_json::{Value, json};

use super::{ApiError, Service};
use crate::chooser::{Wanted, model_name};
use crate::engine::Engine;

/// The base, the base with each module, and `auto` where somebody chooses.
pub(super) fn list(service: &Service) -> Result<Value, ApiError> {
    let names = names(&service.engine)?;
    let data: Vec<Value> = names.iter().map(|name| model(service, name)).collect();
    Ok(json!({ "object": "list", "data": data }))
}

/// One model, which may be a set of several modules.
pub(super) fn one(service: &Service, name: &str) -> Result<Value, ApiError> {
    let name = name.replace("%2B", "+").replace("%3D", "=").replace("%2b", "+").replace("%3d", "=");
    let unknown = |problem: &str| ApiError::no_model(format!("there is no model `{}`: {problem}", name.escape_debug()));
    let wanted = Wanted::parse(&name).map_err(|problem| unknown(&problem))?;
    match wanted {
        Wanted::Auto if !service.engine.auto() => Err(unknown("this library has no router")),
        Wanted::Auto => Ok(model(service, &name)),
        Wanted::Set(set) => {
            let folders = folders(&service.engine)?;
            match set.modules().iter().find(|(module, _)| !folders.contains(module)) {
                Some((module, _)) => Err(unknown(&format!("the library has no module `{}`", module.escape_debug()))),
                None => Ok(model(service, &model_name(&set))),
            }
        }
    }
}

fn model(service: &Service, id: &str) -> Value {
    json!({ "id": id, "object": "model", "created": service.began, "owned_by": "lore" })
}

fn names(engine: &Engine) -> Result<Vec<String>, ApiError> {
    let mut names = vec!["base".to_owned()];
    names.extend(engine.auto().then(|| "auto".to_owned()));
    names.extend(folders(engine)?.iter().map(|module| format!("base+{module}")));
    Ok(names)
}

fn folders(engine: &Engine) -> Result<Vec<String>, ApiError> {
    let folders = engine.folders().map_err(|message| ApiError::http(500, "internal", message))?;
    Ok(folders.into_keys().collect())
}
