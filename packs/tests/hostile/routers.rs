//! Entries that a router would trust.

use crate::Cases;
use crate::workshop::{self, BASE};

pub fn routers(cases: &mut Cases) {
    let good = cases.routed.content("router.safetensors").to_vec();
    let routed = cases.routed.clone();
    let mut entry = |what: &str, content: &[u8], reason: &'static str| {
        let parts = routed.clone().set("router.safetensors", content).rehashed();
        cases.parts(what, &parts, reason);
    };
    let text = |from: &str, to: &str| {
        let length = u64::from_le_bytes(good[..8].try_into().unwrap()) as usize;
        let header = String::from_utf8(good[8..8 + length].to_vec()).unwrap();
        assert!(header.contains(from), "{header}");
        let header = header.replacen(from, to, 1);
        [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &good[8 + length..]].concat()
    };
    let mut infinite = good.clone();
    let end = infinite.len();
    infinite[end - 4..].copy_from_slice(&f32::INFINITY.to_le_bytes());
    entry("an entry that is never beaten", &infinite, "a value of `words` is NaN or infinite");
    entry("an entry without a centroid", &text("centroid", "centaurs"), "has no `centroid` of one dimension");
    entry(
        "an entry of two widths",
        &text("\"shape\":[2,4]", "\"shape\":[4,2]"),
        "`spread` has the shape [4, 2]; rows of 4 were expected",
    );
    entry("an entry of integers", &text("F32", "I32"), "`router.safetensors`: values of several types (F32, I32)");
    entry(
        "an entry for another base",
        &workshop::router_entry(4, &BASE.replace("00", "55")),
        "it was made for the base lore-base-v1:55",
    );
    entry("an entry that is cut off", &good[..good.len() - 4], "`router.safetensors`: the header lies: tensor `words`");
    entry(
        "an entry beyond its limit",
        &vec![0; (16 << 20) + 1],
        "`router.safetensors` has 16777217 bytes; 1 to 16777216 are allowed",
    );
    let mut unlisted = cases.good.clone();
    unlisted.0.push(routed.0[routed.index("router.safetensors")].clone());
    cases.parts("an entry nobody hashed", &unlisted, "`router.safetensors` occurs twice or out of its place");
    let mut lacking = routed.clone();
    lacking.0.remove(lacking.index("router.safetensors"));
    cases.parts("an entry that is missing", &lacking, "it lacks `router.safetensors`");
}
