//! The adapter: its weights and its configuration.

use crate::Cases;
use crate::workshop::BASE;

pub fn weights(cases: &mut Cases) {
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
