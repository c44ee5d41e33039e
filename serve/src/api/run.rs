//! The choices of one request while they are being written.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

use lore_model::sampling::Random;

use super::error::ApiError;
use super::parameters::Parameters;
use crate::base::Base;
use crate::engine::{Engine, Event, Finish, Job, Started, TokenScore};
use crate::stops::Stops;

/// How often it is looked whether the client is still there.
const LOOK: Duration = Duration::from_millis(250);

/// What is wanted beside the [`Parameters`].
pub struct Request {
    /// Each with at least one token.
    pub prompts: Vec<Vec<u32>>,
    /// Tokens to write at most.
    pub max_tokens: usize,
    /// Scores of tokens, with so many alternatives.
    pub alternatives: Option<usize>,
    /// Whether prompts are scored.
    pub score_prompts: bool,
}

/// Choices being written; dropping it ends them.
pub struct Run<'a> {
    receiver: Receiver<(usize, Event)>,
    choices: Vec<Choice<'a>>,
    /// The modules, once they are known.
    pub started: Option<Started>,
    first: Option<(usize, Event)>,
}

struct Choice<'a> {
    cancelled: Arc<AtomicBool>,
    decode: Box<dyn FnMut(u32) -> Result<Option<String>, String> + 'a>,
    stops: Stops,
    ended: bool,
}

/// What is new of a choice.
#[derive(Debug, Default)]
pub struct Update {
    /// Which choice: prompt `index / choices`.
    pub index: usize,
    /// Scores of its prompt.
    pub prompt: Option<Vec<TokenScore>>,
    /// Text that is certain.
    pub text: String,
    /// A token was drawn.
    pub token: bool,
    /// What the model said of it, or of the one that ended the text.
    pub score: Option<TokenScore>,
    /// It has ended.
    pub finish: Option<Finish>,
}

impl<'a> Run<'a> {
    /// Hands the request in and waits until the first of its choices begins.
    ///
    /// # Errors
    /// When the engine refuses it; a client that has gone.
    pub fn start(
        engine: &'a Engine,
        parameters: &Parameters,
        request: Request,
        alive: &dyn Fn() -> bool,
    ) -> Result<Self, ApiError> {
        let base = engine.base();
        let (sender, receiver) = mpsc::channel();
        let (mut jobs, mut choices) = (Vec::new(), Vec::new());
        for prompt in request.prompts {
            for _ in 0..parameters.choices {
                let cancelled = Arc::new(AtomicBool::new(false));
                let index = jobs.len();
                jobs.push(Job {
                    modules: parameters.modules.clone(),
                    prompt: prompt.clone(),
                    max_tokens: request.max_tokens,
                    sampling: parameters.sampling.clone(),
                    random: Random::new(parameters.seed, index as u64),
                    alternatives: request.alternatives,
                    score_prompt: request.score_prompts,
                    events: sender.clone(),
                    index,
                    cancelled: cancelled.clone(),
                });
                let (decode, stops) = (decoding(base), Stops::new(parameters.stops.clone()));
                choices.push(Choice { cancelled, decode, stops, ended: false });
            }
        }
        drop(sender);
        engine.submit(jobs)?;
        let mut run = Self { receiver, choices, started: None, first: None };
        // Nothing is sent to the client before it is known whether there is something to send.
        match run.receive(alive)? {
            (_, Event::Started(started)) => run.started = Some(started),
            (_, Event::Failed(failure)) => return Err(failure.into()),
            other => run.first = Some(other),
        }
        Ok(run)
    }

    /// What comes next; nothing when all choices have ended.
    ///
    /// # Errors
    /// A choice that failed; a client that has gone.
    pub fn next(&mut self, alive: &dyn Fn() -> bool) -> Result<Option<Update>, ApiError> {
        while self.choices.iter().any(|choice| !choice.ended) {
            let (index, event) = match self.first.take() {
                Some(first) => first,
                None => self.receive(alive)?,
            };
            let choice = &mut self.choices[index];
            if choice.ended {
                continue;
            }
            let mut update = Update { index, ..Update::default() };
            match event {
                Event::Started(_) => continue,
                Event::Failed(failure) => return Err(failure.into()),
                Event::Prompt(scores) => update.prompt = Some(scores),
                Event::Token(token, score) => {
                    let text = (choice.decode)(token).map_err(|message| ApiError::http(500, "internal", message))?;
                    let (text, stopped) = choice.stops.push(&text.unwrap_or_default());
                    (update.text, update.token, update.score) = (text, true, score);
                    if stopped {
                        choice.end();
                        update.finish = Some(Finish::Stop);
                    }
                }
                Event::Done(finish, score) => {
                    update.score = score;
                    update.text = choice.stops.finish();
                    choice.end();
                    update.finish = Some(finish);
                }
            }
            return Ok(Some(update));
        }
        Ok(None)
    }

    fn receive(&mut self, alive: &dyn Fn() -> bool) -> Result<(usize, Event), ApiError> {
        loop {
            match self.receiver.recv_timeout(LOOK) {
                Ok(event) => return Ok(event),
                Err(RecvTimeoutError::Timeout) if alive() => {}
                Err(RecvTimeoutError::Timeout) => return Err(ApiError::http(499, "gone", "the client has gone")),
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(ApiError::http(500, "internal", "the server lost this request; look at its log"));
                }
            }
        }
    }
}

impl Drop for Run<'_> {
    fn drop(&mut self) {
        self.choices.iter_mut().for_each(Choice::end);
    }
}

impl Choice<'_> {
    fn end(&mut self) {
        self.ended = true;
        self.cancelled.store(true, Ordering::Relaxed);
    }
}

/// Tokens to pieces of text, each as soon as its bytes are whole.
fn decoding(base: &Base) -> Box<dyn FnMut(u32) -> Result<Option<String>, String> + '_> {
    let mut stream = base.tokenizer.decode_stream(true);
    Box::new(move |token| stream.step(token).map_err(|error| format!("the tokenizer: {error}")))
}
