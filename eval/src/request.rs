//! Text requests as lm-evaluation-harness makes them of a context and a continuation.

use crate::score::TokenRequest;
use tokenizers::Tokenizer;

/// Tokens of `context` and `continuation` the way lm-evaluation-harness (`_encode_pair`) splits them:
/// spaces at the end of the context move to the continuation, the context is encoded alone, and the continuation
/// is what both encoded together have beyond that many tokens (where a token spans the border, the context
/// keeps its own spelling). A context with nothing left is the `start` token, which is
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
    let context = encode(kept, true)?;
    let whole = encode(&format!("{kept}{continuation}"), true)?;
    let continuation = whole.get(context.len()..).unwrap_or_default().to_vec();
    Ok(TokenRequest { context: if context.is_empty() { vec![start] } else { context }, continuation })
}

/// What Python's `str.rstrip` removes: Unicode's white space and the four separators of ASCII.
fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}
