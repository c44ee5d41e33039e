//! `POST /v1/completions`.

use serde_json::{Value, json};

use super::answer::{Head, usage};
use super::error::ApiError;
use super::parameters::{Body, MOST_CHOICES, Parameters};
use super::run::{Request, Run};
use super::{Service, Trouble, finish_name};
use crate::base::Base;
use crate::engine::{Finish, TokenScore};
use crate::http::Responder;

/// Tokens written where a request does not say how many.
const MAX_TOKENS: usize = 16;

/// A prompt as it was given.
struct Prompt {
    tokens: Vec<u32>,
    /// What `echo` repeats.
    text: String,
    /// The token that begins a text and is not part of what was given.
    hidden: usize,
}

struct Completion {
    parameters: Parameters,
    prompts: Vec<Prompt>,
    max_tokens: usize,
    alternatives: Option<usize>,
    echo: bool,
}

impl Completion {
    fn read(body: &Body, service: &Service) -> Result<Self, ApiError> {
        let parameters = Parameters::read(body, service.random())?;
        body.refuse(&["suffix"])?;
        let max_tokens = body.count("max_tokens", 0, u64::from(u32::MAX))?.unwrap_or(MAX_TOKENS);
        if body.count("best_of", 1, 128)?.is_some_and(|best_of| best_of != parameters.choices) {
            return Err(ApiError::bad(Some("best_of"), "`best_of` other than `n` is not supported by this server"));
        }
        let prompts = read_prompts(body, service.engine.base())?;
        if prompts.len() * parameters.choices > MOST_CHOICES {
            let message = format!(
                "{} prompts with {} choices each; at most {MOST_CHOICES} together",
                prompts.len(),
                parameters.choices
            );
            return Err(ApiError::bad(Some("prompt"), message));
        }
        let context = service.engine.config().context;
        if let Some(prompt) = prompts.iter().find(|prompt| prompt.tokens.len() + max_tokens > context) {
            return Err(ApiError::too_long(prompt.tokens.len(), max_tokens, context));
        }
        let echo = body.read("echo", "true or false")?.unwrap_or(false);
        Ok(Self { parameters, prompts, max_tokens, alternatives: body.alternatives("logprobs")?, echo })
    }
}

fn read_prompts(body: &Body, base: &Base) -> Result<Vec<Prompt>, ApiError> {
    let wrong = || {
        ApiError::bad(
            Some("prompt"),
            "`prompt` is not text, a list of texts, a list of token numbers, or a list of such lists",
        )
    };
    let of_text = |text: &str| {
        let tokens = base.text_tokens(text).map_err(|message| ApiError::bad(Some("prompt"), message))?;
        Ok(Prompt { tokens, text: text.to_owned(), hidden: 1 })
    };
    let vocabulary = base.decoder.config.vocab_size as u64;
    let of_tokens = |list: &[Value]| {
        let token = |value: &Value| {
            let token = value.as_u64().ok_or_else(wrong)?;
            let known = (token < vocabulary).then_some(token as u32);
            known.ok_or_else(|| {
                ApiError::bad(
                    Some("prompt"),
                    format!("the prompt has token {token}, but the vocabulary only {vocabulary}"),
                )
            })
        };
        let tokens: Vec<u32> = list.iter().map(token).collect::<Result<_, _>>()?;
        if tokens.is_empty() {
            return Err(ApiError::bad(Some("prompt"), "a prompt has no tokens; give at least one to continue from"));
        }
        let text = base.tokenizer.decode(&tokens, false).unwrap_or_default();
        Ok(Prompt { tokens, text, hidden: 0 })
    };
    match body.get("prompt") {
        None => Err(ApiError::bad(Some("prompt"), "`prompt` is missing")),
        Some(Value::String(text)) => Ok(vec![of_text(text)?]),
        Some(Value::Array(list)) if list.is_empty() => Err(ApiError::bad(Some("prompt"), "`prompt` is an empty list")),
        Some(Value::Array(list)) if list[0].is_number() => Ok(vec![of_tokens(list)?]),
        // Before any of them is made tokens: a body of empty texts would take many times its own memory.
        Some(Value::Array(list)) if list.len() > MOST_CHOICES => {
            let message = format!("`prompt` is a list of {} prompts; at most {MOST_CHOICES} are taken", list.len());
            Err(ApiError::bad(Some("prompt"), message))
        }
        Some(Value::Array(list)) => {
            let one = |value: &Value| match value {
                Value::String(text) => of_text(text),
                Value::Array(tokens) => of_tokens(tokens),
                _ => Err(wrong()),
            };
            list.iter().map(one).collect()
        }
        Some(_) => Err(wrong()),
    }
}

/// Log-probabilities in the form of this interface, and where in the text they are.
#[derive(Default)]
struct Scores {
    tokens: Vec<String>,
    token_logprobs: Vec<Value>,
    top_logprobs: Vec<Value>,
    text_offset: Vec<usize>,
    /// Characters of text before the next token.
    offset: usize,
}

impl Scores {
    /// A token of which nothing is said, for nothing comes before it.
    fn push_first(&mut self, base: &Base, token: u32) {
        self.push_text(base.token_text(token));
        self.token_logprobs.push(Value::Null);
        self.top_logprobs.push(Value::Null);
    }

    fn push(&mut self, base: &Base, score: &TokenScore) {
        let mut top = serde_json::Map::new();
        // Tokens with the same text: the likelier one.
        for (token, value) in score.alternatives.iter().chain([&(score.token, score.log_probability)]) {
            top.entry(base.token_text(*token)).or_insert_with(|| json!(value));
        }
        self.push_text(base.token_text(score.token));
        self.token_logprobs.push(json!(score.log_probability));
        self.top_logprobs.push(Value::Object(top));
    }

    fn push_text(&mut self, text: String) {
        self.text_offset.push(self.offset);
        self.offset += text.chars().count();
        self.tokens.push(text);
    }

    /// What there is so far, which is not given again.
    fn take(&mut self) -> Value {
        let found = std::mem::replace(self, Self { offset: self.offset, ..Self::default() });
        json!({
            "tokens": found.tokens, "token_logprobs": found.token_logprobs, "top_logprobs": found.top_logprobs,
            "text_offset": found.text_offset,
        })
    }
}

/// One choice of the answer.
#[derive(Default)]
struct Choice {
    text: String,
    scores: Scores,
    tokens: usize,
    finish: Option<Finish>,
}

impl Choice {
    /// What is new of it, as JSON.
    fn take(&mut self, index: usize, wants_scores: bool) -> Value {
        json!({
            "index": index,
            "text": std::mem::take(&mut self.text),
            "logprobs": if wants_scores { self.scores.take() } else { Value::Null },
            "finish_reason": self.finish.map(finish_name),
        })
    }
}

/// Answers a request.
///
/// # Errors
/// What is wrong with it, if nothing has been sent yet; writing.
pub(super) fn completions(service: &Service, body: &[u8], out: &mut Responder<'_>) -> Result<(), Trouble> {
    let asked = Completion::read(&Body::parse(body)?, service)?;
    let base = service.engine.base();
    let request = Request {
        prompts: asked.prompts.iter().map(|prompt| prompt.tokens.clone()).collect(),
        max_tokens: asked.max_tokens,
        alternatives: asked.alternatives,
        score_prompts: asked.echo && asked.alternatives.is_some(),
    };
    let client = out.client();
    let alive = || client.is_there();
    let mut run = Run::start(&service.engine, &asked.parameters, request, &alive)?;
    let head = Head::new("cmpl", "text_completion", service, &asked.parameters, run.started.as_ref());
    let each = asked.parameters.choices;
    let prompt_of = |index: usize| &asked.prompts[index / each];
    let count = asked.prompts.len() * each;
    let mut choices: Vec<Choice> = (0..count).map(|_| Choice::default()).collect();
    let scored = asked.alternatives.is_some();
    if asked.echo {
        for (index, choice) in choices.iter_mut().enumerate() {
            choice.text.push_str(&prompt_of(index).text);
        }
    }
    if asked.parameters.stream {
        out.start_events()?;
    }
    loop {
        let update = match run.next(&alive) {
            Ok(Some(update)) => update,
            Ok(None) => break,
            Err(error) if asked.parameters.stream => {
                out.event(&error.body().to_string())?;
                return Ok(out.end_events()?);
            }
            Err(error) => return Err(error.into()),
        };
        let choice = &mut choices[update.index];
        if let Some(scores) = update.prompt {
            let prompt = prompt_of(update.index);
            if prompt.hidden == 0 {
                choice.scores.push_first(base, prompt.tokens[0]);
            }
            scores.iter().for_each(|score| choice.scores.push(base, score));
        }
        choice.text.push_str(&update.text);
        choice.tokens += usize::from(update.token);
        if let Some(score) = &update.score {
            choice.scores.push(base, score);
        }
        choice.finish = update.finish;
        let news = !choice.text.is_empty() || !choice.scores.tokens.is_empty() || choice.finish.is_some();
        if asked.parameters.stream && news {
            let piece = choice.take(update.index, scored);
            out.event(&head.with_choices(vec![piece]).to_string())?;
        }
    }
    let prompt_tokens: usize = asked.prompts.iter().map(|prompt| prompt.tokens.len() - prompt.hidden).sum();
    let usage = usage(prompt_tokens, choices.iter().map(|choice| choice.tokens).sum(), run.started.as_ref());
    if asked.parameters.stream {
        if asked.parameters.include_usage {
            out.event(&head.with_usage(Vec::new(), usage).to_string())?;
        }
        out.event("[DONE]")?;
        return Ok(out.end_events()?);
    }
    let choices = choices.iter_mut().enumerate().map(|(index, choice)| choice.take(index, scored)).collect();
    Ok(out.json(200, &head.with_usage(choices, usage))?)
}
