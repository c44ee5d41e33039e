//! Signatures and the keys beside them.

use crate::Cases;
use crate::workshop::Parts;

pub fn signatures(cases: &mut Cases, other: &Parts, elsewhere: &Parts) {
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
