//! Routers on a tiny Llama: what is read, what is chosen, and what files are refused.
#![allow(clippy::unwrap_used)]

mod choice;
mod entry_files;
mod other_ways;
mod topics;
