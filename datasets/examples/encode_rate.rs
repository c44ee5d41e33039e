//! Seconds to make ids of a corpus with the encoder of this crate and with the `tokenizers` crate, for
//! `scripts/bench-data`:
//!
//! ```text
//! encode_rate CORPUS.jsonl TOKENIZER.json THREADS
//! ```

use std::error::Error;
use std::time::Instant;

use lore_datasets::tokenise::Encoder;
use rayon::prelude::*;
use serde_json::{Value, json};
use tokenizers::Tokenizer;

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [corpus, tokenizer, threads] = arguments.as_slice() else {
        return Err("encode_rate CORPUS.jsonl TOKENIZER.json THREADS".into());
    };
    rayon::ThreadPoolBuilder::new().num_threads(threads.parse()?).build_global()?;
    let texts: Vec<String> = std::fs::read_to_string(corpus)?
        .lines()
        .map(|line| Ok(serde_json::from_str::<Value>(line)?["text"].as_str().unwrap_or_default().to_owned()))
        .collect::<Result<_, serde_json::Error>>()?;
    let tokenizer = Tokenizer::from_file(tokenizer)?;
    let (fast, reference) = (Encoder::new(&tokenizer), Encoder::reference(&tokenizer));
    if !fast.is_fast() {
        return Err("a tokenizer of this kind is left to the crate".into());
    }
    let measure = |encoder: &Encoder| {
        let begin = Instant::now();
        let count = |text: &String| encoder.encode("", text).map_or(0, |ids| ids.len() as u64);
        let tokens: u64 = texts.par_iter().map(count).sum();
        (begin.elapsed().as_secs_f64(), tokens)
    };
    let ((fast, tokens), (crates, expected)) = (measure(&fast), measure(&reference));
    assert_eq!(tokens, expected, "both make as many tokens");
    println!("{}", json!({ "fast_seconds": fast, "crate_seconds": crates, "tokens": tokens }));
    Ok(())
}
