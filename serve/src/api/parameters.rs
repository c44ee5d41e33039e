//! What both kinds of request say about the text that is wanted.

use lore_model::sampling::Sampling;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::error::ApiError;
use crate::chooser::Wanted;

/// Most choices of one request, over all prompts.
pub const MOST_CHOICES: usize = 128;
/// Most alternatives for each token.
const MOST_ALTERNATIVES: u64 = 20;
const MOST_STOPS: usize = 16;

/// A request's body.
pub struct Body(Map<String, Value>);

/// What is common to completions and chat completions, checked.
#[derive(Debug)]
pub struct Parameters {
    /// The modules.
    pub modules: Wanted,
    /// The model as it was named.
    pub model: String,
    /// How tokens are drawn.
    pub sampling: Sampling,
    /// Of the random draws; choice `i` draws from stream `i`.
    pub seed: u64,
    /// Choices for each prompt.
    pub choices: usize,
    /// Strings that end a text.
    pub stops: Vec<String>,
    /// Whether the answer comes in pieces.
    pub stream: bool,
    /// Whether the last piece counts tokens.
    pub include_usage: bool,
}

impl Body {
    /// Reads a JSON object.
    ///
    /// # Errors
    /// Anything else.
    pub fn parse(bytes: &[u8]) -> Result<Self, ApiError> {
        match serde_json::from_slice(bytes) {
            Ok(Value::Object(map)) => Ok(Self(map)),
            Ok(_) => Err(ApiError::bad(None, "the body is JSON, but not an object")),
            Err(error) => Err(ApiError::bad(None, format!("the body is not valid JSON: {error}"))),
        }
    }

    /// A value, if it is there and not null.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0.get(key).filter(|value| !value.is_null())
    }

    /// A value of a type.
    ///
    /// # Errors
    /// A value that is not what is `expected`.
    pub fn read<T: DeserializeOwned>(&self, key: &str, expected: &str) -> Result<Option<T>, ApiError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let wrong = |_| ApiError::bad(Some(key), format!("`{key}` is {}; expected {expected}", shown(value)));
        T::deserialize(value).map(Some).map_err(wrong)
    }

    /// A number in a range.
    ///
    /// # Errors
    /// Anything else.
    pub fn number(&self, key: &str, low: f64, high: f64) -> Result<Option<f64>, ApiError> {
        let expected = format!("a number from {low} to {high}");
        match self.read::<f64>(key, &expected)? {
            Some(number) if !(low..=high).contains(&number) => {
                Err(ApiError::bad(Some(key), format!("`{key}` is {number}; expected {expected}")))
            }
            other => Ok(other),
        }
    }

    /// A whole number in a range.
    ///
    /// # Errors
    /// Anything else.
    pub fn count(&self, key: &str, low: u64, high: u64) -> Result<Option<usize>, ApiError> {
        let expected = format!("a whole number from {low} to {high}");
        match self.read::<u64>(key, &expected)? {
            Some(number) if !(low..=high).contains(&number) => {
                Err(ApiError::bad(Some(key), format!("`{key}` is {number}; expected {expected}")))
            }
            other => Ok(other.map(|number| number as usize)),
        }
    }

    /// Alternatives for each token.
    ///
    /// # Errors
    /// Too many of them.
    pub fn alternatives(&self, key: &str) -> Result<Option<usize>, ApiError> {
        self.count(key, 0, MOST_ALTERNATIVES)
    }

    /// Refuses settings that would change the text if they were known here, unless they change nothing.
    ///
    /// # Errors
    /// The first of them.
    pub fn refuse(&self, keys: &[&str]) -> Result<(), ApiError> {
        let changes_nothing = |key: &str, value: &Value| match value {
            Value::Null | Value::Bool(false) => true,
            // Scores are multiplied by this one; others are added to them, or compared with them.
            Value::Number(number) => number.as_f64() == Some(if key == "repetition_penalty" { 1.0 } else { 0.0 }),
            Value::String(text) => text.is_empty() || text == "none" || text == "text",
            Value::Array(list) => list.is_empty(),
            Value::Object(map) => map.is_empty() || (map.len() == 1 && map.get("type") == Some(&Value::from("text"))),
            Value::Bool(true) => false,
        };
        match keys.iter().find(|key| self.0.get(**key).is_some_and(|value| !changes_nothing(key, value))) {
            Some(key) => Err(ApiError::bad(Some(key), format!("`{key}` is not supported by this server"))),
            None => Ok(()),
        }
    }
}

fn shown(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() > 60 { text.chars().take(60).chain("..".chars()).collect() } else { text }
}

impl Parameters {
    /// Reads them; `random` is the seed where none is given.
    ///
    /// # Errors
    /// The first value that cannot be used.
    pub fn read(body: &Body, random: u64) -> Result<Self, ApiError> {
        body.refuse(&[
            "presence_penalty",
            "frequency_penalty",
            "repetition_penalty",
            "logit_bias",
            "min_p",
            "response_format",
        ])?;
        let model: String = body
            .read("model", "the name of a model")?
            .ok_or_else(|| ApiError::bad(Some("model"), "`model` is missing; GET /v1/models lists what there is"))?;
        let modules = Wanted::parse(&model)
            .map_err(|problem| ApiError::no_model(format!("there is no model `{model}`: {problem}")))?;
        let stops = match body.get("stop") {
            Some(Value::String(stop)) => vec![stop.clone()],
            _ => body.read::<Vec<String>>("stop", "text or a list of texts")?.unwrap_or_default(),
        };
        if stops.len() > MOST_STOPS {
            return Err(ApiError::bad(Some("stop"), format!("`stop` has {} texts; at most {MOST_STOPS}", stops.len())));
        }
        let options = match body.get("stream_options") {
            Some(Value::Object(options)) => options.get("include_usage").and_then(Value::as_bool),
            Some(_) => return Err(ApiError::bad(Some("stream_options"), "`stream_options` is not an object")),
            None => None,
        };
        let temperature = body.number("temperature", 0.0, 100.0)?.unwrap_or(1.0);
        let top_p = body.number("top_p", 0.0, 1.0)?.filter(|&p| p < 1.0);
        Ok(Self {
            modules,
            model,
            sampling: Sampling {
                temperature: temperature as f32,
                top_k: body.count("top_k", 0, 1 << 20)?.filter(|&k| k > 0),
                top_p: top_p.map(|p| p as f32),
            },
            seed: body.read::<i64>("seed", "a whole number")?.map_or(random, |seed| seed as u64),
            choices: body.count("n", 1, MOST_CHOICES as u64)?.unwrap_or(1),
            stops,
            stream: body.read("stream", "true or false")?.unwrap_or(false),
            include_usage: options.unwrap_or(false),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{Body, Parameters};
    use serde_json::{Value, json};

    fn read(value: Value) -> Result<Parameters, String> {
        let body = Body::parse(value.to_string().as_bytes()).unwrap();
        Parameters::read(&body, 5).map_err(|error| {
            let body = error.body();
            format!("{} {}: {}", error.status, body["error"]["param"], body["error"]["message"])
        })
    }

    #[test]
    fn defaults_are_those_of_the_interface() {
        let neutral = json!({
            "model": "base", "stop": null, "top_p": 1, "presence_penalty": 0.0, "repetition_penalty": 1.0,
            "logit_bias": {}, "response_format": { "type": "text" },
        });
        let found = read(neutral).unwrap();
        assert_eq!((found.sampling.temperature, found.sampling.top_p, found.sampling.top_k), (1.0, None, None));
        assert_eq!((found.seed, found.choices, found.stream, found.stops.len()), (5, 1, false, 0));
        let found =
            read(json!({ "model": "base", "stop": "a", "seed": -1, "top_k": 0, "top_p": 0.5, "n": 3 })).unwrap();
        assert_eq!((found.seed, found.choices, found.stops), (u64::MAX, 3, vec!["a".to_owned()]));
        assert_eq!((found.sampling.top_p, found.sampling.top_k), (Some(0.5), None));
    }

    #[test]
    fn every_wrong_value_is_named() {
        for (key, value, expected) in [
            ("model", json!(null), "400 \"model\": `model` is missing"),
            ("model", json!("gpt"), "404 \"model\": there is no model `gpt`: expected `base`"),
            ("model", json!(["base"]), "400 \"model\": `model` is [\"base\"]; expected the name"),
            ("temperature", json!(-1), "400 \"temperature\": `temperature` is -1; expected a number from 0 to 100"),
            ("temperature", json!("hot"), "`temperature` is \"hot\""),
            ("top_p", json!(1.5), "`top_p` is 1.5"),
            ("top_k", json!(1.5), "`top_k` is 1.5; expected a whole number"),
            ("n", json!(0), "`n` is 0; expected a whole number from 1"),
            ("n", json!(100_000), "`n` is 100000"),
            ("seed", json!("x"), "`seed`"),
            ("stop", json!([1]), "`stop` is [1]; expected text or a list of texts"),
            ("stop", json!(vec!["x"; 17]), "`stop` has 17 texts"),
            ("stream", json!("yes"), "`stream` is \"yes\""),
            ("stream_options", json!(1), "`stream_options` is not an object"),
            ("presence_penalty", json!(0.5), "`presence_penalty` is not supported"),
            ("logit_bias", json!({ "5": 1 }), "`logit_bias` is not supported"),
            ("repetition_penalty", json!(1.1), "`repetition_penalty` is not supported"),
        ] {
            let mut body = json!({ "model": "base" });
            body[key] = value;
            let problem = read(body).unwrap_err();
            // The message is quoted in how the error is shown.
            let plain = |text: &str| text.replace(['"', '\\'], "");
            assert!(plain(&problem).contains(&plain(expected)), "{problem}");
        }
        assert!(Body::parse(b"{").is_err() && Body::parse(b"[]").is_err());
    }
}
