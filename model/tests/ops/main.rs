//! Every operation against a naive `f64` computation: values and gradients, over odd shapes.
#![allow(missing_docs, clippy::unwrap_used)]

mod attention;
mod head;
mod layers;
mod oracle;
mod projections;
mod updates;
