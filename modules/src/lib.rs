//! A LoRA module as a thing: its files and whether it belongs to a base.
//!
//! A PEFT folder comes in, an [`adapter::Adapter`] with updates by projection comes out, and back.
//!
//! ```no_run
//! use lore_model::save::StoredType;
//! use lore_modules::peft;
//!
//! let module = peft::read("geography".as_ref())?;
//! println!("{} updates, {} values", module.updates.len(), module.parameter_count());
//! peft::write("copy".as_ref(), &module, StoredType::Bf16)?;
//! # Ok::<(), lore_modules::Error>(())
//! ```

pub mod activate;
pub mod adapter;
pub mod compose;
pub mod config;
pub mod delta;
pub mod error;
pub mod extract;
pub mod fold;
pub mod gguf;
pub mod inspect;
pub mod layout;
pub mod null;
pub mod on_demand;
pub mod peft;

pub use activate::{LoadedModule, activate};
pub use adapter::{Adapter, LowRank};
pub use config::AdapterConfig;
pub use error::Error;
pub use layout::Layout;
