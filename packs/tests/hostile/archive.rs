//! The archive around the members: cut, padded, packed otherwise, with members that are no plain files or out of order.

use crate::Cases;
use crate::workshop::{Part, Parts};

pub fn container(cases: &mut Cases) {
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

pub fn order(cases: &mut Cases) {
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
