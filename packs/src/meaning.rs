//! Whether the members of a pack agree with its manifest, with each other and with a base.

use std::path::Path;

use lore_modules::Layout;
use lore_modules::peft::Facts;

use crate::canonical::read_canonical;
use crate::content::Content;
use crate::documents::{Corpus, Evaluation, refuse_if};
use crate::error::Problem;
use crate::format::{ADAPTER_CONFIG, CARD, CORPUS, EVALUATION, FACTS, LICENSE, NOTICE, RECIPE};
use crate::manifest::Manifest;
use crate::signature::PublicKey;
use crate::verify::{Base, Verified};
use crate::weights::Weights;

/// Whether the members agree with the manifest, with each other and with the base.
pub(crate) fn check_meaning(
    manifest: Manifest,
    manifest_sha256: String,
    signer: Option<PublicKey>,
    content: &Content,
    base: Option<&Base>,
) -> Result<Verified, Problem> {
    let Content { texts, weights, router } = content;
    for name in [LICENSE, NOTICE, CARD, RECIPE, ADAPTER_CONFIG, FACTS, CORPUS, EVALUATION] {
        texts.text(name)?;
    }
    let layout = adapter_layout(texts.text(ADAPTER_CONFIG)?, weights)?;
    let facts =
        Facts::parse(Path::new(FACTS), texts.bytes(FACTS)).map_err(|error| Problem::Refused(error.to_string()))?;
    let stated = weights.metadata.get("lore.base");
    let fingerprint = manifest.base.fingerprint;
    let mut problems = Vec::new();
    if facts.base != Some(fingerprint) {
        let found = facts.base.map_or_else(|| "no base".to_owned(), |base| base.to_string());
        problems.push(format!("`{FACTS}` names {found}, the manifest {fingerprint}"));
    }
    if stated.is_some_and(|stated| *stated != fingerprint.to_string()) {
        problems.push(format!("the weights name another base than the manifest, {fingerprint}"));
    }
    let mut same = |what: &str, said: &dyn std::fmt::Display, found: &dyn std::fmt::Display| {
        let (said, found) = (said.to_string(), found.to_string());
        if said != found {
            problems.push(format!("the manifest says {what} {said}, the adapter has {found}"));
        }
    };
    same("rank", &manifest.rank, &layout.rank());
    same("targets", &manifest.targets.join(", "), &layout.targets().join(", "));
    same("dtype", &manifest.dtype, &weights.dtype);
    same("parameters", &manifest.parameters, &layout.parameter_count());
    if !problems.is_empty() {
        return Problem::refused(problems.join("; "));
    }
    if let Some(router) = router {
        crate::router::check(router, &fingerprint, base)?;
    }
    let corpus: Corpus = read_canonical(CORPUS, texts.bytes(CORPUS))?;
    refuse_if(CORPUS, &corpus.problems())?;
    let evaluation: Evaluation = serde_json::from_slice(texts.bytes(EVALUATION))
        .map_err(|error| Problem::Refused(format!("`{EVALUATION}`: {error}")))?;
    refuse_if(EVALUATION, &evaluation.problems(&manifest.topic, &fingerprint))?;
    let card = texts.text(CARD)?.to_owned();
    if !card.starts_with("---\n") {
        return Problem::refused(format!("`{CARD}` does not begin with the front matter of a model card"));
    }
    if let Some(base) = base {
        if base.fingerprint != fingerprint {
            return Problem::refused(format!("it is made for the base {fingerprint}, not for {}", base.fingerprint));
        }
        layout.check_base(&base.config).map_err(|error| Problem::Refused(error.to_string()))?;
    }
    Ok(Verified { manifest, manifest_sha256, signer, corpus, evaluation, layout, card })
}

/// The adapter's sizes, from its configuration and the header of its weights.
pub(crate) fn adapter_layout(config: &str, weights: &Weights) -> Result<Layout, Problem> {
    let refused = |text: String| Problem::Refused(text);
    let layout =
        Layout::of(Path::new(ADAPTER_CONFIG), config, &weights.tensors).map_err(|error| refused(error.to_string()))?;
    // PEFT imports what this names.
    let keys: serde_json::Value = serde_json::from_str(config).map_err(|error| refused(error.to_string()))?;
    match keys.get("auto_mapping") {
        None | Some(serde_json::Value::Null) => Ok(layout),
        Some(_) => Problem::refused(format!("`{ADAPTER_CONFIG}`: `auto_mapping` names code to import")),
    }
}
