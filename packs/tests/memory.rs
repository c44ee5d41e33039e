//! Memory does not grow with a pack: in a process of its own, so that its peak is that of one pack.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

mod workshop;

use std::fs::{self, File};
use std::io::Write;

use lore_packs::{Library, build, sign, verify_file};
use workshop::{BASE, Workshop, peak};

#[test]
fn a_large_pack_is_built_signed_verified_and_installed_in_little_memory() {
    const VALUES: u64 = 75 << 20;
    let workshop = Workshop::new();
    let adapter = workshop.path("adapter");
    let name = "base_model.model.model.layers.0.self_attn.q_proj";
    let (a, b) = (VALUES * 4, VALUES * 4 + 8);
    let header = format!(
        r#"{{"__metadata__":{{"lore.base":"{BASE}"}},"{name}.lora_A.weight":{{"dtype":"F32","shape":[1,{VALUES}],"data_offsets":[0,{a}]}},"{name}.lora_B.weight":{{"dtype":"F32","shape":[2,1],"data_offsets":[{a},{b}]}}}}"#
    );
    let mut file = File::create(adapter.join("adapter_model.safetensors")).unwrap();
    file.write_all(&(header.len() as u64).to_le_bytes()).unwrap();
    file.write_all(header.as_bytes()).unwrap();
    // Zeros that the disk need not hold.
    file.set_len(8 + header.len() as u64 + b).unwrap();
    let config = fs::read_to_string(adapter.join("adapter_config.json")).unwrap();
    let config = config.replace("\"r\": 2", "\"r\": 1").replace("\"lora_alpha\": 2", "\"lora_alpha\": 1");
    fs::write(adapter.join("adapter_config.json"), config).unwrap();

    let pack = workshop.path("large.lorepack");
    build(&pack, &workshop.draft()).unwrap();
    sign(&pack, &workshop.key("key")).unwrap();
    assert!(fs::metadata(&pack).unwrap().len() > 300 << 20);
    verify_file(&pack, None).unwrap();
    let library = Library::new(workshop.path("library"));
    library.lock(&|| ()).unwrap().stage(&pack, "test", None).unwrap();
    assert!(peak() < 100, "{} MiB", peak());
    eprintln!("peak {} MiB for a pack of 300 MiB", peak());
}
