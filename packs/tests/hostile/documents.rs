//! What a pack says about itself, and what of it a terminal would show.

use crate::Cases;
use crate::workshop::BASE;

pub fn documents(cases: &mut Cases) {
    cases.edited(
        "a module of another base",
        "lore.json",
        BASE,
        &BASE.replace("00", "22"),
        "`lore.json` names lore-base-v1:22",
    );
    cases.edited("not a module", "lore.json", "\"module\"", "\"base\"", "it describes a base, not a module");
    cases.edited(
        "texts without a licence",
        "corpus.json",
        "\"license\": \"MIT\"",
        "\"license\": \"\"",
        "the text \"file:corpus\" has no licence",
    );
    cases.edited("nothing held out", "corpus.json", "\"test\": 100", "\"test\": 0", "has no held-out tokens");
    cases.edited(
        "texts that say more",
        "corpus.json",
        "\"texts\"",
        "\"more\": 1,\n  \"texts\"",
        "unknown field `more`",
    );
    cases.edited(
        "an evaluation of another base",
        "evaluation.json",
        BASE,
        &BASE.replace("00", "33"),
        "it was measured on lore-base-v1:33",
    );
    cases.edited(
        "an evaluation without the module",
        "evaluation.json",
        "\"kind\": \"module\"",
        "\"kind\": \"control\"",
        "the module alone was not scored",
    );
    cases.edited(
        "an evaluation without the base",
        "evaluation.json",
        "\"kind\": \"base\"",
        "\"kind\": \"control\"",
        "the base alone was not scored",
    );
    cases.edited(
        "no general English",
        "evaluation.json",
        "\"general\": true",
        "\"general\": false",
        "general English was not scored",
    );
    cases.edited(
        "a score twice",
        "evaluation.json",
        "\"hills\": {",
        "\"general\": {\n          \"bits_per_byte\": 1.0\n        },\n        \"hills\": {",
        "`general` occurs twice",
    );
    cases.edited(
        "a score below nothing",
        "evaluation.json",
        "\"bits_per_byte\": 1.5",
        "\"bits_per_byte\": -1.5",
        "a score is not a positive number",
    );
    cases.edited(
        "a score beyond numbers",
        "evaluation.json",
        "\"bits_per_byte\": 1.5",
        "\"bits_per_byte\": 1e999",
        "number out of range",
    );
    cases.edited("a card without front matter", "README.md", "---\n", "\n", "does not begin with the front matter");
    cases.edited(
        "a card that drives the terminal",
        "README.md",
        "Made with care",
        "\u{1b}[2J\u{1b}[1;1H",
        "`README.md` holds the control character \\u{1b}",
    );
    cases.edited(
        "a recipe that runs backwards",
        "recipe.toml",
        "rivers",
        "\u{202e}rivers",
        "`recipe.toml` holds the control character \\u{202e}",
    );
    let latin = cases.good.clone().set("NOTICE.txt", b"by Zo\xeb\n").rehashed();
    cases.parts("a text that is not UTF-8", &latin, "`NOTICE.txt` is not UTF-8 at byte 5");
    let empty = cases.good.clone().set("LICENSE.txt", b"").rehashed();
    cases.parts("an empty licence", &empty, "`LICENSE.txt` has 0 bytes");
}

/// Escapes hide from a look at the bytes what a message or a table would then show.
pub fn terminals(cases: &mut Cases) {
    let key = "\"\\u001b[2Jclear\": 1,\n  \"name\": \"rivers\",";
    cases.edited(
        "a key that clears the screen",
        "manifest.json",
        "\"name\": \"rivers\",",
        key,
        "unknown field `\\u{1b}[2Jclear`",
    );
    let long = format!("\"{}\": 1,\n  \"texts\"", "x".repeat(100_000));
    cases.edited("a key without end", "corpus.json", "\"texts\"", &long, "unknown field `xxxxxxxx");
    let name = "\"name\": \"rivers\\u001b[31m\"";
    cases.edited(
        "a name that colours",
        "evaluation.json",
        "\"name\": \"rivers\"",
        name,
        "a name is empty, longer than 128 bytes",
    );
}
