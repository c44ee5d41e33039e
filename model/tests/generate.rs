//! Generation against whole forward passes, and what must not change a text.
#![allow(missing_docs, clippy::unwrap_used)]

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use burn::tensor::Device;
use lore_model::files::ModelFiles;
use lore_model::generate::{Generation, generate};
use lore_model::ops::head::logits;
use lore_model::ops::host::values;
use lore_model::ops::sequences::Sequences;
use lore_model::sampling::{Random, Sampling, arg_max};
use lore_model::{Decoder, Error};

fn decoder() -> &'static Decoder {
    static ONE: OnceLock<Decoder> = OnceLock::new();
    ONE.get_or_init(|| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny-llama");
        let files = ModelFiles::open(&path).unwrap();
        Decoder::load(&files.config, &*files.weights, &Device::flex()).unwrap()
    })
}

/// Logits of the token after `tokens`, without a cache.
fn next(tokens: &[u32]) -> Vec<f32> {
    let decoder = decoder();
    let hidden = decoder.hidden(Arc::new(tokens.to_vec()), Arc::new(Sequences::whole(&[tokens.len()])));
    let all = values(&logits(hidden, decoder.head()));
    all[all.len() - decoder.config.vocab_size..].to_vec()
}

fn greedy(max_tokens: usize, stop: &[u32]) -> Generation {
    Generation { max_tokens, sampling: Sampling::greedy(), seed: 0, stop: stop.to_vec() }
}

fn warm(seed: u64) -> Generation {
    let sampling = Sampling { temperature: 1.0, top_k: Some(50), top_p: Some(0.95) };
    Generation { max_tokens: 24, sampling, seed, stop: vec![] }
}

fn run(prompts: &[Vec<u32>], how: &Generation) -> Vec<Vec<u32>> {
    generate(decoder(), prompts, how, |_, _| ControlFlow::Continue(())).unwrap()
}

#[test]
fn greedy_takes_the_most_likely_token_of_the_whole_pass() {
    let prompts = [vec![1, 286, 280], vec![5], vec![9, 8, 7, 6, 5, 4, 3, 2, 1, 0]];
    let texts = run(&prompts, &greedy(20, &[]));
    for (prompt, text) in prompts.iter().zip(&texts) {
        let mut tokens = prompt.clone();
        for &token in text {
            assert_eq!(token, arg_max(&next(&tokens)));
            tokens.push(token);
        }
        assert_eq!(text.len(), 20);
    }
    assert_eq!(texts, run(&prompts, &greedy(20, &[])));
}

#[test]
fn sampling_draws_from_the_stream_of_its_prompt() {
    let prompts = [vec![1, 286, 280], vec![5, 4]];
    let how = warm(11);
    for (index, (prompt, text)) in prompts.iter().zip(run(&prompts, &how)).enumerate() {
        let (mut tokens, mut random) = (prompt.clone(), Random::new(11, index as u64));
        for token in text {
            assert_eq!(token, how.sampling.draw(&next(&tokens), &mut random));
            tokens.push(token);
        }
    }
}

#[test]
fn a_text_does_not_depend_on_what_is_beside_it() {
    for how in [greedy(24, &[]), warm(3)] {
        let first = vec![1, 286, 280];
        let alone = run(std::slice::from_ref(&first), &how).remove(0);
        for others in [vec![vec![300; 40]], vec![vec![7], vec![8, 9], vec![10, 11, 12]]] {
            let prompts = [vec![first.clone()], others].concat();
            assert_eq!(run(&prompts, &how)[0], alone);
        }
    }
    // Where nothing is drawn, its place does not matter either.
    let prompts = [vec![4, 2], vec![1, 286, 280]];
    assert_eq!(run(&prompts, &greedy(24, &[]))[1], run(&prompts[1..], &greedy(24, &[]))[0]);
}

#[test]
fn seeds_decide() {
    let prompts = [vec![1, 286, 280], vec![1, 286, 280]];
    let texts = run(&prompts, &warm(1));
    assert_eq!(texts, run(&prompts, &warm(1)));
    assert_ne!(texts, run(&prompts, &warm(2)));
    assert_ne!(texts[0], texts[1], "equal prompts draw from streams of their own");
}

#[test]
fn stop_tokens_end_one_text_and_are_left_out() {
    let prompts = [vec![1, 286, 280], vec![9, 8, 7, 6]];
    let free = run(&prompts, &greedy(20, &[]));
    let stop = free[0][5];
    let texts = run(&prompts, &greedy(20, &[stop]));
    for (text, free) in texts.iter().zip(&free) {
        let end = free.iter().position(|&token| token == stop).unwrap_or(free.len());
        assert_eq!(text, &free[..end]);
    }
    assert!(texts[0].len() <= 5);
}

#[test]
fn a_listener_sees_every_token_and_may_end_it() {
    let prompts = [vec![1, 286, 280], vec![9, 8, 7, 6]];
    let mut heard = vec![Vec::new(), Vec::new()];
    let all = generate(decoder(), &prompts, &greedy(6, &[]), |prompt, token| {
        heard[prompt].push(token);
        ControlFlow::Continue(())
    });
    let all = all.unwrap();
    assert_eq!(all, heard);
    let mut count = 0;
    let broken = generate(decoder(), &prompts, &greedy(6, &[]), |_, _| {
        count += 1;
        if count == 5 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert_eq!(broken.unwrap(), [all[0][..3].to_vec(), all[1][..2].to_vec()]);
}

#[test]
fn nothing_to_do_and_nothing_to_begin_from() {
    assert_eq!(run(&[], &greedy(5, &[])), Vec::<Vec<u32>>::new());
    assert_eq!(run(&[vec![1]], &greedy(0, &[])), [Vec::<u32>::new()]);
    let empty = generate(decoder(), &[vec![1], vec![]], &greedy(5, &[]), |_, _| ControlFlow::Continue(()));
    assert!(matches!(empty, Err(Error::EmptyPrompt)), "{empty:?}");
}
