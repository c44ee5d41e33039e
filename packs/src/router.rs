//! What must hold of a router entry, whichever router made it.

use lore_model::fingerprint::Fingerprint;

use crate::error::Problem;
use crate::format::ROUTER;
use crate::verify::Base;
use crate::weights::Weights;

/// The tensor that every entry has: the mean of the topic's states, `[hidden]`.
const CENTROID: &str = "centroid";
/// Log odds by hashed token: the one tensor that is not as wide as the base.
const WORDS: &str = "words";
const BASE_KEY: &str = "lore.base";

/// Checks an entry's sizes and base; that its values are finite is known.
pub(crate) fn check(entry: &Weights, fingerprint: &Fingerprint, base: Option<&Base>) -> Result<(), Problem> {
    let refused = |text: String| Problem::refused(format!("`{ROUTER}`: {text}"));
    if entry.dtype != "F32" {
        return refused(format!("values of type {}; only F32 is allowed", entry.dtype));
    }
    let Some([width]) = entry.tensors.get(CENTROID).map(|tensor| &tensor.shape[..]) else {
        return refused(format!("it has no `{CENTROID}` of one dimension"));
    };
    let odd = entry.tensors.iter().find(|(name, tensor)| *name != WORDS && tensor.shape.last() != Some(width));
    if let Some((name, tensor)) = odd {
        return refused(format!("`{name}` has the shape {:?}; rows of {width} were expected", tensor.shape));
    }
    if let Some(stated) = entry.metadata.get(BASE_KEY).filter(|stated| **stated != fingerprint.to_string()) {
        return refused(format!("it was made for the base {stated}, the module for {fingerprint}"));
    }
    match base.map(|base| base.config.hidden_size) {
        Some(hidden) if hidden != *width => refused(format!("it is {width} wide; the states of the base are {hidden}")),
        _ => Ok(()),
    }
}
