//! The names and limits of the format; `docs/pack-format.md` is its specification.

use crate::error::Problem;

/// What the marker calls the format.
pub const FORMAT: &str = "lore-pack";
/// The version of the format this crate reads and writes.
pub const FORMAT_VERSION: u32 = 1;
/// How the name of a pack ends.
pub const EXTENSION: &str = "lorepack";

/// First member: what the file is, and the hash of the manifest.
pub const MARKER: &str = "lore-pack.json";
/// Second member: what the pack says about itself, with the hash of every content member.
pub const MANIFEST: &str = "manifest.json";
/// Third member of a signed pack: a minisign signature of the manifest.
pub const SIGNATURE: &str = "manifest.json.minisig";
/// Fourth member of a signed pack: the minisign public key of the signature.
pub const SIGNER: &str = "signer.pub";

/// The licence's text.
pub const LICENSE: &str = "LICENSE.txt";
/// Who must be named, and how.
pub const NOTICE: &str = "NOTICE.txt";
/// The model card.
pub const CARD: &str = "README.md";
/// PEFT's configuration.
pub const ADAPTER_CONFIG: &str = "adapter_config.json";
/// PEFT's weights.
pub const ADAPTER_WEIGHTS: &str = "adapter_model.safetensors";
/// What was learnt from.
pub const CORPUS: &str = "corpus.json";
/// What was measured.
pub const EVALUATION: &str = "evaluation.json";
/// The base's fingerprint, as every module of Lore carries it.
pub const FACTS: &str = "lore.json";
/// How it was made.
pub const RECIPE: &str = "recipe.toml";
/// What a router knows of the module, so that it can choose it by the text it is given.
pub const ROUTER: &str = "router.safetensors";

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// Members of the envelope, in order, each with the most bytes it may have.
pub const ENVELOPE: [(&str, u64); 4] = [(MARKER, KIB), (MANIFEST, 256 * KIB), (SIGNATURE, KIB), (SIGNER, KIB)];

/// Members of the content, in order (that of their bytes), each with the most bytes it may have. All must
/// be there, and nothing else but [`OPTIONAL`] ones.
pub const CONTENT: [(&str, u64); 9] = [
    (LICENSE, 2 * MIB),
    (NOTICE, MIB),
    (CARD, MIB),
    (ADAPTER_CONFIG, MIB),
    (ADAPTER_WEIGHTS, 2 << 30),
    (CORPUS, 4 * MIB),
    (EVALUATION, 4 * MIB),
    (FACTS, 64 * KIB),
    (RECIPE, 4 * MIB),
];

/// Members of the content that may be absent; they come after [`CONTENT`].
pub const OPTIONAL: [(&str, u64); 1] = [(ROUTER, 16 * MIB)];

/// Every member there may be, in order.
pub fn members() -> impl Iterator<Item = &'static (&'static str, u64)> {
    ENVELOPE.iter().chain(&CONTENT).chain(&OPTIONAL)
}

/// The most bytes a member may have; nothing if there is no such member.
pub fn limit(name: &str) -> Option<u64> {
    members().find(|(known, _)| *known == name).map(|(_, limit)| *limit)
}

/// Accepts the names of the format and says of every other what is wrong with it.
pub(crate) fn check_name(bytes: &[u8]) -> Result<(&'static str, u64), Problem> {
    let known = members().find(|(name, _)| name.as_bytes() == bytes);
    if let Some(&(name, limit)) = known {
        return Ok((name, limit));
    }
    let shown = format!("`{}`", bytes.escape_ascii());
    let parts = || bytes.split(|&byte| byte == b'/' || byte == b'\\');
    let lower = bytes.to_ascii_lowercase();
    let ends = |suffixes: &[&str]| suffixes.iter().any(|suffix| lower.ends_with(suffix.as_bytes()));
    let why = if bytes.is_empty() {
        "a member has no name".to_owned()
    } else if bytes.starts_with(b"/") || bytes.starts_with(b"\\") || bytes.get(1) == Some(&b':') {
        format!("{shown} is an absolute path")
    } else if parts().any(|part| part == b"..") {
        format!("{shown} leads out of the folder (`..`)")
    } else if bytes.iter().any(u8::is_ascii_control) {
        format!("{shown} holds a control character")
    } else if !bytes.is_ascii() {
        format!("{shown} is not plain ASCII, so two names could look alike")
    } else if members().any(|(name, _)| name.as_bytes().eq_ignore_ascii_case(bytes)) {
        format!("{shown} is the same as another name but for capital letters")
    } else if parts().count() > 1 {
        format!("{shown} lies in a folder; packs have none")
    } else if ends(&[".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".py", ".so", ".sh", ".dll", ".exe"]) {
        format!("{shown} is a kind of file that can run code when it is opened")
    } else {
        format!("{shown} is not a member of the format")
    };
    Err(Problem::Refused(why))
}
