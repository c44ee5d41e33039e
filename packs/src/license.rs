//! Licences as SPDX expressions: whether they are one, their texts, and which go together.

use std::collections::BTreeSet;

use spdx::expression::{ExprNode, Operator};
use spdx::{Expression, LicenseItem, LicenseReq};

/// The most ways of choosing among `OR`s that are followed.
const CHOICES: usize = 64;

/// Checks that a text is an SPDX licence expression of at most 256 bytes with known identifiers, or with
/// `LicenseRef-...`.
///
/// # Errors
/// What is wrong, completing a sentence that begins with the expression.
pub fn check(expression: &str) -> Result<(), String> {
    parse(expression).map(drop)
}

fn parse(expression: &str) -> Result<Expression, String> {
    if expression.len() > 256 {
        return Err("is longer than 256 bytes".into());
    }
    Expression::parse(expression)
        .map_err(|error| format!("is not an SPDX licence expression ({}); see https://spdx.org/licenses", error.reason))
}

/// The texts of all licences of an expression, one after another.
///
/// # Errors
/// The identifiers whose text is not known, such as `LicenseRef-...`.
pub fn texts(expression: &str) -> Result<String, Vec<String>> {
    let parsed = parse(expression).map_err(|problem| vec![format!("{expression} {problem}")])?;
    let mut seen = BTreeSet::new();
    let (mut text, mut unknown) = (String::new(), Vec::new());
    for requirement in parsed.requirements() {
        let name = requirement.req.license.to_string();
        if !seen.insert(name.clone()) {
            continue;
        }
        match requirement.req.license.id() {
            Some(id) => text.push_str(&format!("{name}\n\n{}\n\n", id.text().trim())),
            None => unknown.push(name),
        }
    }
    if unknown.is_empty() { Ok(text.trim_end().to_owned() + "\n") } else { Err(unknown) }
}

/// What a licence asks of a work that is made from several.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// At most that notices are kept.
    Permissive,
    /// The whole under this licence and no further conditions, by the name of its family.
    ShareAlike(String),
    /// Use without commercial advantage only.
    NonCommercial,
    /// Non-commercial, and the whole under the same licence.
    NonCommercialShareAlike,
    /// No changed versions may be passed on.
    NoDerivatives,
    /// A text of its own, to be read by people.
    Own(String),
}

fn kind(requirement: &LicenseReq) -> Kind {
    let name = requirement.license.to_string();
    match &requirement.license {
        LicenseItem::Other(_) => Kind::Own(name),
        LicenseItem::Spdx { id, .. } => {
            let parts: Vec<&str> = id.name.split('-').collect();
            let has = |part: &str| parts.contains(&part);
            let creative_commons = parts[0] == "CC";
            if creative_commons && has("ND") {
                Kind::NoDerivatives
            } else if creative_commons && has("NC") {
                if has("SA") { Kind::NonCommercialShareAlike } else { Kind::NonCommercial }
            } else if creative_commons && has("SA") {
                Kind::ShareAlike("CC-BY-SA".into())
            } else if parts[0] == "ODbL" || id.is_copyleft() && !is_per_file(id.name) {
                Kind::ShareAlike(family(id.name))
            } else {
                Kind::Permissive
            }
        }
    }
}

/// Copyleft that stays with single files or libraries and leaves the whole free.
fn is_per_file(name: &str) -> bool {
    ["MPL", "LGPL", "EPL", "CDDL", "CPL", "APSL", "MS-RL"].iter().any(|family| name.starts_with(family))
}

/// Version 3 of the GPL and of the AGPL may be combined (section 13 of each).
fn family(name: &str) -> String {
    let later = name.ends_with("-or-later");
    match name {
        _ if name.starts_with("GPL-3.0") || name.starts_with("AGPL-3.0") || later && name.starts_with("GPL-") => {
            "GPL version 3".into()
        }
        _ if name.starts_with("GPL-2.0") => "GPL version 2 only".into(),
        _ => name.trim_end_matches("-only").trim_end_matches("-or-later").to_owned(),
    }
}

/// The licences that apply, for each way of choosing among `OR`s.
fn choices(expression: &str) -> Vec<BTreeSet<Kind>> {
    let Ok(parsed) = parse(expression) else { return vec![BTreeSet::from([Kind::Own(expression.to_owned())])] };
    let mut stack: Vec<Vec<BTreeSet<Kind>>> = Vec::new();
    for node in parsed.iter() {
        match node {
            ExprNode::Req(requirement) => stack.push(vec![BTreeSet::from([kind(&requirement.req)])]),
            ExprNode::Op(operator) => {
                let (right, left) = (stack.pop().unwrap_or_default(), stack.pop().unwrap_or_default());
                let mut joined: Vec<BTreeSet<Kind>> = match operator {
                    Operator::Or => left.into_iter().chain(right).collect(),
                    Operator::And => {
                        left.iter().flat_map(|a| right.iter().map(move |b| a.union(b).cloned().collect())).collect()
                    }
                };
                joined.truncate(CHOICES);
                stack.push(joined);
            }
        }
    }
    stack.pop().unwrap_or_default()
}

/// Why works under these two licences cannot be passed on as one, or nothing if they can, with some choice
/// where a licence gives one.
pub fn conflict(a: &str, b: &str) -> Option<String> {
    let (first, second) = (choices(a), choices(b));
    let mut reason = None;
    for x in &first {
        for y in &second {
            match set_conflict(x, y) {
                None => return None,
                Some(found) => reason = Some(found),
            }
        }
    }
    reason
}

fn set_conflict(a: &BTreeSet<Kind>, b: &BTreeSet<Kind>) -> Option<String> {
    let pairs = a.iter().flat_map(|x| b.iter().map(move |y| (x, y)));
    pairs.into_iter().find_map(|(x, y)| pair_conflict(x, y).or_else(|| pair_conflict(y, x)))
}

/// Terms of an own text are not judged: whoever combines them reads them.
fn pair_conflict(a: &Kind, b: &Kind) -> Option<String> {
    use Kind::{NoDerivatives, NonCommercial, NonCommercialShareAlike, ShareAlike};
    match (a, b) {
        (NoDerivatives, _) => Some("one forbids passing on changed or combined versions".into()),
        (ShareAlike(x), ShareAlike(y)) if x != y && !upgrades(x, y) && !upgrades(y, x) => {
            Some(format!("{x} and {y} each ask for the whole to be under them"))
        }
        (ShareAlike(x), NonCommercial | NonCommercialShareAlike) => {
            Some(format!("{x} allows no further conditions, and the other forbids commercial use"))
        }
        _ => None,
    }
}

/// Creative Commons declared GPLv3 a compatible licence for BY-SA 4.0, one way.
fn upgrades(from: &str, to: &str) -> bool {
    (from, to) == ("CC-BY-SA", "GPL version 3")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn expressions_are_strict() {
        for good in
            ["MIT", "MIT OR Apache-2.0", "CC-BY-4.0 AND LicenseRef-terms", "GPL-2.0-only WITH Classpath-exception-2.0"]
        {
            check(good).unwrap();
        }
        for bad in ["", "free", "MIT Apache-2.0", "MIT/Apache-2.0", "MIT,", "CC BY 4.0", "(MIT"] {
            assert!(check(bad).is_err_and(|problem| problem.contains("SPDX")), "{bad}");
        }
    }

    #[test]
    fn which_licences_go_together() {
        let cases = [
            ("MIT", "CC-BY-4.0", true),
            ("CC0-1.0", "CC-BY-NC-4.0", true),
            ("CC-BY-SA-4.0", "CC-BY-SA-4.0", true),
            ("CC-BY-SA-4.0", "GPL-3.0-only", true),
            ("CC-BY-SA-4.0", "CC-BY-NC-4.0", false),
            ("CC-BY-SA-4.0", "GPL-2.0-only", false),
            ("GPL-2.0-only", "GPL-3.0-only", false),
            ("GPL-2.0-or-later", "AGPL-3.0-only", true),
            ("MPL-2.0", "GPL-2.0-only", true),
            ("CC-BY-NC-SA-4.0", "CC-BY-NC-4.0", true),
            ("CC-BY-ND-4.0", "MIT", false),
            // A choice is made so that it fits; what is asked together is all asked.
            ("GPL-2.0-only OR MIT", "CC-BY-SA-4.0", true),
            ("GPL-2.0-only AND MIT", "CC-BY-SA-4.0", false),
            ("LicenseRef-terms", "GPL-2.0-only", true),
        ];
        for (a, b, together) in cases {
            assert_eq!(conflict(a, b).is_none(), together, "{a} and {b}: {:?}", conflict(a, b));
            assert_eq!(conflict(b, a).is_none(), together, "{b} and {a}");
        }
    }

    #[test]
    fn texts_are_found_or_named_as_missing() {
        assert!(texts("MIT").unwrap().contains("WITHOUT WARRANTY OF ANY KIND"));
        assert!(texts("MIT AND CC0-1.0").unwrap().contains("CC0-1.0\n\n"));
        assert_eq!(texts("MIT AND LicenseRef-terms").unwrap_err(), ["LicenseRef-terms"]);
    }
}
