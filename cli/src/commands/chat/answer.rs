//! One answer: asked for, written as it comes, and what it cost.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Instant;

use lore_model::sampling::{Random, Sampling};
use lore_serve::engine::{Event, Failure, Job, Started};
use lore_serve::{Engine, model_name};

use super::Conversation;
use crate::error::{Error, Result};
use crate::quantity;
use crate::session::Session;

/// How an answer is drawn.
pub(super) struct Asked {
    pub(super) max_tokens: usize,
    pub(super) sampling: Sampling,
    pub(super) seed: u64,
    /// Answers before it.
    pub(super) number: u64,
}

/// Writes the answer to the last turn to stdout and returns it, or says why there is none.
pub(super) fn answer(
    engine: &Engine,
    conversation: &Conversation,
    asked: Asked,
    session: &Session,
) -> Result<Result<String, String>> {
    let base = engine.base();
    let prompt = match base.conversation_tokens(&conversation.turns) {
        Ok(prompt) => prompt,
        Err(problem) => return Ok(Err(problem)),
    };
    let (length, context) = (prompt.len(), engine.config().context);
    if length >= context {
        let problem =
            format!("the conversation has {length} tokens, and there is room for {context}; /reset begins a new one");
        return Ok(Err(problem));
    }
    let (events, receiver) = mpsc::channel();
    let cancelled = Arc::new(AtomicBool::new(false));
    let job = Job {
        modules: conversation.wanted.clone(),
        prompt,
        max_tokens: asked.max_tokens.min(context - length),
        sampling: asked.sampling,
        random: Random::new(asked.seed, asked.number),
        alternatives: None,
        score_prompt: false,
        events,
        index: 0,
        cancelled: cancelled.clone(),
    };
    engine.submit(vec![job]).map_err(|_| Error::Failed("the model's thread has ended".to_owned()))?;
    let mut stream = base.tokenizer.decode_stream(true);
    let mut out = std::io::stdout().lock();
    let (mut text, mut written, mut first) = (String::new(), 0_u32, None);
    for (_, event) in &receiver {
        match event {
            Event::Started(started) => session.progress.note(&active(&started, length)),
            Event::Failed(failure) => return Ok(Err(reason(failure))),
            Event::Prompt(_) => {}
            Event::Token(token, _) => {
                written += 1;
                first.get_or_insert_with(Instant::now);
                let refused = |error| Error::Failed(format!("the tokenizer: {error}"));
                if let Some(piece) = stream.step(token).map_err(refused)? {
                    // Nobody reads: the rest need not be computed.
                    if out.write_all(piece.as_bytes()).and_then(|()| out.flush()).is_err() {
                        cancelled.store(true, Ordering::Relaxed);
                        return Ok(Err("stdout is closed".to_owned()));
                    }
                    text.push_str(&piece);
                }
            }
            Event::Done(..) => {
                // As above.
                let _ = out.write_all(b"\n").and_then(|()| out.flush());
                session.progress.note(&cost(written, first));
                return Ok(Ok(text));
            }
        }
    }
    Err(Error::Failed("the model's thread has ended".to_owned()))
}

/// `[base+rivers, 9.8 MB, loaded in 12.2 ms; 40 of 52 tokens known]`
fn active(started: &Started, length: usize) -> String {
    let mut text = model_name(&started.set);
    if !started.set.is_empty() {
        text += &format!(", {}", quantity::bytes(started.module_bytes.iter().sum()));
    }
    if started.loaded > 0 {
        text += &format!(", loaded in {:.1} ms", started.took.as_secs_f64() * 1e3);
    }
    format!("[{text}; {} of {length} tokens known]", started.known)
}

/// `[30 tokens, 52.1 tokens/s]`; the first token's time is the reading of the prompt.
fn cost(written: u32, first: Option<Instant>) -> String {
    let rate = first.filter(|_| written > 1).map(|first| f64::from(written - 1) / first.elapsed().as_secs_f64());
    format!("[{written} tokens{}]", rate.map(|rate| format!(", {rate:.1} tokens/s")).unwrap_or_default())
}

fn reason(failure: Failure) -> String {
    match failure {
        Failure::NoModule(text) | Failure::Request(text) | Failure::Internal(text) => text,
        Failure::Stopping => "the program is ending".to_owned(),
    }
}
