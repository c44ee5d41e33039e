//! `POST /v1/chat/completions`.

use serde_json::{Value, json};

use super::answer::{Head, usage};
use super::error::ApiError;
use super::parameters::{Body, Parameters};
use super::run::{Request, Run};
use super::{Service, Trouble, finish_name};
use crate::base::{Base, Turn};
use crate::engine::{Finish, TokenScore};
use crate::http::Responder;

/// Settings that would change the text if they were known here.
const UNKNOWN: [&str; 5] = ["tools", "functions", "tool_choice", "function_call", "audio"];

struct Chat {
    parameters: Parameters,
    prompt: Vec<u32>,
    max_tokens: usize,
    alternatives: Option<usize>,
}

impl Chat {
    fn read(body: &Body, service: &Service) -> Result<Self, ApiError> {
        let parameters = Parameters::read(body, service.random())?;
        body.refuse(&UNKNOWN)?;
        let turns = read_turns(body)?;
        let base = service.engine.base();
        let prompt = base.conversation_tokens(&turns).map_err(|problem| ApiError::bad(Some("messages"), problem))?;
        let context = service.engine.config().context;
        let asked = match body.count("max_completion_tokens", 1, u64::from(u32::MAX))? {
            None => body.count("max_tokens", 1, u64::from(u32::MAX))?,
            given => given,
        };
        // As much as there is room for, where a request does not say.
        let max_tokens = asked.unwrap_or_else(|| context.saturating_sub(prompt.len()).max(1));
        if prompt.len() + max_tokens > context {
            return Err(ApiError::too_long(prompt.len(), max_tokens, context));
        }
        let top = body.alternatives("top_logprobs")?;
        let wanted = body.read::<bool>("logprobs", "true or false")?.unwrap_or(false);
        if top.is_some() && !wanted {
            return Err(ApiError::bad(Some("top_logprobs"), "`top_logprobs` needs `logprobs` to be true"));
        }
        Ok(Self { parameters, prompt, max_tokens, alternatives: wanted.then(|| top.unwrap_or(0)) })
    }
}

fn read_turns(body: &Body) -> Result<Vec<Turn>, ApiError> {
    let wrong = |problem: String| ApiError::bad(Some("messages"), problem);
    let messages = match body.get("messages") {
        Some(Value::Array(messages)) if !messages.is_empty() => messages,
        Some(_) => return Err(wrong("`messages` is not a list of at least one message".to_owned())),
        None => return Err(wrong("`messages` is missing".to_owned())),
    };
    let one = |(number, message): (usize, &Value)| {
        let role = match message.get("role").and_then(Value::as_str) {
            Some("developer") => "system",
            Some(role @ ("system" | "user" | "assistant")) => role,
            _ => return Err(wrong(format!("message {number} has no role out of system, user and assistant"))),
        };
        let content = match message.get("content") {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Array(parts)) => parts
                .iter()
                .map(|part| part.get("text").and_then(Value::as_str))
                .collect::<Option<String>>()
                .ok_or_else(|| wrong(format!("message {number} has parts that are not text")))?,
            _ => return Err(wrong(format!("message {number} has no text as its content"))),
        };
        Ok(Turn { role: role.to_owned(), content })
    };
    messages.iter().enumerate().map(one).collect()
}

#[derive(Default)]
struct Choice {
    text: String,
    scores: Vec<Value>,
    tokens: usize,
    finish: Option<Finish>,
}

impl Choice {
    fn scores(&mut self, wanted: bool) -> Value {
        let scores = std::mem::take(&mut self.scores);
        if wanted { json!({ "content": scores }) } else { Value::Null }
    }

    /// The whole message.
    fn whole(&mut self, index: usize, scored: bool) -> Value {
        json!({
            "index": index,
            "message": { "role": "assistant", "content": std::mem::take(&mut self.text) },
            "logprobs": self.scores(scored),
            "finish_reason": self.finish.map(finish_name),
        })
    }

    /// What is new of it.
    fn piece(&mut self, index: usize, scored: bool) -> Value {
        let mut delta = serde_json::Map::new();
        if !self.text.is_empty() {
            delta.insert("content".to_owned(), std::mem::take(&mut self.text).into());
        }
        json!({ "index": index, "delta": delta, "logprobs": self.scores(scored), "finish_reason": self.finish.map(finish_name) })
    }
}

fn score_json(base: &Base, score: &TokenScore) -> Value {
    let one = |token: u32, value: f64| {
        let text = base.token_text(token);
        json!({ "token": text, "logprob": value, "bytes": text.as_bytes() })
    };
    let mut said = one(score.token, score.log_probability);
    said["top_logprobs"] = score.alternatives.iter().map(|(token, value)| one(*token, *value)).collect();
    said
}

/// Answers a request.
///
/// # Errors
/// What is wrong with it, if nothing has been sent yet; a client that has gone.
pub(super) fn chat_completions(service: &Service, body: &[u8], out: &mut Responder<'_>) -> Result<(), Trouble> {
    let asked = Chat::read(&Body::parse(body)?, service)?;
    let (parameters, scored) = (&asked.parameters, asked.alternatives.is_some());
    let prompt_tokens = asked.prompt.len();
    let request = Request {
        prompts: vec![asked.prompt],
        max_tokens: asked.max_tokens,
        alternatives: asked.alternatives,
        score_prompts: false,
    };
    let client = out.client();
    let alive = || client.is_there();
    let mut run = Run::start(&service.engine, parameters, request, &alive)?;
    let object = if parameters.stream { "chat.completion.chunk" } else { "chat.completion" };
    let head = Head::new("chatcmpl", object, service, parameters, run.started.as_ref());
    let mut choices: Vec<Choice> = (0..parameters.choices).map(|_| Choice::default()).collect();
    if parameters.stream {
        out.start_events()?;
        for index in 0..choices.len() {
            let delta = json!({ "role": "assistant", "content": "" });
            let first = json!({ "index": index, "delta": delta, "logprobs": null, "finish_reason": null });
            out.event(&head.with_choices(vec![first]).to_string())?;
        }
    }
    loop {
        let update = match run.next(&alive) {
            Ok(Some(update)) => update,
            Ok(None) => break,
            Err(error) if parameters.stream => {
                out.event(&error.body().to_string())?;
                return Ok(out.end_events()?);
            }
            Err(error) => return Err(error.into()),
        };
        let choice = &mut choices[update.index];
        choice.text.push_str(&update.text);
        choice.tokens += usize::from(update.token);
        // The token that ends a message is no part of it.
        if let Some(score) = update.score.as_ref().filter(|_| update.token) {
            choice.scores.push(score_json(service.engine.base(), score));
        }
        choice.finish = update.finish;
        let news = !choice.text.is_empty() || !choice.scores.is_empty() || choice.finish.is_some();
        if parameters.stream && news {
            out.event(&head.with_choices(vec![choice.piece(update.index, scored)]).to_string())?;
        }
    }
    let written = choices.iter().map(|choice| choice.tokens).sum();
    let usage = usage(prompt_tokens, written, run.started.as_ref());
    if parameters.stream {
        if parameters.include_usage {
            out.event(&head.with_usage(Vec::new(), usage).to_string())?;
        }
        out.event("[DONE]")?;
        return Ok(out.end_events()?);
    }
    let choices = choices.iter_mut().enumerate().map(|(index, choice)| choice.whole(index, scored)).collect();
    Ok(out.json(200, &head.with_usage(choices, usage))?)
}
