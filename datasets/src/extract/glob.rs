//! File name patterns, matched against paths written with `/`.

/// A pattern: `?` one character, `*` any run within one path segment, `**` any number of whole
/// segments, `{a,b}` alternatives. Everything else stands for itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob {
    alternatives: Vec<Vec<String>>,
}

/// Alternatives that one pattern may expand to.
const MAX_ALTERNATIVES: usize = 1000;

impl Glob {
    /// Reads a pattern.
    ///
    /// # Errors
    /// What is wrong with the pattern: it is empty, leaves its folder, or its braces do not pair.
    pub fn new(pattern: &str) -> Result<Self, String> {
        if pattern.is_empty() {
            return Err("an empty file pattern".into());
        }
        if pattern.starts_with('/') || pattern.split('/').any(|part| part == "..") {
            return Err(format!("the file pattern `{pattern}` must stay inside the source (no leading `/`, no `..`)"));
        }
        let mut pending = vec![pattern.to_owned()];
        let mut alternatives = Vec::new();
        while let Some(next) = pending.pop() {
            if pending.len() + alternatives.len() > MAX_ALTERNATIVES {
                return Err(format!("the file pattern `{pattern}` has more than {MAX_ALTERNATIVES} alternatives"));
            }
            match next.find('{') {
                None if next.contains('}') => {
                    return Err(format!("the file pattern `{pattern}` has a `}}` without `{{`"));
                }
                None => alternatives.push(next.split('/').map(str::to_owned).collect()),
                Some(open) => {
                    let Some(length) = next[open..].find('}') else {
                        return Err(format!("the file pattern `{pattern}` has a `{{` without `}}`"));
                    };
                    let (head, tail) = (&next[..open], &next[open + length + 1..]);
                    for choice in next[open + 1..open + length].split(',') {
                        if choice.contains('{') {
                            return Err(format!("the file pattern `{pattern}` has braces within braces"));
                        }
                        pending.push(format!("{head}{choice}{tail}"));
                    }
                }
            }
        }
        Ok(Self { alternatives })
    }

    /// Whether the whole of `path` matches.
    pub fn matches(&self, path: &str) -> bool {
        let segments: Vec<&str> = path.split('/').collect();
        self.alternatives.iter().any(|pattern| matches_path(pattern, &segments))
    }
}

/// Greedy matching with one point to go back to, so the time is at most quadratic.
fn matches_path(pattern: &[String], path: &[&str]) -> bool {
    matches_items(
        pattern,
        path,
        |p| p == "**",
        |p, segment| {
            let pattern: Vec<char> = p.chars().collect();
            let text: Vec<char> = segment.chars().collect();
            matches_items(&pattern, &text, |c| *c == '*', |p, c| *p == '?' || p == c)
        },
    )
}

fn matches_items<P, T>(pattern: &[P], text: &[T], is_any: impl Fn(&P) -> bool, same: impl Fn(&P, &T) -> bool) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut back: Option<(usize, usize)> = None;
    while t < text.len() {
        if p < pattern.len() && is_any(&pattern[p]) {
            back = Some((p, t));
            p += 1;
        } else if p < pattern.len() && same(&pattern[p], &text[t]) {
            p += 1;
            t += 1;
        } else if let Some((star, from)) = back {
            back = Some((star, from + 1));
            p = star + 1;
            t = from + 1;
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(is_any)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_a_shell() {
        let cases = [
            ("*.json", "a.json", true),
            ("*.json", "b/a.json", false),
            ("**/*.json", "a.json", true),
            ("**/*.json", "b/c/a.json", true),
            ("data/*/??.json", "data/africa/eg.json", true),
            ("data/*/??.json", "data/africa/egy.json", false),
            ("data/**", "data/a/b", true),
            ("data/**", "other/a", false),
            ("*.{md,txt}", "a.txt", true),
            ("*.{md,txt}", "a.rs", false),
            ("a*b*c", "axxbyyc", true),
            ("a*b*c", "axxbyy", false),
        ];
        for (pattern, path, expected) in cases {
            assert_eq!(Glob::new(pattern).expect("a good pattern").matches(path), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn bad_patterns_are_refused() {
        for pattern in ["", "/etc/*", "../*", "a/../b", "{a", "a}", "{a,{b}}"] {
            assert!(Glob::new(pattern).is_err(), "{pattern}");
        }
    }

    #[test]
    fn many_stars_take_no_exponential_time() {
        let pattern = Glob::new(&"a*".repeat(60)).expect("a good pattern");
        assert!(!pattern.matches(&format!("{}b", "a".repeat(59))));
    }
}
