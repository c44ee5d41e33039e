//! A smaller vocabulary: the tokens a corpus needs least are taken out of a byte-pair tokenizer, with the merges that
//! make them, so that every text is still encoded, in more tokens where it needs a token that is gone.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use serde_json::{Value, json};
use tokenizers::Tokenizer;

/// A tokenizer with part of another's tokens.
pub struct Trimmed {
    /// The smaller tokenizer.
    pub tokenizer: Tokenizer,
    /// The other tokenizer's id of each of its tokens.
    pub kept: Vec<u32>,
}

/// Why a tokenizer cannot be made smaller.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TrimError {
    /// Only byte-pair encodings are made of merges.
    #[error("its model is {found}, and only BPE can be trimmed")]
    NotBytePair {
        /// What the model is.
        found: String,
    },
    /// Single characters and special tokens cannot go.
    #[error(
        "{wanted} tokens are too few: {least} are special or not made of others, and every text must stay encodable"
    )]
    TooFew {
        /// What was asked for.
        wanted: usize,
        /// What there must be.
        least: usize,
    },
    /// It does not hold together.
    #[error("it is damaged: {0}")]
    Damaged(String),
}

/// Keeps `size` tokens: all that are special or not made by a merge, and of the others those that are needed most often,
/// by `counts` (how often each token of a corpus occurs, by id). A token that goes leaves its count to the two that it
/// was made of; one that others are made of stays as long as those do.
///
/// # Errors
/// Tokenizers that are not byte-pair encodings; sizes that cannot be reached.
pub fn trim(tokenizer: &Tokenizer, counts: &[u64], size: usize) -> Result<Trimmed, TrimError> {
    let text = tokenizer.to_string(false).map_err(|error| TrimError::Damaged(error.to_string()))?;
    let mut json: Value = serde_json::from_str(&text).map_err(|error| TrimError::Damaged(error.to_string()))?;
    let kind = json["model"]["type"].as_str().unwrap_or("unknown").to_owned();
    if kind != "BPE" {
        return Err(TrimError::NotBytePair { found: kind });
    }
    let vocabulary = ids(&json["model"]["vocab"])?;
    let merges = merges(&json["model"]["merges"])?;
    let mut all = vocabulary.clone();
    for added in json["added_tokens"].as_array().into_iter().flatten() {
        if let (Some(content), Some(id)) = (added["content"].as_str(), added["id"].as_u64()) {
            all.insert(content.to_owned(), id as u32);
        }
    }
    let special: BTreeSet<u32> = json["added_tokens"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|added| added["id"].as_u64().map(|id| id as u32))
        .chain(json["model"]["unk_token"].as_str().and_then(|token| all.get(token)).copied())
        .collect();
    let gone = least_needed(&vocabulary, &all, &merges, &special, counts, size)?;

    let mut kept: Vec<u32> = all.values().copied().filter(|id| !gone.contains(id)).collect();
    kept.sort_unstable();
    kept.dedup();
    let new: BTreeMap<u32, u32> = kept.iter().enumerate().map(|(new, &old)| (old, new as u32)).collect();
    let vocab: serde_json::Map<String, Value> =
        vocabulary.iter().filter_map(|(token, id)| Some((token.clone(), json!(new.get(id)?)))).collect();
    let alive = |token: &str| vocab.contains_key(token);
    let left: Vec<Value> = merges
        .iter()
        .filter(|(a, b)| alive(a) && alive(b) && alive(&format!("{a}{b}")))
        .map(|(a, b)| json!([a, b]))
        .collect();
    for added in json["added_tokens"].as_array_mut().into_iter().flatten() {
        let id = added["id"].as_u64().and_then(|id| new.get(&(id as u32)));
        added["id"] = json!(id);
    }
    let renumber = |token: &str| all.get(token).and_then(|old| new.get(old)).copied();
    renumber_templates(&mut json["post_processor"], &renumber);
    json["model"]["vocab"] = Value::Object(vocab);
    json["model"]["merges"] = Value::Array(left);
    let tokenizer = json.to_string().parse().map_err(|error| TrimError::Damaged(format!("{error}")))?;
    Ok(Trimmed { tokenizer, kept })
}

fn ids(vocabulary: &Value) -> Result<BTreeMap<String, u32>, TrimError> {
    let entries = vocabulary.as_object().ok_or_else(|| TrimError::Damaged("it has no vocabulary".into()))?;
    let id = |(token, id): (&String, &Value)| {
        let id = id.as_u64().and_then(|id| u32::try_from(id).ok());
        let id = id.ok_or_else(|| TrimError::Damaged(format!("the id of `{token}` is not a number")))?;
        Ok((token.clone(), id))
    };
    entries.iter().map(id).collect()
}

fn merges(merges: &Value) -> Result<Vec<(String, String)>, TrimError> {
    let pair = |merge: &Value| {
        let parts = match merge {
            Value::String(text) => text.split_once(' '),
            Value::Array(parts) => match parts.as_slice() {
                [Value::String(a), Value::String(b)] => Some((a.as_str(), b.as_str())),
                _ => None,
            },
            _ => None,
        };
        let (a, b) = parts.ok_or_else(|| TrimError::Damaged(format!("the merge {merge} is not a pair")))?;
        Ok((a.to_owned(), b.to_owned()))
    };
    merges.as_array().into_iter().flatten().map(pair).collect()
}

/// The tokens to take out, the least needed first, until `size` are left.
fn least_needed(
    vocabulary: &BTreeMap<String, u32>,
    all: &BTreeMap<String, u32>,
    merges: &[(String, String)],
    special: &BTreeSet<u32>,
    counts: &[u64],
    size: usize,
) -> Result<BTreeSet<u32>, TrimError> {
    // The pairs that make each token, and how many merges each token is part of.
    let mut made_of: BTreeMap<u32, Vec<[u32; 2]>> = BTreeMap::new();
    let mut used_by: BTreeMap<u32, usize> = BTreeMap::new();
    for (a, b) in merges {
        let whole = format!("{a}{b}");
        let id = |token: &str| {
            vocabulary.get(token).copied().ok_or_else(|| TrimError::Damaged(format!("`{token}` of a merge has no id")))
        };
        let (a, b, whole) = (id(a)?, id(b)?, id(&whole)?);
        made_of.entry(whole).or_default().push([a, b]);
        *used_by.entry(a).or_default() += 1;
        *used_by.entry(b).or_default() += 1;
    }
    let mut count: BTreeMap<u32, u64> =
        all.values().map(|&id| (id, counts.get(id as usize).copied().unwrap_or(0))).collect();
    let may_go = |id: u32| made_of.contains_key(&id) && !special.contains(&id);
    let removable = count.keys().filter(|&&id| may_go(id)).count();
    let least = count.len() - removable;
    if size < least {
        return Err(TrimError::TooFew { wanted: size, least });
    }
    // Of equally needed tokens the one learnt last goes first.
    let mut candidates: BinaryHeap<Reverse<(u64, Reverse<u32>)>> = count
        .iter()
        .filter(|(id, _)| may_go(**id) && used_by.get(id).copied().unwrap_or(0) == 0)
        .map(|(&id, &count)| Reverse((count, Reverse(id))))
        .collect();
    let mut gone = BTreeSet::new();
    while count.len() - gone.len() > size {
        let Some(Reverse((needed, Reverse(id)))) = candidates.pop() else { break };
        // An entry from before its count grew is out of date; a newer one is in the heap.
        if gone.contains(&id) || count[&id] != needed {
            continue;
        }
        gone.insert(id);
        for (index, parts) in made_of[&id].iter().enumerate() {
            for part in parts {
                // Only the first pair is what the token falls apart into.
                if index == 0 {
                    *count.entry(*part).or_default() += needed;
                }
                let uses = used_by.entry(*part).or_default();
                *uses -= 1;
                if *uses == 0 && may_go(*part) && !gone.contains(part) {
                    candidates.push(Reverse((count[part], Reverse(*part))));
                }
            }
        }
    }
    Ok(gone)
}

/// Gives tokens that post-processors name by id their new ones.
fn renumber_templates(value: &mut Value, renumber: &impl Fn(&str) -> Option<u32>) {
    match value {
        Value::Object(entries) => {
            let tokens: Option<Vec<Option<u32>>> = entries
                .get("tokens")
                .and_then(Value::as_array)
                .map(|tokens| tokens.iter().map(|token| token.as_str().and_then(renumber)).collect());
            if let (Some(tokens), true) = (tokens, entries.contains_key("ids")) {
                entries.insert("ids".into(), json!(tokens));
            }
            entries.values_mut().for_each(|entry| renumber_templates(entry, renumber));
        }
        // A special token of the older processors: its text and its id.
        Value::Array(items) => match items.as_mut_slice() {
            [Value::String(token), id @ Value::Number(_)] => *id = json!(renumber(token)),
            items => items.iter_mut().for_each(|item| renumber_templates(item, renumber)),
        },
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// a, b, c; ab, abc, bc, abab; one special token, and a template that begins every text with it.
    fn tokenizer() -> Tokenizer {
        json!({
            "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "pre_tokenizer": null,
            "added_tokens": [{"id": 7, "content": "<s>", "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": true}],
            "post_processor": {"type": "TemplateProcessing",
                "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
                "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
                "special_tokens": {"<s>": {"id": "<s>", "ids": [7], "tokens": ["<s>"]}}},
            "decoder": {"type": "Fuse"},
            "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
                "vocab": {"a": 0, "b": 1, "c": 2, "ab": 3, "abc": 4, "bc": 5, "abab": 6, "<s>": 7},
                "merges": [["a", "b"], ["ab", "c"], ["b", "c"], ["ab", "ab"]]}
        })
        .to_string()
        .parse()
        .unwrap()
    }

    fn tokens(tokenizer: &Tokenizer, text: &str) -> Vec<String> {
        tokenizer.encode(text, true).unwrap().get_tokens().to_vec()
    }

    #[test]
    fn the_least_needed_tokens_go_and_every_text_comes_back() {
        // By id: `abc` 1 time, `bc` 4 times, `abab` 2 times; `ab` alone never.
        let counts = [0, 0, 0, 0, 1, 4, 2, 0];
        let whole = trim(&tokenizer(), &counts, 8).unwrap();
        assert_eq!(whole.kept, [0, 1, 2, 3, 4, 5, 6, 7]);
        let seven = trim(&tokenizer(), &counts, 7).unwrap();
        assert_eq!(seven.kept, [0, 1, 2, 3, 5, 6, 7], "`abc` is needed least");
        assert_eq!(tokens(&seven.tokenizer, "abc"), ["<s>", "ab", "c"]);
        // `abab` goes next, and what it leaves to `ab` (twice 2, and 1 from `abc`) saves that before `bc` with 4.
        let five = trim(&tokenizer(), &counts, 5).unwrap();
        assert_eq!(five.kept, [0, 1, 2, 3, 7]);
        assert_eq!(tokens(&five.tokenizer, "ababc"), ["<s>", "ab", "ab", "c"]);
        assert_eq!(five.tokenizer.token_to_id("<s>"), Some(4));
        for trimmed in [whole, seven, five] {
            let encoded = trimmed.tokenizer.encode("abcbcabab", true).unwrap();
            assert_eq!(encoded.get_ids()[0], trimmed.tokenizer.token_to_id("<s>").unwrap());
            assert_eq!(trimmed.tokenizer.decode(encoded.get_ids(), true).unwrap(), "abcbcabab");
            for (new, &old) in trimmed.kept.iter().enumerate() {
                assert_eq!(trimmed.tokenizer.id_to_token(new as u32), tokenizer().id_to_token(old));
            }
        }
    }

    #[test]
    fn what_cannot_be_trimmed_says_why() {
        assert_eq!(trim(&tokenizer(), &[], 3).err(), Some(TrimError::TooFew { wanted: 3, least: 4 }));
        let words = r#"{"version": "1.0", "added_tokens": [], "normalizer": null, "post_processor": null, "decoder": null,
            "truncation": null, "padding": null, "pre_tokenizer": null,
            "model": {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"}}"#;
        let found = trim(&words.parse().unwrap(), &[], 1).err();
        assert_eq!(found, Some(TrimError::NotBytePair { found: "WordLevel".into() }));
    }

    proptest::proptest! {
        #[test]
        fn any_size_keeps_every_text(size in 4usize..9, counts in proptest::collection::vec(0u64..50, 8), text in "[abc]{0,30}") {
            let trimmed = trim(&tokenizer(), &counts, size).unwrap();
            proptest::prop_assert_eq!(trimmed.kept.len(), size);
            let ids = trimmed.tokenizer.encode(text.as_str(), true).unwrap();
            proptest::prop_assert_eq!(trimmed.tokenizer.decode(ids.get_ids(), true).unwrap(), text);
        }
    }
}
