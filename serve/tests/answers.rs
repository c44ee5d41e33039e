//! What the server answers, against the model itself.
#![allow(missing_docs, clippy::unwrap_used)]

mod bench;

use std::ops::ControlFlow;
use std::sync::Arc;

use bench::{Bench, Options, files};
use lore_model::Decoder;
use lore_model::generate::{Generation, generate};
use lore_model::ops::head::logits;
use lore_model::ops::host::values;
use lore_model::ops::sequences::Sequences;
use lore_model::sampling::Sampling;
use lore_modules::on_demand::ModuleSet;
use lore_serve::{Chooser, EngineConfig};
use serde_json::{Value, json};

/// The greedy continuation of a text by a decoder.
fn continued(bench: &Bench, decoder: &Decoder, prompt: &str, max_tokens: usize) -> String {
    let base = bench.base();
    let prompt = base.text_tokens(prompt).unwrap();
    let how = Generation { max_tokens, sampling: Sampling::greedy(), seed: 0, stop: base.stop.clone() };
    let tokens = generate(decoder, &[prompt], &how, |_, _| ControlFlow::Continue(())).unwrap();
    let mut stream = base.tokenizer.decode_stream(true);
    tokens[0].iter().filter_map(|&token| stream.step(token).unwrap()).collect()
}

/// Log-probabilities `[tokens, vocabulary]` after each token, in `f64`.
fn log_probabilities(decoder: &Decoder, tokens: &[u32]) -> Vec<Vec<f64>> {
    let hidden = decoder.hidden(Arc::new(tokens.to_vec()), Arc::new(Sequences::whole(&[tokens.len()])));
    let rows = values(&logits(hidden, decoder.head()));
    let row = |row: &[f32]| {
        let total: f64 = row.iter().map(|&x| f64::from(x).exp()).sum();
        row.iter().map(|&x| f64::from(x) - total.ln()).collect()
    };
    rows.chunks_exact(rows.len() / tokens.len()).map(row).collect()
}

const SETS: [(&str, &[(&str, f32)]); 5] = [
    ("base", &[]),
    ("base+rivers", &[("rivers", 1.0)]),
    ("base+hills=0.5", &[("hills", 0.5)]),
    ("base+rivers=0.5+hills=-0.25", &[("hills", -0.25), ("rivers", 0.5)]),
    ("base+lakes+hills+rivers=2", &[("hills", 1.0), ("lakes", 1.0), ("rivers", 2.0)]),
];

fn greedy(model: &str, prompt: &str, max_tokens: usize) -> Value {
    json!({ "model": model, "prompt": prompt, "max_tokens": max_tokens, "temperature": 0 })
}

#[test]
fn the_model_name_chooses_the_modules() {
    let bench = Bench::new();
    let server = bench.start(Options::default());
    let mut client = server.client();
    let mut texts = Vec::new();
    for (model, modules) in SETS {
        let answer = client.post("/v1/completions", &greedy(model, "the rain", 24)).ok();
        let text = answer["choices"][0]["text"].as_str().unwrap().to_owned();
        assert_eq!(text, continued(&bench, &bench.with(modules), "the rain", 24), "{model}");
        let named: Vec<(&str, f64)> = answer["modules"]
            .as_array()
            .unwrap()
            .iter()
            .map(|module| (module["name"].as_str().unwrap(), module["weight"].as_f64().unwrap()))
            .collect();
        let expected: Vec<(&str, f64)> = modules.iter().map(|(name, weight)| (*name, f64::from(*weight))).collect();
        assert_eq!(named, expected);
        assert_eq!(answer["object"], "text_completion");
        assert!(answer["usage"]["total_tokens"].as_u64() > answer["usage"]["prompt_tokens"].as_u64());
        texts.push(text);
    }
    texts.sort();
    texts.dedup();
    assert_eq!(texts.len(), SETS.len(), "the modules do nothing");
}

#[test]
fn requests_with_other_modules_at_once_are_what_each_is_alone() {
    let bench = Bench::new();
    let server = bench.start(Options::default());
    let prompts = ["the rain", "once upon a time there was", "1 2 3 4 5 6 7 8 9"];
    std::thread::scope(|scope| {
        for (turn, prompt) in prompts.into_iter().enumerate() {
            for (model, modules) in SETS {
                let (bench, server) = (&bench, &server);
                scope.spawn(move || {
                    let answer = server.post("/v1/completions", &greedy(model, prompt, 20 + turn)).ok();
                    let expected = continued(bench, &bench.with(modules), prompt, 20 + turn);
                    assert_eq!(answer["choices"][0]["text"], expected, "{model} {prompt}");
                });
            }
        }
    });
}

#[test]
fn a_small_cap_makes_requests_wait_but_not_fail() {
    let bench = Bench::new();
    let cap = bench.module_bytes();
    let server = bench.start(Options { cap, ..Options::default() });
    std::thread::scope(|scope| {
        for turn in 0..9 {
            let (bench, server) = (&bench, &server);
            scope.spawn(move || {
                let name = ["hills", "lakes", "rivers"][turn % 3];
                let answer = server.post("/v1/completions", &greedy(&format!("base+{name}"), "the rain", 12)).ok();
                assert_eq!(answer["choices"][0]["text"], continued(bench, &bench.with(&[(name, 1.0)]), "the rain", 12));
            });
        }
    });
    let answer = server.post("/v1/completions", &greedy("base+hills+lakes", "the rain", 12));
    assert_eq!(answer.status, 400, "{}", answer.body);
    assert!(answer.body.contains(&format!("at most {cap} are allowed")), "{}", answer.body);
}

/// What lm-evaluation-harness asks: tokens given back with their log-probabilities, and one more token.
#[test]
fn prompts_are_scored() {
    let bench = Bench::new();
    let server = bench.start(Options::default());
    let tokens: Vec<u32> = (0..40).map(|i| (i * 37 + 11) % 320).collect();
    for (model, modules) in SETS {
        let expected = log_probabilities(&bench.with(modules), &tokens);
        for max_tokens in [0, 1, 3] {
            let body = json!({
                "model": model, "prompt": tokens, "max_tokens": max_tokens, "logprobs": 1, "echo": true,
                "temperature": 0, "seed": 1,
            });
            let answer = server.post("/v1/completions", &body).ok();
            let scores = &answer["choices"][0]["logprobs"];
            let found = scores["token_logprobs"].as_array().unwrap();
            // The token that ends a text counts here, so that the last one is always the written one.
            assert!(found.len() > tokens.len() || max_tokens == 0, "{} {}", found.len(), tokens.len());
            assert!(found.len() <= tokens.len() + max_tokens && found[0].is_null());
            for list in ["tokens", "top_logprobs", "text_offset"] {
                assert_eq!(scores[list].as_array().unwrap().len(), found.len());
            }
            for place in 1..tokens.len() {
                let row = &expected[place - 1];
                let value = found[place].as_f64().unwrap();
                assert!((value - row[tokens[place] as usize]).abs() < 1e-4, "{model} {place}");
                let top = scores["top_logprobs"][place].as_object().unwrap();
                let best = top.values().map(|value| value.as_f64().unwrap()).fold(f64::NEG_INFINITY, f64::max);
                let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                assert!((best - largest).abs() < 1e-4);
                // Whether a token is the most likely one is a comparison of equal numbers.
                let is_best = row[tokens[place] as usize] == largest;
                assert_eq!(value == best, is_best);
            }
            if max_tokens > 0 {
                let written = found[tokens.len()].as_f64().unwrap();
                let largest = expected[tokens.len() - 1].iter().copied().fold(f64::NEG_INFINITY, f64::max);
                assert!((written - largest).abs() < 1e-4, "{written} {largest}");
            }
        }
    }
}

/// A score depends on its prompt alone, to the last bit.
#[test]
fn scores_do_not_depend_on_their_neighbours() {
    let bench = Bench::new();
    let server = bench.start(Options::default());
    let prompts: Vec<Vec<u32>> =
        (1..14).map(|i: u32| (0..i * 9 % 70 + 1).map(|j| (i * 41 + j * j * 7) % 320).collect()).collect();
    let ask = |prompts: &[Vec<u32>], model: &str| {
        let body = json!({ "model": model, "prompt": prompts, "max_tokens": 0, "logprobs": 2, "echo": true });
        let answer = server.post("/v1/completions", &body).ok();
        let choices = answer["choices"].as_array().unwrap().clone();
        choices.into_iter().map(|choice| choice["logprobs"].clone()).collect::<Vec<Value>>()
    };
    for model in ["base", "base+rivers=0.5+hills"] {
        let together = ask(&prompts, model);
        let (first, second) = (ask(&prompts[..5], model), ask(&prompts[5..], model));
        assert_eq!(together, [first, second].concat());
        for (place, prompt) in prompts.iter().enumerate() {
            assert_eq!(ask(std::slice::from_ref(prompt), model)[0], together[place]);
        }
    }
}

#[test]
fn text_prompts_are_repeated_and_scored_from_their_first_token() {
    let bench = Bench::new();
    let server = bench.start(Options::default());
    let body = json!({
        "model": "base", "prompt": ["the rain", ""], "max_tokens": 4, "logprobs": 0, "echo": true, "temperature": 0,
    });
    let answer = server.post("/v1/completions", &body).ok();
    let base = bench.base();
    for (index, prompt) in ["the rain", ""].into_iter().enumerate() {
        let choice = &answer["choices"][index];
        let tokens = base.text_tokens(prompt).unwrap();
        let expected = log_probabilities(&bench.decoder, &tokens);
        let found = choice["logprobs"]["token_logprobs"].as_array().unwrap();
        for place in 1..tokens.len() {
            let value = found[place - 1].as_f64().unwrap();
            assert!((value - expected[place - 1][tokens[place] as usize]).abs() < 1e-4);
        }
        let text = choice["text"].as_str().unwrap();
        assert_eq!(text, format!("{prompt}{}", continued(&bench, &bench.decoder, prompt, 4)));
    }
    let given = base.text_tokens("the rain").unwrap().len() - 1;
    assert_eq!(answer["usage"]["prompt_tokens"], given);
}

/// The name of the first set of modules with which the model, whose weights are random, says as much as this.
fn talkative(bench: &Bench, said: impl Fn(&Decoder) -> String, least: usize) -> (String, Decoder) {
    for weight in [1.0, 0.5, 0.75, 0.25, 0.125] {
        for name in ["lakes", "rivers", "hills"] {
            let decoder = bench.with(&[(name, weight)]);
            if said(&decoder).chars().count() >= least {
                return (format!("base+{name}={weight}"), decoder);
            }
        }
    }
    panic!("no module makes the model say {least} characters");
}

#[test]
fn streams_are_the_answer_in_pieces() {
    let bench = Bench::new();
    let server = bench.start(Options::default());
    let mut client = server.client();
    let (model, _) = talkative(&bench, |decoder| continued(&bench, decoder, "the rain", 20), 12);
    for (extra, count) in [(json!({}), 1), (json!({ "logprobs": 2, "echo": true, "n": 2 }), 2)] {
        let mut body = greedy(&model, "the rain", 20);
        body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        let whole = client.post("/v1/completions", &body).ok();
        body["stream"] = true.into();
        body["stream_options"] = json!({ "include_usage": true });
        let answer = client.post("/v1/completions", &body);
        let mut events = answer.events();
        assert_eq!(events.pop().unwrap(), "[DONE]");
        let events: Vec<Value> = events.iter().map(|event| serde_json::from_str(event).unwrap()).collect();
        let (last, pieces) = events.split_last().unwrap();
        assert_eq!(last["usage"]["completion_tokens"], whole["usage"]["completion_tokens"]);
        assert!(last["choices"].as_array().unwrap().is_empty() && pieces.len() > 3);
        for index in 0..count {
            let own: Vec<&Value> =
                pieces.iter().map(|piece| &piece["choices"][0]).filter(|choice| choice["index"] == index).collect();
            let text: String = own.iter().map(|choice| choice["text"].as_str().unwrap()).collect();
            assert_eq!(text, whole["choices"][index]["text"].as_str().unwrap());
            let scores: Vec<Value> = own
                .iter()
                .flat_map(|choice| choice["logprobs"]["token_logprobs"].as_array().cloned().unwrap_or_default())
                .collect();
            let expected =
                whole["choices"][index]["logprobs"]["token_logprobs"].as_array().cloned().unwrap_or_default();
            // The prompt of the second time is partly known, which rounds otherwise.
            assert_eq!(scores.len(), expected.len());
            for (a, b) in scores.iter().zip(&expected) {
                assert!((a.as_f64().unwrap_or(0.0) - b.as_f64().unwrap_or(0.0)).abs() < 1e-4);
            }
            assert_eq!(own.last().unwrap()["finish_reason"], whole["choices"][index]["finish_reason"]);
            assert!(own[..own.len() - 1].iter().all(|choice| choice["finish_reason"].is_null()));
        }
    }
}

#[test]
fn conversations_are_laid_out_and_answered() {
    let bench = Bench::new();
    let server = bench.start(Options::default());
    let messages = json!([
        { "role": "system", "content": "be short" },
        { "role": "user", "content": [{ "type": "text", "text": "the " }, { "type": "text", "text": "rain" }] },
    ]);
    let base = bench.base();
    let prompt = base.tokenizer.encode("system: be short\nuser: the rain\n", false).unwrap().get_ids().to_vec();
    let how = Generation { max_tokens: 12, sampling: Sampling::greedy(), seed: 0, stop: base.stop.clone() };
    let drawn = |decoder: &Decoder| {
        generate(decoder, std::slice::from_ref(&prompt), &how, |_, _| ControlFlow::Continue(())).unwrap().remove(0)
    };
    let text_of = |decoder: &Decoder| base.tokenizer.decode(&drawn(decoder), true).unwrap();
    let (model, decoder) = talkative(&bench, text_of, 4);
    let (tokens, expected) = (drawn(&decoder), text_of(&decoder));
    let mut body = json!({
        "model": model, "messages": messages, "max_tokens": 12, "temperature": 0, "logprobs": true,
        "top_logprobs": 2,
    });
    let answer = server.post("/v1/chat/completions", &body).ok();
    let choice = &answer["choices"][0];
    let text = choice["message"]["content"].as_str().unwrap();
    assert!(expected.starts_with(text.trim_end_matches('\u{fffd}')) && !text.is_empty(), "{text:?} {expected:?}");
    assert_eq!(
        (answer["object"].as_str(), choice["message"]["role"].as_str()),
        (Some("chat.completion"), Some("assistant"))
    );
    assert_eq!(answer["usage"]["prompt_tokens"], prompt.len());
    let scores = choice["logprobs"]["content"].as_array().unwrap();
    assert_eq!(scores.len(), tokens.len());
    assert!(
        scores.iter().all(|score| score["top_logprobs"][0]["logprob"] == score["logprob"]),
        "greedy takes the best"
    );

    body["stream"] = true.into();
    let mut events = server.post("/v1/chat/completions", &body).events();
    assert_eq!(events.pop().unwrap(), "[DONE]");
    let pieces: Vec<Value> = events.iter().map(|event| serde_json::from_str(event).unwrap()).collect();
    assert_eq!(pieces[0]["choices"][0]["delta"]["role"], "assistant");
    let streamed: String = pieces.iter().filter_map(|piece| piece["choices"][0]["delta"]["content"].as_str()).collect();
    assert_eq!(streamed, text);
    assert!(pieces.iter().all(|piece| piece["object"] == "chat.completion.chunk"));

    // The layout has the last word.
    body["messages"] = json!([{ "role": "assistant", "content": "I" }]);
    let answer = server.post("/v1/chat/completions", &body);
    assert!(answer.status == 400 && answer.body.contains("the last turn is not a question"), "{answer:?}");
}

#[test]
fn drawing_is_repeatable_and_stops_where_it_should() {
    let bench = Bench::new();
    let server = bench.start(Options::default());
    let draw = |seed: Value| {
        let body = json!({ "model": "base", "prompt": "the", "max_tokens": 16, "n": 3, "seed": seed, "top_p": 0.9 });
        let answer = server.post("/v1/completions", &body).ok();
        answer["choices"].as_array().unwrap().iter().map(|choice| choice["text"].clone()).collect::<Vec<Value>>()
    };
    let first = draw(json!(4));
    assert_eq!(first, draw(json!(4)));
    assert_ne!(first, draw(json!(5)));
    assert!(first[0] != first[1] && first[1] != first[2], "choices draw from streams of their own");
    assert_ne!(draw(Value::Null), draw(Value::Null));

    let whole = continued(&bench, &bench.decoder, "the rain", 40);
    let letters: Vec<char> = whole.chars().collect();
    let stop: String = letters[letters.len() / 2..letters.len() / 2 + 3].iter().collect();
    let mut body = greedy("base", "the rain", 40);
    body["stop"] = json!([stop]);
    let answer = server.post("/v1/completions", &body).ok();
    let text = answer["choices"][0]["text"].as_str().unwrap();
    assert_eq!(text, &whole[..whole.find(&stop).unwrap()]);
    assert_eq!(answer["choices"][0]["finish_reason"], "stop");
    assert!(answer["usage"]["completion_tokens"].as_u64().unwrap() <= 40);
}

/// A second question that begins like the first is answered from what is known, unless the modules are others.
#[test]
fn known_beginnings_are_used_under_the_same_modules_only() {
    let bench = Bench::new();
    let server =
        bench.start(Options { engine: EngineConfig { slots: 1, context: 128, queue: 9 }, ..Options::default() });
    let (short, long) = ("once upon a time", "once upon a time there was a river");
    let ask = |model: &str, modules: &[(&str, f32)], prompt: &str| {
        let answer = server.post("/v1/completions", &greedy(model, prompt, 10)).ok();
        let expected = continued(&bench, &bench.with(modules), prompt, 10);
        assert_eq!(answer["choices"][0]["text"], expected, "{model} {prompt}");
        answer["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap()
    };
    assert_eq!(ask("base", &[], short), 0);
    assert!(ask("base", &[], long) > 3);
    assert_eq!(ask("base+rivers", &[("rivers", 1.0)], long), 0);
    assert_eq!(ask("base+rivers=0.5", &[("rivers", 0.5)], long), 0);
    assert!(ask("base+rivers=0.5", &[("rivers", 0.5)], long) > 3);
    assert_eq!(ask("base", &[], long), 0);
}

struct ByLength;

impl Chooser for ByLength {
    fn choose(&mut self, base: &Decoder, prompt: &[u32]) -> Result<ModuleSet, String> {
        assert_eq!(base.config.hidden_size, 32);
        match prompt.len() {
            0..5 => Ok(ModuleSet::none()),
            5..40 => ModuleSet::parse("hills=0.5+lakes", '+'),
            _ => Err("the prompt is too long to choose".to_owned()),
        }
    }
}

#[test]
fn auto_is_whatever_is_chosen() {
    let bench = Bench::new();
    let server = bench.start(Options { chooser: Some(Box::new(ByLength)), ..Options::default() });
    let long = "once upon a time there was a river";
    for (prompt, model, modules) in
        [("a", "base", &[][..]), (long, "base+hills=0.5+lakes", &[("hills", 0.5), ("lakes", 1.0)])]
    {
        let answer = server.post("/v1/completions", &greedy("auto", prompt, 10)).ok();
        assert_eq!(answer["model"], model);
        assert_eq!(answer["choices"][0]["text"], continued(&bench, &bench.with(modules), prompt, 10));
    }
    let answer = server.post("/v1/completions", &greedy("auto", &long.repeat(3), 10));
    assert!(answer.status == 500 && answer.body.contains("too long to choose"), "{answer:?}");
    let without = bench.start(Options::default());
    let answer = without.post("/v1/completions", &greedy("auto", long, 10));
    assert!(answer.status == 400 && answer.body.contains("`auto` needs a router"), "{answer:?}");
}

#[test]
fn models_are_listed_and_new_ones_are_found() {
    let mut bench = Bench::new();
    let server = bench.start(Options::default());
    let names = |server: &bench::Running| -> Vec<String> {
        let list = server.get("/v1/models").ok();
        list["data"].as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&server), ["base", "base+hills", "base+lakes", "base+rivers"]);
    assert_eq!(server.get("/v1/models/base+rivers=0.5+hills").ok()["id"], "base+hills+rivers=0.5");
    assert_eq!(server.get("/v1/models/base%2Brivers").ok()["id"], "base+rivers");
    for model in ["gpt-4", "base+seas", "auto"] {
        let answer = server.get(&format!("/v1/models/{model}"));
        assert_eq!((answer.status, answer.json()["error"]["code"].as_str()), (404, Some("model_not_found")));
    }
    let missing = server.post("/v1/completions", &greedy("base+seas", "the rain", 4));
    assert_eq!(missing.status, 404);
    assert!(missing.body.contains("there is no module `seas` in the library; there are hills, lakes, rivers"));
    bench.add("seas", 7);
    let answer = server.post("/v1/completions", &greedy("base+seas", "the rain", 4)).ok();
    assert_eq!(answer["choices"][0]["text"], continued(&bench, &bench.with(&[("seas", 1.0)]), "the rain", 4));
    assert_eq!(names(&server).len(), 5);
    // A module that is damaged is told, and the server goes on.
    std::fs::write(bench.library().join("lakes/adapter_model.safetensors"), "{").unwrap();
    let answer = server.post("/v1/completions", &greedy("base+lakes", "the rain", 4));
    assert!(answer.status == 500 && answer.body.contains("module `lakes`"), "{answer:?}");
    server.post("/v1/completions", &greedy("base", "the rain", 4)).ok();
}

#[test]
fn the_tokenizer_of_the_fixture_knows_its_texts() {
    // The texts above must be more than a few tokens for what they test.
    let tokens = files().tokenizer.encode("once upon a time there was a river", false).unwrap();
    assert!((5..40).contains(&(tokens.len() + 1)), "{}", tokens.len());
}
