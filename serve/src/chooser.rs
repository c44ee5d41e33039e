//! Who picks the modules when a request leaves it open.

use lore_model::Decoder;
use lore_modules::on_demand::ModuleSet;

/// Picks modules for a prompt.
pub trait Chooser: Send {
    /// The modules for a prompt's tokens; none of them if the base alone is best.
    ///
    /// # Errors
    /// A sentence for whoever asked.
    fn choose(&mut self, base: &Decoder, prompt: &[u32]) -> Result<ModuleSet, String>;
}

/// What a request says about modules.
#[derive(Debug, Clone, PartialEq)]
pub enum Wanted {
    /// These.
    Set(ModuleSet),
    /// Whichever the [`Chooser`] picks.
    Auto,
}

impl Wanted {
    /// Reads the name of a model: `base`, `base+NAME[=WEIGHT]+..`, `auto`.
    ///
    /// # Errors
    /// A name of another form; one sentence.
    pub fn parse(model: &str) -> Result<Self, String> {
        if model == "auto" {
            return Ok(Self::Auto);
        }
        match model.strip_prefix("base") {
            Some("") => Ok(Self::Set(ModuleSet::none())),
            Some(rest) if rest.starts_with('+') => Ok(Self::Set(ModuleSet::parse(&rest[1..], '+')?)),
            _ => Err("expected `base`, `base+MODULE`, `base+MODULE=WEIGHT+MODULE` or `auto`".to_owned()),
        }
    }
}

/// The name of the model that a set makes of the base.
pub fn model_name(set: &ModuleSet) -> String {
    if set.is_empty() { "base".to_owned() } else { format!("base+{set}") }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{Wanted, model_name};

    #[test]
    fn model_names_choose_modules() {
        let name = |text: &str| match Wanted::parse(text).unwrap() {
            Wanted::Set(set) => model_name(&set),
            Wanted::Auto => "auto".to_owned(),
        };
        for (text, expected) in [
            ("base", "base"),
            ("auto", "auto"),
            ("base+rivers", "base+rivers"),
            ("base+rivers=0.5+hills", "base+hills+rivers=0.5"),
            ("base+rivers=-1", "base+rivers=-1"),
        ] {
            assert_eq!(name(text), expected);
        }
        for text in ["", "gpt", "rivers", "basement", "base+", "base+a=x", "base+a+a", "auto+a", "base+a=nan"] {
            assert!(Wanted::parse(text).is_err(), "{text}");
        }
    }
}
