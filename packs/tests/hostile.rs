//! Packs that someone made to do harm: each is refused, for its own reason, and leaves nothing behind.

#![allow(clippy::unwrap_used)]

mod workshop;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use lore_model::config::ModelConfig;
use lore_packs::signature::SigningKey;
use lore_packs::{Base, Error, Library, sign, verify_file};
use workshop::{BASE, Part, Parts, Workshop, base};

/// A file and what its refusal says.
type Case = (String, Vec<u8>, &'static str);

struct Cases {
    good: Parts,
    signed: Parts,
    /// With a router entry.
    routed: Parts,
    all: Vec<Case>,
}

impl Cases {
    fn bytes(&mut self, what: &str, bytes: Vec<u8>, reason: &'static str) {
        self.all.push((what.to_owned(), bytes, reason));
    }

    fn parts(&mut self, what: &str, parts: &Parts, reason: &'static str) {
        self.bytes(what, parts.bytes(), reason);
    }

    /// An additional member before the README, as a naive reader would unpack it.
    fn extra(&mut self, what: &str, part: Part, reason: &'static str) {
        let parts = self.good.clone();
        let at = parts.index("README.md");
        self.parts(what, &parts.insert(at, part), reason);
    }

    /// The good pack with text of a member changed and all hashes corrected.
    fn edited(&mut self, what: &str, name: &str, from: &str, to: &str, reason: &'static str) {
        let parts = self.good.clone().edited(name, from, to);
        self.parts(what, &parts, reason);
    }

    fn weights(&mut self, what: &str, content: &[u8], reason: &'static str) {
        let parts = self.good.clone().set("adapter_model.safetensors", content).rehashed();
        self.parts(what, &parts, reason);
    }
}

fn container(cases: &mut Cases) {
    let good = cases.good.clone();
    let whole = good.bytes();
    let first = good.0[0].content.len();
    cases.bytes("nothing", vec![], "ends inside its first header");
    cases.bytes("cut inside a header", whole[..1024 + 100].to_vec(), "ends inside a header");
    cases.bytes("cut inside a member", whole[..512 + first / 2].to_vec(), "ends inside `lore-pack.json`");
    cases.bytes(
        "cut inside the padding",
        whole[..512 + first + 1].to_vec(),
        "ends inside the padding of `lore-pack.json`",
    );
    cases.bytes("no end mark", whole[..whole.len() - 1024].to_vec(), "ends inside a header; it");
    cases.bytes("half an end mark", whole[..whole.len() - 512].to_vec(), "ends inside its end mark");
    let mut end = whole.clone();
    *end.last_mut().unwrap() = 1;
    cases.bytes("a damaged end mark", end, "end mark of two empty blocks is damaged");
    cases.bytes("something after the end", [&whole[..], b"\0"].concat(), "bytes follow the end mark");
    cases.bytes("gzip", [b"\x1f\x8b", &whole[..]].concat(), "it is gzip");
    cases.bytes("zstd", [b"\x28\xb5\x2f\xfd", &whole[..]].concat(), "it is zstd");
    cases.bytes("zip", [b"PK\x03\x04", &whole[..]].concat(), "it is zip");
    cases.bytes("a GGUF model", [b"GGUF", &whole[..]].concat(), "it is a GGUF model");
    cases.bytes("a text", vec![b'x'; 2000], "a header is not POSIX ustar");
    let gnu = Part::new("README.md", b"hi").with(257, b"ustar  \0");
    cases.extra("a GNU header", gnu, "not POSIX ustar");
    let mut lying = Part::new("README.md", b"hi");
    lying.header[148] ^= 1;
    cases.extra("a wrong checksum", lying, "checksum is wrong");
    for (kind, letter, reason) in [
        ("hard link", b"1", "is a hard link"),
        ("symbolic link", b"2", "is a symbolic link"),
        ("device", b"3", "is a device"),
        ("folder", b"5", "is a folder"),
        ("pipe", b"6", "is a pipe"),
        ("contiguous file", b"7", "is of an unknown kind"),
        ("pax header", b"x", "is an extended (pax) header"),
        ("long name", b"L", "is a GNU long name"),
        ("sparse file", b"S", "is a sparse file"),
        ("old file", b"\0", "is an old-style file"),
    ] {
        let part = Part::new("README.md", b"").with(156, letter).with(157, b"/etc/passwd");
        cases.extra(kind, part, reason);
    }
    let target = Part::new("README.md", b"hi").with(157, b"/etc/passwd");
    cases.extra("a file with a link's target", target, "names the target of a link");
    for (name, reason) in [
        ("/etc/passwd", "`/etc/passwd` is an absolute path"),
        ("C:\\evil.txt", "`C:\\\\evil.txt` is an absolute path"),
        ("../evil.txt", "`../evil.txt` leads out of the folder"),
        ("a/../../evil.txt", "`a/../../evil.txt` leads out of the folder"),
        ("..\\evil.txt", "`..\\\\evil.txt` leads out of the folder"),
        ("sub/README.md", "lies in a folder"),
        ("README.md\n", "holds a control character"),
        ("\u{430}dapter_config.json", "is not plain ASCII"),
        ("readme.MD", "but for capital letters"),
        ("adapter_model.bin", "can run code"),
        ("setup.py", "`setup.py` is a kind of file that can run code"),
        ("extra.txt", "is not a member of the format"),
        ("", "has no name"),
    ] {
        cases.extra(name, Part::new(name, b"evil"), reason);
    }
    let prefix = Part::new("README.md", b"hi").with(345, b"../..");
    cases.extra("a prefix that leads out", prefix, "`../../README.md` leads out");
    cases.extra("executable", Part::new("README.md", b"hi").with(100, b"0000755\0"), "is marked executable");
    cases.extra("set-user", Part::new("README.md", b"hi").with(100, b"0004644\0"), "set-user or sticky bit");
    cases.extra("someone's", Part::new("README.md", b"hi").with(108, b"0001750\0"), "not in the one allowed form");
    cases.extra("a bomb", Part::new("NOTICE.txt", b"hi").size(1 << 30), "claims 1073741824 bytes; at most");
    cases.extra(
        "a size in another notation",
        Part::new("README.md", b"hi").with(124, b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff"),
        "`README.md` claims",
    );
    cases.extra(
        "a size that is no number",
        Part::new("README.md", b"hi").with(124, b"99999999999\0"),
        "is not an octal number",
    );
    let mut padding = whole.clone();
    padding[512 + first] = 1;
    cases.bytes("a message in the padding", padding, "padding after `lore-pack.json` is not empty");
}

fn order(cases: &mut Cases) {
    let good = cases.good.clone();
    let mut twice = good.clone();
    let readme = twice.0[twice.index("README.md")].clone();
    twice.0.insert(twice.index("README.md") + 1, readme.clone());
    cases.parts("a member twice", &twice, "`README.md` occurs twice");
    let end = good.0.len();
    cases.parts(
        "a member again at the end",
        &good.clone().insert(end, readme),
        "`README.md` occurs twice or out of its place",
    );
    let mut lacking = good.clone();
    lacking.0.remove(lacking.index("LICENSE.txt"));
    cases.parts("no licence text", &lacking, "`NOTICE.txt` stands where `LICENSE.txt` must be");
    let mut short = good.clone();
    short.0.pop();
    cases.parts("no last member", &short, "it lacks `recipe.toml`");
    let mut swapped = good.clone();
    swapped.0.swap(0, 1);
    cases.parts("the manifest first", &swapped, "`manifest.json` stands where `lore-pack.json` must be");
    cases.parts("only a marker", &Parts(good.0[..1].to_vec()), "it lacks `manifest.json`");
}

fn manifests(cases: &mut Cases) {
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

fn weights(cases: &mut Cases) {
    let good = cases.good.content("adapter_model.safetensors").to_vec();
    let length = u64::from_le_bytes(good[..8].try_into().unwrap()) as usize;
    let (header, data) = (String::from_utf8(good[8..8 + length].to_vec()).unwrap(), good[8 + length..].to_vec());
    let file = |header: &str, data: &[u8]| [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), data].concat();
    let mut altered = good.clone();
    let last = altered.len() - 3;
    altered[last] ^= 0x40;
    cases.parts(
        "another adapter of the same size",
        &cases.good.clone().set("adapter_model.safetensors", &altered),
        "`adapter_model.safetensors` does not have the sha256",
    );
    cases.parts(
        "another adapter of another size",
        &cases.good.clone().set("adapter_model.safetensors", &good[..good.len() - 4]),
        "bytes; the manifest says",
    );
    cases.weights(
        "a header longer than allowed",
        &[&(2_u64 << 20).to_le_bytes()[..], &good[8..]].concat(),
        "its header claims 2097152 bytes; at most",
    );
    cases.weights(
        "a header longer than the file",
        &[&(900_000_u64).to_le_bytes()[..], &good[8..]].concat(),
        "its header claims 900000 bytes of a file of",
    );
    cases.weights(
        "a header that overflows",
        &[&u64::MAX.to_le_bytes()[..], &good[8..]].concat(),
        "its header claims 18446744073709551615 bytes",
    );
    cases.weights("no tensors", &file("{}", &[]), "it holds no tensors");
    cases.weights("three bytes", b"abc", "it has only 3 bytes");
    cases.weights("a header that is not JSON", &file("{\"a\":", &[]), "its header is not valid");
    cases.weights("values cut off", &file(&header, &data[..data.len() - 4]), "the header lies: tensor");
    cases.weights(
        "values hidden behind",
        &file(&header, &[&data[..], &[0; 4]].concat()),
        "the header lies: tensors end at byte",
    );
    let a = "\"data_offsets\":[0,32]";
    assert!(header.contains(a), "{header}");
    cases.weights(
        "values shared by two",
        &file(&header.replace("\"data_offsets\":[64,96]", "\"data_offsets\":[32,64]"), &data),
        "overlaps another",
    );
    let first = &header[header.find("\"base_model").unwrap()..];
    let first = &first[..first.find("},").unwrap() + 2];
    cases.weights("a tensor twice", &file(&header.replacen(first, &first.repeat(2), 1), &data), "occurs twice at");
    cases.weights(
        "impossible sizes",
        &file(&header.replacen("[2,4]", "[4611686018427387904,4]", 1), &data),
        "of type F32 and shape [4611686018427387904, 4]",
    );
    for (what, value, reason) in [
        ("NaN", f32::NAN, "v_proj.lora_B.weight` is NaN or infinite"),
        ("infinity", f32::NEG_INFINITY, "q_proj.lora_A.weight` is NaN or infinite"),
    ] {
        let mut data = data.clone();
        let at = if value.is_nan() { data.len() - 4 } else { 0 };
        data[at..at + 4].copy_from_slice(&value.to_le_bytes());
        cases.weights(what, &file(&header, &data), reason);
    }
    cases.weights("integers", &file(&header.replace("F32", "I32"), &data), "values of type I32");
    cases.weights("a type nobody knows", &file(&header.replace("F32", "P32"), &data), "has the unknown type `P32`");
    cases.weights(
        "a layer of its own",
        &file(&header.replace("q_proj.lora_A", "q_proj.evil_A"), &data),
        "it is not a low-rank factor",
    );
    cases.weights("half an update", &file(&header.replace("q_proj.lora_A", "k_proj.lora_A"), &data), "has no lora_");
    cases.weights(
        "factors that do not fit",
        &file(&header.replacen("[2,4]", "[4,2]", 1), &data),
        "are not [rank, in] and [out, rank]",
    );
    cases.weights(
        "weights that name another base",
        &file(&header.replace(BASE, &BASE.replace("00", "11")), &data),
        "the weights name another base",
    );
    let config = "adapter_config.json";
    cases.edited(
        "code to import",
        config,
        "\"auto_mapping\": null",
        "\"auto_mapping\": {\"parent_library\": \"evil\"}",
        "`auto_mapping` names code to import",
    );
    cases.edited(
        "code from the repository",
        config,
        "\"auto_mapping\": null",
        "\"auto_map\": {\"AutoModel\": \"evil.Evil\"}",
        "`auto_map` {\"AutoModel\":\"evil.Evil\"} is not supported",
    );
    cases.edited("another kind of adapter", config, "\"LORA\"", "\"IA3\"", "only \"LORA\" is supported");
    cases.edited(
        "layers replaced whole",
        config,
        "\"modules_to_save\": null",
        "\"modules_to_save\": [\"lm_head\"]",
        "fully trained modules are not supported",
    );
    cases.edited(
        "another rank than the weights",
        config,
        "\"r\": 2",
        "\"r\": 3",
        "has rank 2; the configuration says 3",
    );
    cases.edited("weights that PEFT would skip", config, "\"q_proj\"", "\"o_proj\"", "so PEFT would ignore it");
}

/// Entries that a router would trust.
fn routers(cases: &mut Cases) {
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

fn documents(cases: &mut Cases) {
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
fn terminals(cases: &mut Cases) {
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

fn signatures(cases: &mut Cases, other: &Parts, elsewhere: &Parts) {
    let signed = cases.signed.clone();
    let (signature, signer) = ("manifest.json.minisig", "signer.pub");
    let text = String::from_utf8(signed.content(signature).to_vec()).unwrap();
    cases.parts(
        "another author after signing",
        &signed.clone().edited("manifest.json", "Ada", "Eve"),
        "the signature does not belong to this manifest and key",
    );
    let evaluated = signed.clone().edited("evaluation.json", "\"bits_per_byte\": 1.5", "\"bits_per_byte\": 1.1");
    cases.parts("better figures after signing", &evaluated, "signature does not belong to this manifest");
    cases.parts("someone else's key", &signed.clone().set(signer, other.content(signer)), "signature does not belong");
    cases.parts(
        "a signature of another pack",
        &signed.clone().set(signature, elsewhere.content(signature)),
        "the signature is not for `lore pack rivers 0.1.0`",
    );
    let comment = text.replace("trusted comment: lore pack rivers 0.1.0", "trusted comment: lore pack rivers 9.9.9");
    cases.parts(
        "a comment put in place",
        &signed.clone().set(signature, comment.as_bytes()),
        "is not for `lore pack rivers 0.1.0`",
    );
    cases.parts(
        "lines of another system",
        &signed.clone().set(signature, text.replace('\n', "\r\n").as_bytes()),
        "`manifest.json.minisig` is not a minisign signature",
    );
    cases.parts(
        "one more line",
        &signed.clone().set(signature, format!("{text}more\n").as_bytes()),
        "is not a minisign signature in its usual form",
    );
    cases.parts(
        "another untrusted comment",
        &signed.clone().set(signature, text.replacen("manifest", "fidelity", 1).as_bytes()),
        "is not a minisign signature in its",
    );
    let key = String::from_utf8(signed.content(signer).to_vec()).unwrap();
    cases.parts(
        "another algorithm",
        &signed.clone().set(signer, key.replace("\nRW", "\nRX").as_bytes()),
        "`signer.pub` is not a minisign public key",
    );
    cases.parts(
        "a key with something behind",
        &signed.clone().set(signer, format!("{key} ").as_bytes()),
        "is not a minisign public key in its usual form",
    );
    let mut alone = signed.clone();
    alone.0.remove(alone.index(signer));
    cases.parts("a signature without its key", &alone, "`LICENSE.txt` stands where `signer.pub` must be");
    let mut late = signed;
    let part = late.0.remove(late.index(signature));
    late.0.push(part);
    cases.parts("a signature at the end", &late, "`signer.pub` occurs twice or out of its place");
}

fn sign_copy(workshop: &Workshop, from: &Path, name: &str, key: &SigningKey) -> Parts {
    let path = workshop.path(name);
    fs::copy(from, &path).unwrap();
    sign(&path, key).unwrap();
    Parts::of(&fs::read(path).unwrap())
}

#[test]
fn every_hostile_pack_is_refused_for_its_own_reason_and_leaves_nothing_behind() {
    let workshop = Workshop::new();
    let good = workshop.pack("good.lorepack", |_| {});
    let later = workshop.pack("later.lorepack", |draft| draft.version = Some("0.2.0".parse().unwrap()));
    let key = workshop.key("one");
    let signed = sign_copy(&workshop, &good, "signed.lorepack", &key);
    let other = sign_copy(&workshop, &good, "other.lorepack", &workshop.key("two"));
    let elsewhere = sign_copy(&workshop, &later, "elsewhere.lorepack", &key);
    let parts = Parts::of(&fs::read(&good).unwrap());
    assert!(parts.bytes() == fs::read(&good).unwrap(), "taking apart and putting together changes nothing");
    assert!(parts.clone().rehashed().bytes() == parts.bytes(), "the forger's hashes are the builder's");
    let entry = workshop.router("router.safetensors");
    let routed = workshop.pack("routed.lorepack", |draft| draft.router = Some(entry));
    let routed = Parts::of(&fs::read(routed).unwrap());
    let mut cases = Cases { good: parts, signed, routed, all: Vec::new() };
    container(&mut cases);
    order(&mut cases);
    manifests(&mut cases);
    weights(&mut cases);
    routers(&mut cases);
    documents(&mut cases);
    terminals(&mut cases);
    signatures(&mut cases, &other, &elsewhere);

    let reasons: BTreeSet<&str> = cases.all.iter().map(|(_, _, reason)| *reason).collect();
    assert_eq!(reasons.len(), cases.all.len(), "each has its own reason");
    assert!(cases.all.len() >= 40, "{}", cases.all.len());

    let around = tempfile::tempdir().unwrap();
    let library = Library::new(around.path().join("library"));
    let hostile = around.path().join("hostile.lorepack");
    let mut unlike = Vec::new();
    for (what, bytes, reason) in &cases.all {
        fs::write(&hostile, bytes).unwrap();
        let held = library.lock(&|| ()).unwrap();
        let error = match held.stage(&hostile, "hostile", None) {
            Ok(_) => panic!("{what} was accepted"),
            Err(error) => error,
        };
        assert!(matches!(error, Error::Refused { .. } | Error::Altered { .. }), "{what}: {error:?}");
        let text = error.to_string();
        let driving = |c: char| c != '\n' && (c.is_control() || ('\u{202a}'..='\u{202e}').contains(&c));
        assert!(!text.contains(driving) && text.len() < 2500, "{what}: {}", text.escape_debug());
        if !text.contains(reason) {
            unlike.push(format!("{what}: expected `{reason}` in: {text}"));
        }
        assert_eq!(verify_file(&hostile, None).unwrap_err().to_string(), text, "{what}");
        // Not even a temporary file stays, in the library or beside it.
        let names = |folder: &Path| -> BTreeSet<String> {
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
        };
        assert_eq!(names(around.path()), BTreeSet::from(["hostile.lorepack".into(), "library".into()]), "{what}");
        for folder in ["store", "tmp", "modules"] {
            assert!(names(&library.root().join(folder)).is_empty(), "{what} left something in {folder}");
        }
    }
    assert!(unlike.is_empty(), "{}", unlike.join("\n"));
    eprintln!("{} hostile packs", cases.all.len());
}

#[test]
fn a_pack_for_another_base_is_refused_when_the_base_is_given() {
    let workshop = Workshop::new();
    let pack = workshop.pack("good.lorepack", |_| {});
    let config = r#"{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 4, "intermediate_size": 8,
        "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 2, "vocab_size": 10,
        "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "max_position_embeddings": 64, "tie_word_embeddings": true,
        "hidden_act": "silu"}"#;
    let config = ModelConfig::from_json(Path::new("config.json"), config).unwrap();
    let fits = Base { config: config.clone(), fingerprint: base() };
    assert!(verify_file(&pack, Some(&fits)).is_ok());
    let other = Base { fingerprint: BASE.replace("00", "44").parse().unwrap(), ..fits.clone() };
    let error = verify_file(&pack, Some(&other)).unwrap_err().to_string();
    assert!(error.contains("not for lore-base-v1:44"), "{error}");
    let wide = Base { config: ModelConfig { num_key_value_heads: 2, ..config }, ..fits.clone() };
    let error = verify_file(&pack, Some(&wide)).unwrap_err().to_string();
    let entry = workshop.path("entry");
    fs::write(&entry, workshop::router_entry(8, BASE)).unwrap();
    let routed = workshop.pack("routed.lorepack", |draft| draft.router = Some(entry));
    let told = verify_file(&routed, Some(&fits)).unwrap_err().to_string();
    assert!(told.contains("it is 8 wide; the states of the base are 4"), "{told}");
    assert!(error.contains("`model.layers.0.self_attn.v_proj` maps 4 to 2 values; the base's maps 4 to 4"), "{error}");
}
