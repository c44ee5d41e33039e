//! Log-likelihoods against a naive computation, and requests against lm-evaluation-harness's rules.
#![allow(missing_docs, clippy::unwrap_used)]

use std::path::Path;
use std::sync::Arc;

use burn::tensor::Device;
use lore_eval::request::token_request;
use lore_eval::score::{Error, TokenRequest, TokenScores, score};
use lore_model::Decoder;
use lore_model::files::ModelFiles;
use lore_model::ops::host::values;
use lore_model::ops::sequences::Sequences;
use lore_model::sampling::Random;
use tokenizers::Tokenizer;

fn decoder(name: &str) -> Decoder {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/tests/fixtures").join(name);
    let files = ModelFiles::open(&path).unwrap();
    Decoder::load(&files.config, &*files.weights, &Device::flex()).unwrap()
}

fn request(context: &[u32], continuation: &[u32]) -> TokenRequest {
    TokenRequest { context: context.to_vec(), continuation: continuation.to_vec() }
}

/// One request alone: all logits of all its tokens in `f64`, then log-softmax. Also whether each token is likelier
/// than all others by a margin that rounding cannot turn; nothing where it can.
fn naive(decoder: &Decoder, request: &TokenRequest) -> Vec<(f64, Option<bool>)> {
    let tokens = [request.context.as_slice(), &request.continuation].concat();
    let hidden = values(&decoder.hidden(Arc::new(tokens.clone()), Arc::new(Sequences::whole(&[tokens.len()]))));
    let (head, width) = (values(&decoder.head()), decoder.config.hidden_size);
    let first = request.context.len();
    let rows = (first..tokens.len()).map(|index| {
        let state = &hidden[(index - 1) * width..index * width];
        let logit = |row: &[f32]| -> f64 { row.iter().zip(state).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum() };
        let logits: Vec<f64> = head.chunks_exact(width).map(logit).collect();
        let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let total: f64 = logits.iter().map(|x| (x - largest).exp()).sum();
        let token = tokens[index] as usize;
        let others = logits.iter().enumerate().filter(|(i, _)| *i != token).map(|(_, &x)| x);
        let margin = logits[token] - others.fold(f64::NEG_INFINITY, f64::max);
        (logits[token] - largest - total.ln(), (margin.abs() > 1e-4).then_some(margin > 0.0))
    });
    rows.collect()
}

fn some_requests(count: usize, seed: u64) -> Vec<TokenRequest> {
    let mut random = Random::new(seed, 1);
    let mut draw = |below: usize| (random.bits() % below as u64) as usize;
    let mut requests: Vec<TokenRequest> = (0..count)
        .map(|_| {
            let (context, continuation) = (1 + draw(60), 1 + draw(60));
            let mut tokens = |count| (0..count).map(|_| draw(320) as u32).collect::<Vec<u32>>();
            TokenRequest { context: tokens(context), continuation: tokens(continuation) }
        })
        .collect();
    // What the model would say itself, so that greedy tokens occur.
    for request in requests.iter_mut().step_by(3) {
        request.continuation = request.context.clone();
        request.continuation.truncate(3);
    }
    requests
}

fn close(found: &TokenScores, expected: &TokenScores) -> f64 {
    assert_eq!(found.log_likelihoods.len(), expected.log_likelihoods.len());
    let pairs = found.log_likelihoods.iter().zip(&expected.log_likelihoods);
    pairs.map(|(&a, &b)| f64::from((a - b).abs()) / f64::from(1.0 + b.abs())).fold(0.0, f64::max)
}

#[test]
fn scores_are_those_of_a_naive_computation() {
    for name in ["tiny-llama", "tiny-qwen2", "tiny-qwen3"] {
        let decoder = decoder(name);
        // More than one batch of rows.
        let mut requests = some_requests(120, 2);
        for request in requests.iter_mut().step_by(4) {
            // The most likely next token, and then an arbitrary one.
            let tokens = request.context.clone();
            let hidden = decoder.hidden(Arc::new(tokens.clone()), Arc::new(Sequences::whole(&[tokens.len()])));
            let all = values(&lore_model::ops::head::logits(hidden, decoder.head()));
            let best = lore_model::sampling::arg_max(&all[all.len() - 320..]);
            request.continuation = vec![best, 5];
        }
        let rows: usize = requests.iter().map(|r| r.context.len() + r.continuation.len() - 1).sum();
        assert!(rows > 2 * 2048, "{rows}");
        let mut counted = 0;
        let found = score(&decoder, &requests, |tokens| counted += tokens).unwrap();
        assert_eq!(counted, rows);
        let (mut worst, mut worst_total, mut greedy) = (0.0f64, 0.0f64, 0);
        for (request, found) in requests.iter().zip(&found) {
            let expected = naive(&decoder, request);
            assert_eq!(found.log_likelihoods.len(), expected.len());
            for ((&a, (b, best)), &is_greedy) in found.log_likelihoods.iter().zip(&expected).zip(&found.greedy) {
                worst = worst.max((f64::from(a) - b).abs() / (1.0 + b.abs()));
                if let Some(best) = best {
                    assert_eq!(is_greedy, *best);
                    greedy += usize::from(is_greedy);
                }
            }
            let total: f64 = expected.iter().map(|(x, _)| x).sum();
            worst_total = worst_total.max((found.total() - total).abs() / total.abs());
        }
        println!("{name}: against f64, per token {worst:e}, per continuation {worst_total:e}");
        assert!(worst <= 1e-5 && worst_total <= 1e-5, "{worst}, {worst_total}");
        assert!(greedy >= 20, "greedy tokens occur: {greedy}");
    }
}

#[test]
fn a_shared_context_does_not_show_in_the_scores() {
    for name in ["tiny-llama", "tiny-qwen3"] {
        let decoder = decoder(name);
        let mut random = Random::new(5, 5);
        let mut tokens = |count: usize| (0..count).map(|_| (random.bits() % 320) as u32).collect::<Vec<u32>>();
        let contexts = [tokens(1), tokens(40), tokens(70)];
        // Continuations of no, one and more tokens; those of the second context do not fit into one batch.
        let mut requests = Vec::new();
        for (context, count) in contexts.iter().zip([7, 90, 12]) {
            for index in 0..count {
                let length = if context.len() == 40 { 30 + index % 50 } else { index % 4 };
                requests.push(request(context, &tokens(length)));
            }
        }
        requests.sort_by_key(|request| request.continuation.first().copied());
        let (mut worst, mut apart) = (0.0f64, 0.0f64);
        for (request, found) in requests.iter().zip(score(&decoder, &requests, |_| {}).unwrap()) {
            let expected = naive(&decoder, request);
            assert_eq!(found.log_likelihoods.len(), expected.len());
            for (&a, (b, _)) in found.log_likelihoods.iter().zip(&expected) {
                worst = worst.max((f64::from(a) - b).abs() / (1.0 + b.abs()));
            }
            let alone = score(&decoder, std::slice::from_ref(request), |_| {}).unwrap().remove(0);
            apart = apart.max(close(&found, &alone));
        }
        println!("{name}: shared contexts, against f64 {worst:e}, against each alone {apart:e}");
        assert!(worst <= 1e-5 && apart <= 1e-5, "{worst}, {apart}");
    }
}

/// As [`some_requests`], most of which begin like another one, somewhere in its context or its continuation.
fn related_requests(count: usize, seed: u64) -> Vec<TokenRequest> {
    let mut requests = some_requests(count, seed);
    let mut random = Random::new(seed, 2);
    for index in (1..count).filter(|index| index % 4 != 0) {
        let other = [requests[index - 1].context.as_slice(), &requests[index - 1].continuation].concat();
        let kept = 1 + (random.bits() % other.len() as u64) as usize;
        let all = [&other[..kept], &requests[index].context, &requests[index].continuation].concat();
        let context = 1 + (random.bits() % (all.len() - 1).min(2 * kept) as u64) as usize;
        requests[index] = request(&all[..context], &all[context..(context + 30).min(all.len()).min(128)]);
    }
    requests.retain(|request| request.context.len() + request.continuation.len() <= 128);
    requests
}

#[test]
fn a_score_depends_on_its_request_alone() {
    for name in ["tiny-llama", "tiny-qwen3"] {
        let decoder = decoder(name);
        let requests = related_requests(120, 3);
        assert!(requests.len() > 90, "{}", requests.len());
        let together = score(&decoder, &requests, |_| {}).unwrap();
        for (request, expected) in requests.iter().zip(&together) {
            assert_eq!(&score(&decoder, std::slice::from_ref(request), |_| {}).unwrap()[0], expected);
        }
        let reversed: Vec<TokenRequest> = requests.iter().rev().cloned().collect();
        let mut turned = score(&decoder, &reversed, |_| {}).unwrap();
        turned.reverse();
        assert_eq!(turned, together);
        let doubled: Vec<TokenRequest> =
            requests.iter().flat_map(|request| [request.clone(), request.clone()]).collect();
        let doubled = score(&decoder, &doubled, |_| {}).unwrap();
        for (index, expected) in together.iter().enumerate() {
            assert_eq!([&doubled[2 * index], &doubled[2 * index + 1]], [expected, expected]);
        }
        let mut worst = 0.0f64;
        for (request, found) in requests.iter().zip(&together) {
            let pairs = naive(&decoder, request).into_iter().zip(&found.log_likelihoods);
            worst = pairs.map(|((a, _), &b)| (f64::from(b) - a).abs() / (1.0 + a.abs())).fold(worst, f64::max);
        }
        assert!(worst <= 1e-5, "{worst}");
    }
}

#[test]
fn what_follows_a_continuation_does_not_change_it() {
    let decoder = decoder("tiny-llama");
    let (short, long) = (request(&[1, 2], &[3, 4, 5]), request(&[1, 2], &[3, 4, 5, 6, 7]));
    let split = request(&[1, 2, 3], &[4, 5]);
    let found = score(&decoder, &[short, long, split], |_| {}).unwrap();
    assert_eq!(found[0].log_likelihoods, found[1].log_likelihoods[..3]);
    assert_eq!(found[2].log_likelihoods, found[0].log_likelihoods[1..]);
}

#[test]
fn empty_and_long_requests() {
    let decoder = decoder("tiny-llama");
    assert_eq!(score(&decoder, &[], |_| {}).unwrap(), []);
    let nothing = TokenScores { log_likelihoods: vec![], greedy: vec![] };
    // A continuation that melts into its context leaves nothing to score, alone or beside others.
    assert_eq!(score(&decoder, &[request(&[3], &[])], |_| {}).unwrap(), std::slice::from_ref(&nothing));
    assert_eq!(nothing.total(), 0.0);
    let mixed = [request(&[3], &[]), request(&[3, 4, 5], &[]), request(&[3], &[4])];
    let found = score(&decoder, &mixed, |_| {}).unwrap();
    assert_eq!(found[..2], [nothing.clone(), nothing]);
    let alone = score(&decoder, &mixed[2..], |_| {}).unwrap();
    assert!(close(&found[2], &alone[0]) <= 1e-5);

    let empty = score(&decoder, &[request(&[1], &[2]), request(&[], &[2])], |_| {});
    assert_eq!(empty, Err(Error::EmptyContext { index: 1 }));
    let whole: Vec<u32> = (0..128).collect();
    score(&decoder, &[request(&whole[..1], &whole[1..])], |_| {}).unwrap();
    let mut called = false;
    let long = score(&decoder, &[request(&[1], &[2]), request(&whole, &[2, 3])], |_| called = true);
    assert_eq!(long, Err(Error::TooLong { index: 1, length: 130, limit: 128 }));
    assert!(!called, "nothing is computed when something is refused");
}

/// Byte-level pairs: `ab` is one token, with or without a space before it. 0 begins a text where `bos` says so.
fn tokenizer(bos: bool) -> Tokenizer {
    let vocabulary = serde_json::json!({
        "<s>": 0, "a": 1, "b": 2, "Ġ": 3, "Ġa": 4, "Ġab": 5, "ab": 6, "Ã": 7, "©": 8, "Ċ": 9, "Â": 10, "ł": 11, "c": 12,
        "Ĝ": 13
    });
    let begin = serde_json::json!({
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]}}
    });
    let json = serde_json::json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "decoder": null,
        "added_tokens": [{"id": 0, "content": "<s>", "single_word": false, "lstrip": false, "rstrip": false,
                          "normalized": false, "special": true}],
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "post_processor": if bos { begin } else { serde_json::Value::Null },
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                  "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
                  "vocab": vocabulary, "merges": [["a", "b"], ["Ġ", "ab"], ["Ġ", "a"]]}
    });
    json.to_string().parse().unwrap()
}

#[test]
fn requests_are_split_as_by_the_harness() {
    let plain = tokenizer(false);
    let cases: [(&str, &str, &[u32], &[u32]); 13] = [
        ("ab", " ab", &[6], &[5]),
        // Spaces at the end of the context move, so that the word is encoded with its space.
        ("ab ", "ab", &[6], &[5]),
        ("ab  ", "ab", &[6], &[3, 5]),
        ("a\n", "b", &[1], &[9, 2]),
        ("ab \n", " a", &[6], &[3, 9, 4]),
        // White space is what Unicode calls so: here a no-break space.
        ("ab\u{a0}", "b", &[6], &[10, 11, 2]),
        // And what Python takes for it beyond that.
        ("ab\u{1c}", "b", &[6], &[13, 2]),
        // Spaces inside stay.
        ("ab ab", " a", &[6, 5], &[4]),
        // The context is encoded alone and the rest counted off by its length, even where the two melt into one token
        // (lm_eval's `HFLM.loglikelihood` was found to do so).
        ("a", "b", &[1], &[]),
        ("c a", "bc", &[12, 4], &[12]),
        // Several bytes are one letter.
        ("é", " a", &[7, 8], &[4]),
        ("a", "é", &[1], &[7, 8]),
        // No context: the token that texts begin with.
        ("", " ab", &[0], &[5]),
    ];
    for (context, continuation, expected_context, expected_continuation) in cases {
        let found = token_request(&plain, 0, context, continuation).unwrap();
        let expected = request(expected_context, expected_continuation);
        assert_eq!(found, expected, "{context:?} and {continuation:?}");
    }
}

#[test]
fn a_tokenizer_that_begins_texts_itself_does_so_once() {
    let begins = tokenizer(true);
    let found = |context: &str, continuation: &str| token_request(&begins, 0, context, continuation).unwrap();
    assert_eq!(found("ab ", "ab"), request(&[0, 6], &[5]));
    assert_eq!(found("a", "b"), request(&[0, 1], &[]));
    // The harness encodes the continuation of an empty context without special tokens.
    assert_eq!(found("", "ab"), request(&[0], &[6]));
    // A continuation that begins with the start token is not given another.
    assert_eq!(found("", "<s>ab"), request(&[0], &[6]));
}

#[test]
fn a_context_of_white_space_has_nothing_left() {
    let plain = tokenizer(false);
    assert_eq!(token_request(&plain, 0, "  ", "ab").unwrap(), request(&[0], &[3, 5]));
    assert_eq!(token_request(&plain, 0, "\n", "ab").unwrap(), request(&[0], &[9, 6]));
}
