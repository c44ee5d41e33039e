//! Names of projections by their last parts, with `*` for any text.

use std::collections::BTreeMap;

/// Whether a pattern names a projection: its text stands at the end of the path, from the beginning of a part on.
///
/// `q_proj`, `self_attn.q_proj` and `layers.*.q_proj` all name `model.layers.3.self_attn.q_proj`; `proj` does not.
pub fn matches(pattern: &str, path: &str) -> bool {
    let mut starts = std::iter::once(0).chain(path.match_indices('.').map(|(at, _)| at + 1));
    !pattern.is_empty() && starts.any(|start| whole(pattern.as_bytes(), &path.as_bytes()[start..]))
}

/// The value of the longest pattern that names the projection.
pub fn longest<T: Copy>(patterns: &BTreeMap<String, T>, path: &str) -> Option<T> {
    let matching = patterns.iter().filter(|(pattern, _)| matches(pattern, path));
    matching.max_by_key(|(pattern, _)| pattern.len()).map(|(_, value)| *value)
}

/// Whether the pattern is the whole text.
fn whole(pattern: &[u8], text: &[u8]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some((b'*', rest)) => (0..=text.len()).any(|skipped| whole(rest, &text[skipped..])),
        Some((byte, rest)) => text.split_first().is_some_and(|(first, text)| first == byte && whole(rest, text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_name_whole_parts() {
        let path = "model.layers.12.self_attn.q_proj";
        for yes in ["q_proj", "self_attn.q_proj", "*_proj", "layers.12.*", "layers.1*.q_proj", "model.*", "*", path] {
            assert!(matches(yes, path), "{yes}");
        }
        for no in ["", "proj", "k_proj", "mlp.*", "layers.2.*", "2.self_attn.q_proj", "q_pro", "q_proj.weight"] {
            assert!(!matches(no, path), "{no}");
        }
    }

    #[test]
    fn the_longest_pattern_counts() {
        let patterns = BTreeMap::from([("q_proj".to_owned(), 1), ("layers.0.*".to_owned(), 2), ("*".to_owned(), 3)]);
        let of = |path: &str| longest(&patterns, path);
        assert_eq!(of("model.layers.0.self_attn.q_proj"), Some(2));
        assert_eq!(of("model.layers.1.self_attn.q_proj"), Some(1));
        assert_eq!(of("model.layers.1.mlp.up_proj"), Some(3));
        assert_eq!(longest(&BTreeMap::<String, u8>::new(), "q_proj"), None);
    }
}
