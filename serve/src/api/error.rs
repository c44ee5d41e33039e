//! Errors as OpenAI's clients read them.

use serde_json::{Value, json};

use crate::engine::{Failure, Refused};

/// A request that is not answered as it wished.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    /// The HTTP status.
    pub status: u16,
    kind: &'static str,
    code: Option<&'static str>,
    param: Option<String>,
    message: String,
}

impl ApiError {
    /// 400: `param`, if it is one of the body's, has a value that cannot be used.
    pub fn bad(param: Option<&str>, message: impl Into<String>) -> Self {
        let param = param.map(str::to_owned);
        Self { status: 400, kind: "invalid_request_error", code: None, param, message: message.into() }
    }

    /// An error of HTTP itself.
    pub fn http(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        let kind = if status >= 500 { "server_error" } else { "invalid_request_error" };
        Self { status, kind, code: Some(code), param: None, message: message.into() }
    }

    /// 404: there is no such model.
    pub fn no_model(message: impl Into<String>) -> Self {
        Self { param: Some("model".to_owned()), ..Self::http(404, "model_not_found", message) }
    }

    /// 400 for a prompt that is too long.
    pub fn too_long(prompt: usize, max_tokens: usize, context: usize) -> Self {
        let message = format!(
            "the prompt has {prompt} tokens and {max_tokens} are asked for, but this server has room for {context} together"
        );
        Self { param: Some("prompt".to_owned()), ..Self::http(400, "context_length_exceeded", message) }
    }

    /// 500: nothing is computed any more.
    pub fn engine_ended() -> Self {
        Self::http(500, "internal", "the model's thread has ended, which is a defect; look at the server's log")
    }

    /// As a client reads it.
    pub fn body(&self) -> Value {
        json!({ "error": { "message": self.message, "type": self.kind, "param": self.param, "code": self.code } })
    }
}

impl From<Failure> for ApiError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::NoModule(message) => Self::no_model(message),
            Failure::Request(message) => Self::bad(None, message),
            Failure::Internal(message) => Self::http(500, "internal", message),
            Failure::Stopping => Self::http(503, "stopping", "the server is ending"),
        }
    }
}

impl From<Refused> for ApiError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Full => Self::http(503, "overloaded", "too many requests are waiting; try again in a moment"),
            Refused::Stopped => Self::engine_ended(),
        }
    }
}
