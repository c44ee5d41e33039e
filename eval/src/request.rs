//! Text requests as lm-evaluation-harness makes them of a context and a continuation.

use crate::score::TokenRequest;
use tokenizers::Tokenizer;

/// Tokens of `context` and `continuation` the way lm-evaluation-harness (`_encode_pair`) splits them:
/// spaces at the end of the context move to the continuation, both are encoded together, and the
/// context's part is as long as its own encoding. A context with nothing left is the `start` token, which is
/// then neither put before the continuation by the tokenizer nor scored where the continuation begins with it.
///
/// # Errors
/// Text that the tokenizer refuses.
pub fn token_request(
    tokenizer: &Tokenizer,
    start: u32,
    context: &str,
    continuation: &str,
) -> tokenizers::Result<TokenRequest> {
    let kept = context.trim_end_matches(is_space);
    let continuation = format!("{}{continuation}", &context[kept.len()..]);
    let encode = |text: &str, special| Ok::<_, tokenizers::Error>(tokenizer.encode(text, special)?.get_ids().to_vec());
    if kept.is_empty() {
        let ids = encode(&continuation, false)?;
        let continuation = ids.strip_prefix(&[start]).unwrap_or(&ids).to_vec();
        return Ok(TokenRequest { context: vec![start], continuation });
    }
    let context_length = encode(kept, true)?.len();
    let mut whole = encode(&format!("{kept}{continuation}"), true)?;
    let continuation = whole.split_off(context_length.min(whole.len()));
    let context = if whole.is_empty() { vec![start] } else { whole };
    Ok(TokenRequest { context, continuation })
}

/// What Python's `str.rstrip` removes: Unicode's white space and the four separators of ASCII.
fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}
