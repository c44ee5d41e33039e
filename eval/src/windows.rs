//! Long texts in windows, as lm-evaluation-harness cuts them (`get_rolling_token_windows` with a context of one
//! token, made disjoint).

use crate::score::TokenRequest;

/// Requests that score every one of `tokens` once. No window predicts more than `window` tokens; the first begins
/// from `start`, the last one reaches back as far as a window does.
pub fn rolling(tokens: &[u32], start: u32, window: usize) -> Vec<TokenRequest> {
    let mut requests = Vec::new();
    let mut predicted = 0;
    while predicted < tokens.len() {
        let end = (predicted + window).min(tokens.len());
        // What a full window that ends here would read.
        let context = match predicted {
            0 => vec![start],
            _ => tokens[end.saturating_sub(window + 1)..predicted].to_vec(),
        };
        requests.push(TokenRequest { context, continuation: tokens[predicted..end].to_vec() });
        predicted = end;
    }
    requests
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// `list(map(make_disjoint_window, get_rolling_token_windows(list(range(1, 11)), 0, 4, 1)))` of lm_eval 0.4.13.
    #[test]
    fn windows_are_those_of_the_harness() {
        let tokens: Vec<u32> = (1..11).collect();
        let found: Vec<_> = rolling(&tokens, 0, 4).into_iter().map(|r| (r.context, r.continuation)).collect();
        let expected = [(vec![0], vec![1, 2, 3, 4]), (vec![4], vec![5, 6, 7, 8]), (vec![6, 7, 8], vec![9, 10])];
        assert_eq!(found, expected);
    }

    proptest! {
        #[test]
        fn every_token_is_scored_once(count in 0usize..200, window in 1usize..40) {
            let tokens: Vec<u32> = (1..=count as u32).collect();
            let requests = rolling(&tokens, 0, window);
            let scored: Vec<u32> = requests.iter().flat_map(|r| r.continuation.clone()).collect();
            prop_assert_eq!(&scored, &tokens);
            for request in &requests {
                prop_assert!(!request.context.is_empty() && request.continuation.len() <= window);
                prop_assert!(request.context.len() + request.continuation.len() <= window + 1);
                prop_assert_eq!(request.context[request.context.len() - 1] + 1, request.continuation[0]);
            }
        }
    }
}
