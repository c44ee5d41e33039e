//! Text requests as lm-evaluation-harness makes them of a context and a continuation.

use crate::score::TokenRequest;
use tokenizers::Tokenizer;

/// Tokens of `context` and `continuation` the way lm-evaluation-harness (`_encode_pair`) splits them:
/// spaces at the end of the context move to the continuation, both are encoded together, and the
/// context's part is as long as its own encoding. An empty context is the `start` token, which is then put
/// neither before the continuation by the tokenizer nor scored where the continuation begins with it.
///
/// # Errors
/// Text that the tokenizer refuses.
pub fn token_request(
    tokenizer: &Tokenizer,
    start: u32,
    context: &str,
    continuation: &str,
) -> tokenizers::Result<TokenRequest> {
    let encode = |text: &str| Ok::<_, tokenizers::Error>(tokenizer.encode(text, true)?.get_ids().to_vec());
    if context.is_empty() {
        let ids = tokenizer.encode(continuation, false)?.get_ids().to_vec();
        let continuation = ids.strip_prefix(&[start]).unwrap_or(&ids).to_vec();
        return Ok(TokenRequest { context: vec![start], continuation });
    }
    let kept = context.trim_end();
    // A context of nothing but white space is left as it is: there would be nothing to encode.
    let kept = if kept.is_empty() { context } else { kept };
    let moved = format!("{}{continuation}", &context[kept.len()..]);
    let context_length = encode(kept)?.len();
    let mut whole = encode(&format!("{kept}{moved}"))?;
    let continuation = whole.split_off(context_length.min(whole.len()));
    let context = if whole.is_empty() { vec![start] } else { whole };
    Ok(TokenRequest { context, continuation })
}
