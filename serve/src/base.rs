//! The model that answers, and how text and conversations become its tokens.

use lore_model::Decoder;
use tokenizers::Tokenizer;

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// Who speaks: `system`, `user` or `assistant`.
    pub role: String,
    /// What is said.
    pub content: String,
}

/// Lays a conversation out as the text that the answer continues; a sentence says why it cannot.
pub type Layout = Box<dyn Fn(&[Turn]) -> Result<String, String> + Send + Sync>;

/// A base without modules.
pub struct Base {
    /// Its weights.
    pub decoder: Decoder,
    /// Text to tokens and back.
    pub tokenizer: Tokenizer,
    /// The token that begins a text.
    pub start: u32,
    /// Tokens that end a text.
    pub stop: Vec<u32>,
    /// What the base is, for people who compare answers.
    pub fingerprint: String,
    /// How conversations are laid out, if the base says so.
    pub layout: Option<Layout>,
}

impl Base {
    /// The tokens of a text from its beginning, [`Base::start`] first, as `lore generate` reads a prompt.
    ///
    /// # Errors
    /// Text that the tokenizer refuses.
    pub fn text_tokens(&self, text: &str) -> Result<Vec<u32>, String> {
        let encoded = self.tokenizer.encode(text, false).map_err(|error| format!("the tokenizer: {error}"))?;
        Ok([&[self.start], encoded.get_ids()].concat())
    }

    /// The tokens of a conversation, up to where the answer begins.
    ///
    /// # Errors
    /// A base without a layout of conversations; turns that the layout does not take.
    pub fn conversation_tokens(&self, turns: &[Turn]) -> Result<Vec<u32>, String> {
        let Some(layout) = &self.layout else {
            return Err("this base says nothing about conversations (it has no chat template)".to_owned());
        };
        let text = layout(turns)?;
        // The layout writes the tokens that begin a text itself.
        let encoded = self.tokenizer.encode(text, false).map_err(|error| format!("the tokenizer: {error}"))?;
        match encoded.get_ids() {
            [] => Ok(vec![self.start]),
            ids => Ok(ids.to_vec()),
        }
    }

    /// The text of one token, with U+FFFD for bytes that are no text alone.
    pub fn token_text(&self, token: u32) -> String {
        // A number that is no token has no text.
        self.tokenizer.decode(&[token], false).unwrap_or_default()
    }
}
