//! Personal data and secrets, each replaced by a placeholder that says what stood there.
//!
//! | pattern | placeholder | what it finds |
//! |---|---|---|
//! | `email` | `[EMAIL]` | addresses with a domain |
//! | `phone` | `[PHONE]` | international numbers with `+`, and ten-digit numbers in groups as written in North America |
//! | `ipv4`, `ipv6` | `[IP_ADDRESS]` | addresses that can be routed; private, local and documentation addresses identify nobody and stay |
//! | `private_key` | `[PRIVATE_KEY]` | PEM and PGP private keys, also cut off ones |
//! | `token` | `[TOKEN]` | access tokens with a known form: AWS, GitHub, GitLab, Slack, Google, OpenAI, Anthropic, Hugging Face, Stripe, npm, PyPI, SendGrid, JSON Web Tokens, `Bearer …` |
//! | `password` | `[SECRET]` | quoted values that are assigned to a name such as `password` or `api_key` |

mod patterns;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use patterns::{Finding, find};

/// A kind of personal data or secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pattern {
    /// Electronic mail addresses.
    Email,
    /// Telephone numbers.
    Phone,
    /// Internet addresses, version 4.
    Ipv4,
    /// Internet addresses, version 6.
    Ipv6,
    /// Private keys.
    PrivateKey,
    /// Access tokens of known services.
    Token,
    /// Values assigned to names such as `password`.
    Password,
}

impl Pattern {
    /// All of them. Where two find the same place, the earlier here wins.
    pub const ALL: [Self; 7] =
        [Self::PrivateKey, Self::Token, Self::Password, Self::Email, Self::Ipv6, Self::Ipv4, Self::Phone];

    /// The name in recipes and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Phone => "phone",
            Self::Ipv4 => "ipv4",
            Self::Ipv6 => "ipv6",
            Self::PrivateKey => "private_key",
            Self::Token => "token",
            Self::Password => "password",
        }
    }

    /// What is put in its place.
    pub const fn placeholder(self) -> &'static str {
        match self {
            Self::Email => "[EMAIL]",
            Self::Phone => "[PHONE]",
            Self::Ipv4 | Self::Ipv6 => "[IP_ADDRESS]",
            Self::PrivateKey => "[PRIVATE_KEY]",
            Self::Token => "[TOKEN]",
            Self::Password => "[SECRET]",
        }
    }
}

/// Replaces what the patterns find, and counts it by pattern; `None` where nothing is found.
pub fn scrub(text: &str, wanted: &[Pattern]) -> Option<(String, BTreeMap<Pattern, u64>)> {
    let mut findings: Vec<Finding> = Vec::new();
    for pattern in Pattern::ALL.into_iter().filter(|pattern| wanted.contains(pattern)) {
        let taken = findings.len();
        find(pattern, text, &mut |range| {
            if findings[..taken]
                .iter()
                .all(|earlier| earlier.range.end <= range.start || range.end <= earlier.range.start)
            {
                findings.push(Finding { pattern, range });
            }
        });
    }
    if findings.is_empty() {
        return None;
    }
    findings.sort_by_key(|finding| finding.range.start);
    let (mut scrubbed, mut counts, mut at) = (String::with_capacity(text.len()), BTreeMap::new(), 0);
    for Finding { pattern, range } in findings {
        scrubbed.push_str(&text[at..range.start]);
        scrubbed.push_str(pattern.placeholder());
        *counts.entry(pattern).or_default() += 1;
        at = range.end;
    }
    scrubbed.push_str(&text[at..]);
    Some((scrubbed, counts))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn scrubbed(text: &str) -> String {
        scrub(text, &Pattern::ALL).map_or_else(|| text.to_owned(), |(text, _)| text)
    }

    /// Made up here, so that no file holds what looks like a secret.
    fn made(prefix: &str, alphabet: &str, length: usize) -> String {
        let letters: Vec<char> = alphabet.chars().collect();
        prefix.chars().chain((0..length).map(|i| letters[(i * 7 + 3) % letters.len()])).collect()
    }

    #[test]
    fn every_listed_pattern_is_found_wherever_it_stands() {
        const LETTERS: &str = "AbCdEfGhIjKlMnOpQrStUvWxYz0123456789";
        const CAPITALS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
        let dashes = "-----";
        let key = |kind: &str, end: &str| {
            format!("{dashes}BEGIN {kind}{dashes}\n{}\n{}\n{end}", made("MII", LETTERS, 61), made("", LETTERS, 20))
        };
        let secrets: Vec<(Pattern, String)> = vec![
            (Pattern::Email, "jane.doe+lists@mail.example.co.uk".into()),
            (Pattern::Email, "o'neil_99@example-site.org".into()),
            (Pattern::Phone, "+44 20 7946 0958".into()),
            (Pattern::Phone, "+1-202-555-0143".into()),
            (Pattern::Phone, "(202) 555-0143".into()),
            (Pattern::Phone, "202-555-0143".into()),
            (Pattern::Phone, "202.555.0143".into()),
            (Pattern::Phone, "+491711234567".into()),
            (Pattern::Ipv4, "8.8.4.4".into()),
            (Pattern::Ipv4, "185.199.108.153".into()),
            (Pattern::Ipv6, "2a00:1450:4001:81b::200e".into()),
            (Pattern::Ipv6, "2606:2800:0220:0001:0248:1893:25c8:1946".into()),
            (Pattern::PrivateKey, key("RSA PRIVATE KEY", &format!("{dashes}END RSA PRIVATE KEY{dashes}"))),
            (Pattern::PrivateKey, key("OPENSSH PRIVATE KEY", &format!("{dashes}END OPENSSH PRIVATE KEY{dashes}"))),
            (Pattern::PrivateKey, key("PGP PRIVATE KEY BLOCK", &format!("{dashes}END PGP PRIVATE KEY BLOCK{dashes}"))),
            (Pattern::PrivateKey, key("PRIVATE KEY", "").trim_end().into()),
            (Pattern::Token, made("AKIA", CAPITALS, 16)),
            (Pattern::Token, made("ASIA", CAPITALS, 16)),
            (Pattern::Token, made("ghp_", LETTERS, 36)),
            (Pattern::Token, made("gho_", LETTERS, 36)),
            (Pattern::Token, made("github_pat_", LETTERS, 82)),
            (Pattern::Token, made("glpat-", LETTERS, 20)),
            (Pattern::Token, made("xoxb-", "0123456789", 12) + &made("-", LETTERS, 24)),
            (Pattern::Token, made("AIza", LETTERS, 35)),
            (Pattern::Token, made("sk-", LETTERS, 48)),
            (Pattern::Token, made("sk-proj-", LETTERS, 60)),
            (Pattern::Token, made("sk-ant-api03-", LETTERS, 60)),
            (Pattern::Token, made("hf_", LETTERS, 34)),
            (Pattern::Token, made("sk_live_", LETTERS, 24)),
            (Pattern::Token, made("rk_test_", LETTERS, 24)),
            (Pattern::Token, made("npm_", LETTERS, 36)),
            (Pattern::Token, made("pypi-AgEIcHlwaS5vcmc", LETTERS, 60)),
            (Pattern::Token, made("SG.", LETTERS, 22) + &made(".", LETTERS, 43)),
            (Pattern::Token, made("eyJ", LETTERS, 30) + &made(".eyJ", LETTERS, 60) + &made(".", LETTERS, 43)),
        ];
        for (pattern, secret) in &secrets {
            for (before, after) in
                [("", ""), ("Write to ", " today."), ("(", ")"), ("x = \"", "\";"), ("\n", "\n"), ("a: ", ", b")]
            {
                let text = format!("{before}{secret}{after}");
                let (found, counts) = scrub(&text, &Pattern::ALL).unwrap_or_else(|| panic!("nothing in {text}"));
                assert_eq!(found, format!("{before}{}{after}", pattern.placeholder()), "{text}");
                assert_eq!(counts, [(*pattern, 1)].into());
                assert!(scrub(&found, &Pattern::ALL).is_none(), "{found}");
            }
        }
        assert!(Pattern::ALL.iter().all(|p| *p == Pattern::Password || secrets.iter().any(|(q, _)| p == q)));
    }

    #[test]
    fn passwords_lose_their_value_only() {
        let value = made("", "a1!b", 12);
        for (text, expected) in [
            (format!("password = \"{value}\""), "password = \"[SECRET]\"".to_owned()),
            (format!("  'api_key': '{value}',"), "  'api_key': '[SECRET]',".to_owned()),
            (format!("DB_PASSWORD=\"{value}\""), "DB_PASSWORD=\"[SECRET]\"".to_owned()),
            (format!("Authorization: Bearer {}", made("", "abC1", 40)), "Authorization: Bearer [TOKEN]".to_owned()),
        ] {
            assert_eq!(scrubbed(&text), expected);
        }
    }

    #[test]
    fn ordinary_numbers_and_words_stay() {
        for text in [
            "From 1914-1918 and 1939–1945, about 3.14159265 of 1,234,567,890 people.",
            "Version 1.2.3, section 4.5.6.7.8, 127.0.0.1, 192.168.0.1 and 10.1.2.3 and 203.0.113.9.",
            "At 12:30:45, std::dec and a::b; ::1 and fe80::1 are local.",
            "The ratio 555-0143 is part of 12345678901234567890.",
            "Follow @someone; 5 @ 3 each; user@localhost.",
            "A sk-short, an eye, AKIA, ghp_short and the password is long.",
            "ISBN 978-3-16-148410-0, 10.1000/182, 2020-05-17, 299792458 m/s, 6.02214076e23",
            "-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----",
        ] {
            assert_eq!(scrubbed(text), text);
        }
    }

    #[test]
    fn only_wanted_patterns_are_replaced() {
        let text = "jane@example.org, +44 20 7946 0958";
        let (found, counts) = scrub(text, &[Pattern::Phone]).unwrap();
        assert_eq!(found, "jane@example.org, [PHONE]");
        assert_eq!(counts.len(), 1);
    }

    proptest! {
        #[test]
        fn scrubbing_never_panics_and_ends(text in "[-a-z0-9@.:+() _=\"'é\n/]{0,60}") {
            if let Some((found, counts)) = scrub(&text, &Pattern::ALL) {
                prop_assert!(counts.values().sum::<u64>() >= 1);
                prop_assert!(found != text);
            }
        }
    }
}
