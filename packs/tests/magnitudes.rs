//! Packs of modules with magnitudes (DoRA), which the format names by the method `lora` as it does those without.

#![allow(clippy::unwrap_used)]

mod workshop;

use std::fs;
use std::path::Path;

use lore_modules::peft;
use lore_packs::{Library, Policy, verify_file, verify_reader};
use workshop::{Parts, Workshop};

#[test]
fn a_module_with_magnitudes_is_packed_and_installed() {
    let workshop = Workshop::with_magnitudes();
    let file = workshop.pack("a.lorepack", |_| {});
    let pack = verify_file(&file, None).unwrap();
    let manifest = &pack.manifest;
    // 28 values of the factors, and a magnitude for each of 4 and 2 outputs.
    assert_eq!((manifest.method.as_str(), manifest.rank, manifest.parameters), ("lora", 2, 34));
    assert!(pack.layout.config.use_dora && pack.layout.updates.values().all(|update| update.magnitude));

    let library = Library::new(workshop.path("library"));
    let mut held = library.lock(&|| ()).unwrap();
    let staged = held.stage(&file, "test", None).unwrap();
    let folder = held.commit(vec![staged], &Policy::default()).unwrap().remove(0);
    let (installed, own) = (peft::read(&folder).unwrap(), peft::read(&workshop.path("adapter")).unwrap());
    assert_eq!(installed.updates, own.updates);
    assert!(own.updates.values().all(|update| update.magnitude.is_some()));
}

/// By somebody who makes all hashes agree.
#[test]
fn magnitudes_that_do_not_fit_are_refused() {
    let workshop = Workshop::with_magnitudes();
    let file = workshop.pack("a.lorepack", |_| {});
    let parts = || Parts::of(&fs::read(&file).unwrap());
    let refused = |parts: &Parts, reason: &str| {
        let error = verify_reader(Path::new("forged"), &parts.bytes()[..], None).unwrap_err().to_string();
        assert!(error.contains(reason), "`{reason}` is not in: {error}");
    };
    let config = "adapter_config.json";
    refused(&parts().edited(config, "\"use_dora\": true", "\"use_dora\": false"), "has magnitudes; the configuration");
    let fewer = parts().edited("manifest.json", "\"parameters\": 34", "\"parameters\": 28");
    refused(&fewer, "the manifest says parameters 28, the adapter has 34");
    let weights = parts().content("adapter_model.safetensors").to_vec();
    let header = |from: &str, to: &str| {
        let length = u64::from_le_bytes(weights[..8].try_into().unwrap()) as usize;
        let text = std::str::from_utf8(&weights[8..8 + length]).unwrap();
        assert!(text.contains(from), "`{from}` is not in {text}");
        let text = text.replacen(from, to, 1);
        let bytes = [&(text.len() as u64).to_le_bytes(), text.as_bytes(), &weights[8 + length..]].concat();
        parts().set("adapter_model.safetensors", &bytes).rehashed()
    };
    refused(
        &header("v_proj.lora_magnitude_vector", "o_proj.lora_magnitude_vector"),
        "`model.layers.0.self_attn.o_proj`",
    );
    refused(&header("\"shape\":[4]", "\"shape\":[2,2]"), "[2, 2] magnitudes for 4 outputs");
    let plain = Parts::of(&fs::read(Workshop::new().pack("b.lorepack", |_| {})).unwrap());
    refused(&plain.edited(config, "\"use_dora\": false", "\"use_dora\": true"), "lacks magnitudes; the configuration");
}
