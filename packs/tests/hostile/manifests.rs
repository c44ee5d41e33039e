//! The marker and the manifest.

use crate::Cases;
use crate::workshop::{self, BASE};

pub fn manifests(cases: &mut Cases) {
    let good = cases.good.clone();
    let marker = |text: &str| good.clone().set("lore-pack.json", text.as_bytes());
    let text = String::from_utf8(good.content("lore-pack.json").to_vec()).unwrap();
    cases.parts(
        "another format",
        &marker(&text.replace("lore-pack\"", "lore-pill\"")),
        "names the format \"lore-pill\"",
    );
    cases.parts("a later version", &marker(&text.replace(": 1", ": 2")), "version 2 of the format");
    cases.parts(
        "a marker in another form",
        &marker(&text.replace("{\n", "{ \n")),
        "`lore-pack.json` is not in canonical form",
    );
    cases.parts(
        "a marker that says more",
        &marker(&text.replace("1,", "1,\n  \"run\": \"evil\",")),
        "unknown field `run`",
    );
    cases.parts("a huge marker", &marker(&" ".repeat(2000)), "`lore-pack.json` claims 2000 bytes");
    cases.parts(
        "a huge manifest",
        &good.clone().set("manifest.json", &vec![b'['; 300_000]),
        "`manifest.json` claims 300000 bytes",
    );
    cases.parts(
        "a deep manifest",
        &good.clone().set("manifest.json", &vec![b'['; 200_000]).marked(),
        "`manifest.json`: invalid type",
    );
    let changed = String::from_utf8(good.content("manifest.json").to_vec()).unwrap().replace("Ada", "Eve");
    cases.parts(
        "an author put in place",
        &good.clone().set("manifest.json", changed.as_bytes()),
        "does not have the sha256 that `lore-pack.json` names",
    );
    let manifest = "manifest.json";
    for (what, from, to, reason) in [
        ("a key more", "\"name\": \"rivers\",", "\"name\": \"rivers\",\n  \"hook\": \"evil\",", "unknown field `hook`"),
        (
            "a key twice",
            "\"name\": \"rivers\",",
            "\"name\": \"rivers\",\n  \"name\": \"rivers\",",
            "duplicate field `name`",
        ),
        ("an escape where none is needed", "rivers", "\\u0072ivers", "`manifest.json` is not in canonical form"),
        (
            "a name that is a path",
            "\"name\": \"rivers\"",
            "\"name\": \"../../rivers\"",
            "`name` \"../../rivers\" must be",
        ),
        ("a device's name", "\"name\": \"rivers\"", "\"name\": \"com1\"", "`name` \"com1\" must be"),
        ("a version that is none", "\"version\": \"0.1.0\"", "\"version\": \"latest\"", "unexpected character"),
        ("text that runs backwards", "Where rivers run", "Where \u{202e}rivers run", "`summary` must be"),
        ("an invisible author", "Ada Lovelace", "Ada\u{200b}Lovelace", "`authors` must hold"),
        (
            "a licence that is none",
            "\"license\": \"MIT\"",
            "\"license\": \"free\"",
            "is not an SPDX licence expression",
        ),
        ("no fingerprint", BASE, "lore-base-v1:00", "is not a fingerprint"),
        ("a base from elsewhere", "hf:owner/small-base@main", "http://evil/base", "`base.source` must begin with"),
        (
            "a base that is a command",
            "hf:owner/small-base@main",
            "hf:owner/small-base;evil",
            "means something to a shell",
        ),
        ("another method", "\"method\": \"lora\"", "\"method\": \"code\"", "`method` must be `lora`"),
        ("a type of its own", "\"dtype\": \"F32\"", "\"dtype\": \"PICKLE\"", "`dtype` must be"),
        ("a language that is none", "\"en\"", "\"english language\"", "`languages` must hold"),
        ("a member it lacks", "\"name\": \"README.md\"", "\"name\": \"READYOU.md\"", "`members` lacks README.md"),
        ("a negative size", "\"parameters\": 28", "\"parameters\": -28", "invalid value: integer `-28`"),
        ("a rank that is a lie", "\"rank\": 2", "\"rank\": 64", "the manifest says rank 64"),
        ("targets that are a lie", "\"q_proj\"", "\"o_proj\"", "the manifest says targets o_proj"),
        ("parameters that are a lie", "\"parameters\": 28", "\"parameters\": 29", "the manifest says parameters 29"),
        (
            "a topic that was not measured",
            "\"topic\": \"rivers\"",
            "\"topic\": \"lakes\"",
            "held-out text of the topic `lakes` was not scored",
        ),
    ] {
        cases.edited(what, manifest, from, to, reason);
    }
    let members = String::from_utf8(good.content(manifest).to_vec()).unwrap();
    let hash = workshop::sha256(good.content("README.md"));
    cases.parts(
        "a hash in capitals",
        &good.clone().set(manifest, members.replace(&hash, &hash.to_uppercase()).as_bytes()).marked(),
        "the sha256 of `README.md` is not",
    );
}
