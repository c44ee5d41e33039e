//! How each pattern is found.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

use super::Pattern;
use crate::boundary;

/// A place in a text.
pub(super) struct Finding {
    pub pattern: Pattern,
    pub range: Range<usize>,
}

fn compiled(pattern: &str) -> Regex {
    Regex::new(pattern).expect("a pattern that a test compiles")
}

/// The local part after RFC 5321's unquoted form; a domain with at least one dot.
static EMAIL: LazyLock<Regex> = LazyLock::new(|| {
    compiled(
        r"(?i)[a-z0-9](?:[a-z0-9.!#$%&'*+/=?^_`{|}~-]{0,62}[a-z0-9_+-])?@(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,24}\b",
    )
});

static PHONE: LazyLock<Regex> = LazyLock::new(|| {
    compiled(concat!(
        r"\+[1-9][0-9]{0,2}[ .\-]?(?:\([0-9]{1,4}\)[ .\-]?)?[0-9]{1,5}(?:[ .\-]?[0-9]{2,5}){1,4}",
        r"|(?:1[ .\-])?\([2-9][0-9]{2}\) ?[2-9][0-9]{2}[ .\-][0-9]{4}",
        r"|(?:1-)?[2-9][0-9]{2}-[2-9][0-9]{2}-[0-9]{4}",
        r"|(?:1\.)?[2-9][0-9]{2}\.[2-9][0-9]{2}\.[0-9]{4}",
    ))
});

static IPV4: LazyLock<Regex> = LazyLock::new(|| compiled(r"[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}"));

static IPV6: LazyLock<Regex> =
    LazyLock::new(|| compiled(r"[0-9a-fA-F]{0,4}(?::[0-9a-fA-F]{0,4}){2,8}(?::[0-9]{1,3}(?:\.[0-9]{1,3}){3})?"));

static PRIVATE_KEY: LazyLock<Regex> = LazyLock::new(|| {
    compiled(concat!(
        r"-----BEGIN (?:[A-Z0-9]+ ){0,2}PRIVATE KEY(?: BLOCK)?-----",
        // To its end; or, where it is cut off, as far as it looks like base64 or a header of it.
        r"(?:(?:[^-]|-[^-])*-----END (?:[A-Z0-9]+ ){0,2}PRIVATE KEY(?: BLOCK)?-----|(?:\s*[A-Za-z0-9+/=]{16,})*)",
    ))
});

static TOKEN: LazyLock<Regex> = LazyLock::new(|| {
    compiled(concat!(
        r"\b(?:",
        r"(?:AKIA|ASIA)[A-Z0-9]{16}",
        r"|gh[pousr]_[A-Za-z0-9]{36,255}",
        r"|github_pat_[A-Za-z0-9_]{22,255}",
        r"|glpat-[A-Za-z0-9_-]{20,64}",
        r"|xox[abeoprs]-[A-Za-z0-9-]{10,255}",
        r"|AIza[A-Za-z0-9_-]{35}",
        r"|sk-[A-Za-z0-9_-]{32,255}",
        r"|hf_[A-Za-z0-9]{30,64}",
        r"|[sr]k_(?:live|test)_[A-Za-z0-9]{16,255}",
        r"|npm_[A-Za-z0-9]{36}",
        r"|pypi-AgEIcHlwaS5vcmc[A-Za-z0-9_-]{50,512}",
        r"|SG\.[A-Za-z0-9_-]{16,32}\.[A-Za-z0-9_-]{32,64}",
        r"|eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}",
        r")",
        r"|\bBearer (?<bearer>[A-Za-z0-9._~+/-]{20,}=*)",
    ))
});

static PASSWORD: LazyLock<Regex> = LazyLock::new(|| {
    compiled(concat!(
        r#"(?i)(?:password|passwd|pwd|secret|api_?key|access_?key|access_?token|auth_?token|client_?secret|private_?key)"#,
        r#"["']?\s*(?::|=|=>|:=)\s*(?:"(?<double>[^"\s]{8,200})"|'(?<single>[^'\s]{8,200})')"#,
    ))
});

/// Gives every place that a pattern finds, in order, without overlaps.
pub(super) fn find(pattern: Pattern, text: &str, found: &mut dyn FnMut(Range<usize>)) {
    match pattern {
        Pattern::Email if text.contains('@') => emails(text, found),
        Pattern::Phone => {
            let places = PHONE.find_iter(text).map(|place| place.range());
            let digits = |range: &Range<usize>| text[range.clone()].bytes().filter(u8::is_ascii_digit).count();
            places.filter(|range| stands_alone(text, range, "") && (9..=15).contains(&digits(range))).for_each(found);
        }
        Pattern::Ipv4 => {
            let places = IPV4.find_iter(text).map(|place| place.range());
            let public = |range: &Range<usize>| text[range.clone()].parse().is_ok_and(|a: Ipv4Addr| is_public_v4(a));
            places.filter(|range| stands_alone(text, range, ".") && public(range)).for_each(found);
        }
        Pattern::Ipv6 if text.contains(':') => ipv6(text, found),
        Pattern::PrivateKey if text.contains("PRIVATE KEY") => {
            PRIVATE_KEY.find_iter(text).map(|place| place.range()).for_each(found);
        }
        Pattern::Token => {
            let places = TOKEN.captures_iter(text).filter_map(|c| Some(c.name("bearer").or(c.get(0))?.range()));
            places.for_each(found);
        }
        Pattern::Password => {
            let value = |c: regex::Captures<'_>| Some(c.name("double").or(c.name("single"))?.range());
            let given = |range: &Range<usize>| !text[range.clone()].starts_with(['[', '<', '$', '{', '%']);
            PASSWORD.captures_iter(text).filter_map(value).filter(given).for_each(found);
        }
        Pattern::Email | Pattern::Ipv6 | Pattern::PrivateKey => {}
    }
}

/// Looks around every `@` only.
fn emails(text: &str, found: &mut dyn FnMut(Range<usize>)) {
    /// Bytes before and after an `@` that an address can have.
    const AROUND: usize = 300;
    let mut free = 0;
    for (at, _) in text.match_indices('@') {
        let start = boundary::floor(text, at.saturating_sub(AROUND)).max(free);
        let end = boundary::ceil(text, at + AROUND);
        let place = EMAIL.find_iter(&text[start..end]).find(|place| place.range().contains(&(at - start)));
        if let Some(place) = place {
            free = start + place.end();
            found(start + place.start()..free);
        }
    }
}

fn ipv6(text: &str, found: &mut dyn FnMut(Range<usize>)) {
    for place in IPV6.find_iter(text) {
        let mut range = place.range();
        // A colon after an address is punctuation.
        if text[range.clone()].ends_with(':') && !text[range.clone()].ends_with("::") {
            range.end -= 1;
        }
        let written = &text[range.clone()];
        let public = written.parse().is_ok_and(|a: Ipv6Addr| is_public_v6(a));
        let telling = written.bytes().any(|b| b.is_ascii_digit()) && written.bytes().filter(|b| *b == b':').count() > 2;
        if public && telling && stands_alone(text, &range, ":") {
            found(range);
        }
    }
}

/// Whether neither a letter, a digit, nor one of `joins` with a digit behind it continues a place.
fn stands_alone(text: &str, range: &Range<usize>, joins: &str) -> bool {
    let mut before = text[..range.start].chars().rev();
    let mut after = text[range.end..].chars();
    let continued = |first: Option<char>, second: Option<char>| match first {
        Some(c) if c.is_alphanumeric() || c == '_' => true,
        Some(c) if joins.contains(c) || matches!(c, '.' | '-' | ',' | '/') => {
            second.is_some_and(|c| c.is_ascii_digit())
        }
        _ => false,
    };
    !continued(before.next(), before.next()) && !continued(after.next(), after.next())
}

/// Addresses that belong to somebody: not private, local, multicast, reserved or for documentation.
fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, ..] = address.octets();
    let local = address.is_private() || address.is_loopback() || address.is_link_local() || address.is_unspecified();
    let shared = a == 100 && (64..128).contains(&b);
    !(local || shared || a == 0 || address.is_documentation() || a >= 224)
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    // Global unicast is 2000::/3 (RFC 4291, IANA registry); 2001:db8::/32 is for documentation.
    let [first, second, ..] = address.segments();
    first & 0xe000 == 0x2000 && (first, second) != (0x2001, 0xdb8)
}
