//! Who writes.

use std::ops::ControlFlow;

use lore_model::Decoder;
use lore_model::chat::{ChatTemplate, Message};
use lore_model::generate::{Generation, generate};
use lore_model::sampling::Sampling;
use tokenizers::Tokenizer;

use super::Error;

/// One thing that is asked of an author.
#[derive(Debug, Clone, PartialEq)]
pub struct Turn {
    /// The conversation, for an author tuned on conversations.
    pub messages: Vec<Message>,
    /// How the reply begins; the author goes on from there.
    pub beginning: String,
    /// The same as a text to continue, for any other author.
    pub plain: String,
}

/// Writes replies.
pub trait Author {
    /// Names the author, so that nobody goes on with another's work.
    fn name(&self) -> String;

    /// Replies to all turns, without their beginnings, at most `max_tokens` tokens each. The replies follow from the
    /// turns and the seed.
    ///
    /// # Errors
    /// When it cannot.
    fn reply(&self, turns: &[Turn], sampling: &Sampling, max_tokens: usize, seed: u64) -> Result<Vec<String>, Error>;
}

/// A model that writes.
pub struct ModelAuthor<'a> {
    /// Names it: its fingerprint.
    pub name: String,
    /// The model.
    pub decoder: &'a Decoder,
    /// Its tokenizer.
    pub tokenizer: &'a Tokenizer,
    /// How it takes conversations; none continues texts.
    pub chat: Option<ChatTemplate>,
    /// Put before a text to continue.
    pub start: u32,
    /// Tokens that end a reply.
    pub stop: Vec<u32>,
}

impl ModelAuthor<'_> {
    /// The token ids of a turn.
    fn prompt(&self, turn: &Turn) -> Result<Vec<u32>, Error> {
        let encode = |text: &str| {
            let encoding = self.tokenizer.encode(text, false).map_err(|e| Error::Tokenizer(e.to_string()))?;
            Ok(encoding.get_ids().to_vec())
        };
        match &self.chat {
            Some(chat) => encode(&(chat.render(&turn.messages, true)? + &turn.beginning)),
            None => Ok([vec![self.start], encode(&format!("{}{}", turn.plain, turn.beginning))?].concat()),
        }
    }
}

impl Author for ModelAuthor<'_> {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn reply(&self, turns: &[Turn], sampling: &Sampling, max_tokens: usize, seed: u64) -> Result<Vec<String>, Error> {
        let prompts = turns.iter().map(|turn| self.prompt(turn)).collect::<Result<Vec<_>, _>>()?;
        let generation = Generation { max_tokens, sampling: sampling.clone(), seed, stop: self.stop.clone() };
        // One passage of odd characters must not end the work on all others: it gets no reply.
        let room = self.decoder.max_positions().saturating_sub(max_tokens);
        let fits = |prompt: &Vec<u32>| prompt.len() <= room;
        if let Some(shortest) = prompts.iter().map(Vec::len).min().filter(|shortest| *shortest > room) {
            return Err(Error::TooLong { tokens: shortest, room });
        }
        let fitting: Vec<Vec<u32>> = prompts.iter().filter(|prompt| fits(prompt)).cloned().collect();
        let written = generate(self.decoder, &fitting, &generation, |_, _| ControlFlow::Continue(()))?;
        let decode = |ids: &[u32]| self.tokenizer.decode(ids, true).map_err(|e| Error::Tokenizer(e.to_string()));
        let mut written = written.iter();
        let reply = |prompt| {
            if fits(prompt) { written.next().map_or(Ok(String::new()), |ids| decode(ids)) } else { Ok(String::new()) }
        };
        prompts.iter().map(reply).collect()
    }
}
