//! Conversations as the text that a model was tuned on: its chat template, rendered.
//!
//! A template is Jinja, as Hugging Face keeps it in `tokenizer_config.json` and GGUF in
//! `tokenizer.chat_template`, and sees what `transformers` gives it: `messages`, `add_generation_prompt`, the special
//! tokens, `raise_exception(message)` and `tojson`. There are no tools and no documents, and `strftime_now` is left
//! undefined, so that the same messages are the same text on every day. Templates are untrusted: they can reach
//! nothing and run with limits.
//!
//! ```
//! use lore_model::chat::{ChatTemplate, Message};
//! use lore_model::tokenizer::TokenizerSettings;
//!
//! let template = "{% for m in messages %}<|{{ m.role }}|>{{ m.content | trim }}\n{% endfor %}";
//! let settings = TokenizerSettings { chat_template: Some(template.into()), ..TokenizerSettings::default() };
//! let chat = ChatTemplate::new(&settings)?;
//! assert_eq!(chat.render(&[Message::new("user", " Hello ")], true)?, "<|user|>Hello\n");
//! # Ok::<(), lore_model::Error>(())
//! ```

use std::io::{self, Write};

use minijinja::value::Kwargs;
use minijinja::{AutoEscape, Environment, ErrorKind, UndefinedBehavior, Value, context};
use serde::{Deserialize, Serialize};
use serde_json::ser::{Formatter, PrettyFormatter};

use crate::error::Error;
use crate::tokenizer::TokenizerSettings;

/// Instructions one rendering may take.
const FUEL: u64 = 20_000_000;
/// Nested calls one rendering may make.
const MAX_RECURSION: usize = 64;
const NAME: &str = "chat";

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Usually `system`, `user` or `assistant`; templates say which they take.
    pub role: String,
    /// What was said.
    pub content: String,
}

impl Message {
    /// A turn.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self { role: role.into(), content: content.into() }
    }
}

/// A model's way of laying out conversations, compiled.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    tokens: Value,
}

impl ChatTemplate {
    /// Compiles the template of a model.
    ///
    /// # Errors
    /// [`Error::Chat`] for a model without one, or one that does not compile.
    pub fn new(settings: &TokenizerSettings) -> Result<Self, Error> {
        let Some(template) = &settings.chat_template else {
            return Err(Error::Chat {
                reason: "the model has none (`chat_template` in tokenizer_config.json, chat_template.jinja or a GGUF's `tokenizer.chat_template`); use a model tuned for conversations".into(),
            });
        };
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Lenient);
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        environment.set_keep_trailing_newline(false);
        environment.set_fuel(Some(FUEL));
        environment.set_recursion_limit(MAX_RECURSION);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", |message: String| -> Result<Value, minijinja::Error> {
            Err(minijinja::Error::new(ErrorKind::InvalidOperation, message))
        });
        environment.add_filter("tojson", to_json);
        environment.add_template_owned(NAME, template.clone()).map_err(|error| refused(&error))?;
        // `{{ bos_token }}` of a model without one is nothing.
        let token = |token: &Option<String>| token.as_deref().map_or(Value::UNDEFINED, Value::from);
        let tokens = context! {
            bos_token => token(&settings.bos_token),
            eos_token => token(&settings.eos_token),
            unk_token => token(&settings.unk_token),
            pad_token => token(&settings.pad_token),
        };
        Ok(Self { environment, tokens })
    }

    /// The text of a conversation; with `add_generation_prompt` it ends where the model is to answer.
    ///
    /// The text holds the special tokens written out, the first one included where the template puts it there:
    /// encode it without adding any.
    ///
    /// # Errors
    /// [`Error::Chat`] with what the template says, for example about an order of roles that it does not take.
    pub fn render(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String, Error> {
        let template = self.environment.get_template(NAME).map_err(|error| refused(&error))?;
        let context = context! { messages, add_generation_prompt, ..self.tokens.clone() };
        template.render(context).map_err(|error| refused(&error))
    }
}

/// JSON as `json.dumps(value, ensure_ascii=False, indent=indent)` of Python writes it, without the escapes for HTML.
fn to_json(value: &Value, options: Kwargs) -> Result<String, minijinja::Error> {
    let indent: Option<usize> = options.get("indent")?;
    options.assert_all_used()?;
    let mut bytes = Vec::new();
    let written = match indent {
        Some(indent) => {
            let indent = " ".repeat(indent.min(16));
            let pretty = PrettyFormatter::with_indent(indent.as_bytes());
            value.serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, pretty))
        }
        None => value.serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, Spaced)),
    };
    let failed = |error: String| minijinja::Error::new(ErrorKind::BadSerialization, error);
    written.map_err(|error| failed(error.to_string()))?;
    String::from_utf8(bytes).map_err(|error| failed(error.to_string()))
}

/// A space after every comma and colon.
struct Spaced;

impl Formatter for Spaced {
    fn begin_array_value<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }
}

fn refused(error: &minijinja::Error) -> Error {
    let mut reason = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        reason.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    Error::Chat { reason }
}
