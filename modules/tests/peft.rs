//! Modules saved by PEFT against the numbers PEFT computes from them, round trips, and what is refused.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use lore_model::files::ModelFiles;
use lore_model::fingerprint::Fingerprint;
use lore_model::save::StoredType;
use lore_model::weights::safetensors_writer::SafetensorsWriter;
use lore_modules::{Adapter, AdapterConfig, Error, LowRank, peft};
use serde_json::{Value, json};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn base() -> ModelFiles {
    ModelFiles::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/tests/fixtures/tiny-llama")).unwrap()
}

fn some_fingerprint(digit: char) -> Fingerprint {
    format!("lore-base-v1:{}", digit.to_string().repeat(64)).parse().unwrap()
}

/// A module of two updates with small whole numbers in it.
fn small() -> Adapter {
    let update = |rank: usize, scale| LowRank {
        a: (0..rank * 3).map(|value| value as f32).collect(),
        b: (0..rank * 2).map(|value| -(value as f32)).collect(),
        rank,
        in_features: 3,
        out_features: 2,
        scale,
        magnitude: None,
    };
    let mut config = AdapterConfig::uniform(2, 6.0);
    config.rank_pattern.push(("v_proj".to_owned(), 4));
    Adapter {
        config,
        updates: BTreeMap::from([
            ("model.layers.0.self_attn.q_proj".to_owned(), update(2, 3.0)),
            ("model.layers.0.self_attn.v_proj".to_owned(), update(4, 1.5)),
        ]),
        base: Some(some_fingerprint('a')),
        metadata: BTreeMap::from([
            ("topic".to_owned(), "geography".to_owned()),
            ("base".to_owned(), "not a fingerprint".to_owned()),
        ]),
    }
}

/// The last row of `scale · B · A`.
fn last_row(update: &LowRank) -> Vec<f32> {
    let b = &update.b[(update.out_features - 1) * update.rank..];
    let column = |column: usize| {
        (0..update.rank).map(|k| b[k] * update.a[k * update.in_features + column]).sum::<f32>() * update.scale
    };
    (0..update.in_features).map(column).collect()
}

#[test]
fn modules_saved_by_peft_mean_the_same_here() {
    for (name, count) in [("plain", 14), ("patterns", 6), ("rslora", 2), ("dora", 8)] {
        let adapter = peft::read(&fixture(name)).unwrap();
        let expected: Value =
            serde_json::from_str(&fs::read_to_string(fixture(name).join("expected.json")).unwrap()).unwrap();
        let expected = expected["updates"].as_object().unwrap();
        assert_eq!(adapter.updates.len(), count);
        assert_eq!(adapter.updates.keys().collect::<Vec<_>>().len(), expected.len());
        for (module, update) in &adapter.updates {
            let expected = &expected[module];
            assert!((f64::from(update.scale) - expected["scale"].as_f64().unwrap()).abs() < 1e-6, "{name} {module}");
            assert_eq!(json!([update.out_features, update.in_features]), expected["shape"]);
            for (value, expected) in last_row(update).into_iter().zip(expected["last_row"].as_array().unwrap()) {
                assert!((f64::from(value) - expected.as_f64().unwrap()).abs() < 1e-6, "{name} {module}");
            }
        }
        assert_eq!(adapter.base, None);
        assert_eq!(adapter.config.base_model_name_or_path.as_deref(), Some("tiny-llama"));
        adapter.check_base(&base().config, &some_fingerprint('0'), true).unwrap();
    }
}

#[test]
fn what_is_written_is_read_back() {
    let parent = tempfile::tempdir().unwrap();
    for (index, adapter) in
        [small(), peft::read(&fixture("patterns")).unwrap(), peft::read(&fixture("rslora")).unwrap()].iter().enumerate()
    {
        let folder = parent.path().join(index.to_string());
        peft::write(&folder, adapter, StoredType::F32).unwrap();
        assert_eq!(&peft::read(&folder).unwrap(), adapter);
        // The weights alone still say which base they belong to.
        fs::remove_file(folder.join("lore.json")).unwrap();
        assert_eq!(peft::read(&folder).unwrap().base, adapter.base);
    }
    let folder = parent.path().join("half");
    peft::write(&folder, &small(), StoredType::Bf16).unwrap();
    assert_eq!(peft::read(&folder).unwrap(), small(), "small whole numbers survive bf16");
}

#[test]
fn the_configuration_is_written_as_peft_writes_it() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("out");
    peft::write(&folder, &small(), StoredType::F32).unwrap();
    let text = fs::read_to_string(folder.join("adapter_config.json")).unwrap();
    let keys: Vec<&str> = text.lines().filter(|line| line.starts_with("  \"")).collect();
    assert!(keys.is_sorted(), "{text}");
    let config: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(config["target_modules"], json!(["q_proj", "v_proj"]));
    assert_eq!((&config["r"], &config["lora_alpha"]), (&json!(2), &json!(6)));
    assert_eq!(config["rank_pattern"], json!({"v_proj": 4}));
    assert_eq!(
        (&config["peft_type"], &config["task_type"], &config["inference_mode"]),
        (&json!("LORA"), &json!("CAUSAL_LM"), &json!(true))
    );
    // Layers that differ are named in full, or PEFT would add updates the module does not have.
    let mut uneven = small();
    let moved = uneven.updates.remove("model.layers.0.self_attn.v_proj").unwrap();
    uneven.updates.insert("model.layers.1.self_attn.v_proj".to_owned(), moved);
    peft::write(&folder, &uneven, StoredType::F32).unwrap();
    let config: Value = serde_json::from_str(&fs::read_to_string(folder.join("adapter_config.json")).unwrap()).unwrap();
    assert_eq!(config["target_modules"], json!(["model.layers.0.self_attn.q_proj", "model.layers.1.self_attn.v_proj"]));
}

#[test]
fn patterns_match_whole_parts_of_names_first_one_first() {
    let mut config = AdapterConfig::uniform(8, 16.0);
    config.rank_pattern = vec![
        ("layers.1.self_attn.q_proj".into(), 2),
        ("^q_proj".into(), 3),
        ("q_proj".into(), 4),
        (r"mlp\.up_proj$".into(), 5),
    ];
    config.alpha_pattern = vec![("^model.layers.0.mlp.up_proj".into(), 10.0)];
    assert_eq!(config.rank_of("model.layers.1.self_attn.q_proj"), 2);
    assert_eq!(config.rank_of("model.layers.11.self_attn.q_proj"), 4);
    assert_eq!(config.rank_of("q_proj"), 3);
    assert_eq!(config.rank_of("model.layers.0.seq_proj"), 8);
    assert_eq!(config.rank_of("model.layers.0.mlp.up_proj"), 5);
    assert_eq!(config.scale_of("model.layers.0.mlp.up_proj"), 2.0);
    assert_eq!(config.scale_of("model.layers.1.mlp.up_proj"), 16.0 / 5.0);
    config.use_rslora = true;
    assert_eq!(config.scale_of("model.layers.3.self_attn.q_proj"), 8.0);
}

#[test]
fn another_base_is_refused_unless_allowed_and_wrong_shapes_always() {
    let files = base();
    let fingerprint = Fingerprint::of(&files.config, &*files.weights, &files.tokenizer).unwrap();
    let mut adapter = peft::read(&fixture("plain")).unwrap();
    let error = adapter.check_base(&files.config, &fingerprint, false).unwrap_err();
    assert!(error.to_string().contains("a base it does not name"), "{error}");
    adapter.base = Some(some_fingerprint('b'));
    let error = adapter.check_base(&files.config, &fingerprint, false).unwrap_err().to_string();
    assert!(error.contains(&some_fingerprint('b').to_string()) && error.contains(&fingerprint.to_string()), "{error}");
    adapter.check_base(&files.config, &fingerprint, true).unwrap();
    adapter.base = Some(fingerprint);
    adapter.check_base(&files.config, &fingerprint, false).unwrap();

    let mut config = files.config.clone();
    config.num_hidden_layers = 1;
    config.intermediate_size = 47;
    let Err(Error::Shapes { problems }) = adapter.check_base(&config, &fingerprint, true) else {
        panic!("must be refused")
    };
    assert_eq!(problems.len(), 7 + 3);
    assert!(problems.iter().any(|problem| problem.contains("maps 48 to 32 values; the base's maps 47 to 32")));
}

/// Copies a module saved by PEFT and changes its configuration.
fn with_config(changes: &Value) -> Result<Adapter, Error> {
    let folder = tempfile::tempdir().unwrap();
    let mut config: Value =
        serde_json::from_str(&fs::read_to_string(fixture("plain/adapter_config.json")).unwrap()).unwrap();
    for (key, value) in changes.as_object().unwrap() {
        config[key] = value.clone();
    }
    fs::write(folder.path().join("adapter_config.json"), config.to_string()).unwrap();
    fs::copy(fixture("plain/adapter_model.safetensors"), folder.path().join("adapter_model.safetensors")).unwrap();
    peft::read(folder.path())
}

#[test]
fn everything_unsupported_is_named_at_once() {
    let changes = json!({
        "peft_type": "LOHA", "bias": "all", "modules_to_save": ["lm_head"], "fan_in_fan_out": true,
        "init_lora_weights": "pissa", "layer_replication": [[0, 1]], "some_new_thing": {"on": true},
        "rank_pattern": {".*q_proj|k_proj": 2}, "r": 0, "lora_alpha": "much"
    });
    let Err(Error::Config { problems, .. }) = with_config(&changes) else { panic!("must be refused") };
    for expected in [
        "LOHA",
        "`bias`",
        "modules_to_save",
        "fan_in_fan_out",
        "pissa",
        "layer_replication",
        "some_new_thing",
        ".*q_proj",
        "`r` is 0",
        "`lora_alpha` is \"much\"",
    ] {
        assert!(problems.iter().any(|problem| problem.contains(expected)), "no `{expected}` in {problems:#?}");
    }
    assert_eq!(problems.len(), 10);
    for (change, expected) in [
        (json!({"r": 5}), "has rank 4; the configuration says 5"),
        (json!({"target_modules": ["q_proj"]}), "not among the configured `target_modules`"),
    ] {
        let error = with_config(&change).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    assert!(
        with_config(&json!({"target_modules": "all-linear", "lora_dropout": 0, "eva_config": {"rho": 2.0}})).is_ok()
    );
}

/// A folder with a configuration of rank 1 and these tensors, filled with `value`.
fn with_tensors(tensors: &[(&str, &[usize])], value: f32) -> Result<Adapter, Error> {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("adapter_config.json"), r#"{"peft_type": "LORA", "r": 1}"#).unwrap();
    let tensors: Vec<(String, Vec<usize>)> =
        tensors.iter().map(|(name, shape)| ((*name).to_owned(), shape.to_vec())).collect();
    let path = folder.path().join("adapter_model.safetensors");
    let mut writer = SafetensorsWriter::create(&path, StoredType::F32, &tensors, &BTreeMap::new()).unwrap();
    for (name, shape) in &tensors {
        writer.write(name, &vec![value; shape.iter().product()]).unwrap();
    }
    writer.finish().unwrap();
    peft::read(folder.path())
}

#[test]
fn every_unusable_tensor_is_named() {
    let (a, b) = ("base_model.model.x.q_proj.lora_A.weight", "base_model.model.x.q_proj.lora_B.weight");
    assert_eq!(with_tensors(&[(a, &[1, 3]), (b, &[2, 1])], 0.5).unwrap().updates["x.q_proj"].scale, 8.0);
    let names: [(&str, &[usize]); 9] = [
        ("base_model.model.only_a.lora_A.weight", &[1, 2]),
        ("base_model.model.only_b.lora_B.weight", &[2, 1]),
        ("base_model.model.flat.lora_A.weight", &[3]),
        ("base_model.model.flat.lora_B.weight", &[3, 1]),
        ("base_model.model.embed_tokens.lora_embedding_A", &[1, 4]),
        ("base_model.model.x.q_proj.lora_magnitude_vector", &[2]),
        ("base_model.model.lm_head.weight", &[2, 2]),
        ("transformer.x.lora_A.weight", &[1, 2]),
        (a, &[1, 3]),
    ];
    let Err(Error::Tensors { problems, .. }) = with_tensors(&names, 0.5) else { panic!("must be refused") };
    for expected in [
        "`only_a` has no lora_B",
        "`only_b` has no lora_A",
        "`flat`: A [3]",
        "embeddings",
        "lm_head.weight",
        "does not begin with",
        "`x.q_proj` has no lora_B",
    ] {
        assert!(problems.iter().any(|problem| problem.contains(expected)), "no `{expected}` in {problems:#?}");
    }
    let Err(Error::Tensors { problems, .. }) = with_tensors(&[(a, &[1, 3]), (b, &[2, 1])], f32::NAN) else {
        panic!("must be refused")
    };
    assert_eq!(problems.len(), 2);
    assert!(with_tensors(&[], 0.0).unwrap_err().to_string().contains("no updates"));
}

#[test]
fn folders_that_are_no_modules_say_why() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let message = || peft::read(path).unwrap_err().to_string();
    assert!(message().contains("adapter_config.json and adapter_model.safetensors"));
    fs::write(path.join("adapter_config.json"), "{}").unwrap();
    fs::write(path.join("adapter_model.bin"), "x").unwrap();
    assert!(message().contains("never read"), "{}", message());
    // A header of more than a megabyte.
    let mut bytes = (2_u64 << 20).to_le_bytes().to_vec();
    bytes.extend(b"{}");
    bytes.resize(8 + (2 << 20), b' ');
    fs::write(path.join("adapter_model.safetensors"), bytes).unwrap();
    fs::write(path.join("adapter_config.json"), r#"{"peft_type": "LORA"}"#).unwrap();
    assert!(message().contains("longer than the 1048576 allowed"), "{}", message());
}

#[test]
fn nothing_is_written_that_could_not_be_read_or_over_others_files() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("out");
    let mut broken = small();
    let update = broken.updates.values_mut().next().unwrap();
    update.a[0] = f32::INFINITY;
    update.scale = 2.0;
    let Err(Error::Tensors { problems, .. }) = peft::write(&folder, &broken, StoredType::F32) else {
        panic!("must be refused")
    };
    assert_eq!(problems.len(), 2);
    assert!(!folder.exists());
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("notes.txt"), "mine").unwrap();
    assert!(matches!(
        peft::write(&folder, &small(), StoredType::F32),
        Err(Error::Model(lore_model::Error::Occupied { .. }))
    ));
    assert_eq!(fs::read_to_string(folder.join("notes.txt")).unwrap(), "mine");
}

#[test]
fn a_header_and_a_file_that_name_different_bases_are_refused() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("out");
    peft::write(&folder, &small(), StoredType::F32).unwrap();
    let facts = fs::read_to_string(folder.join("lore.json")).unwrap();
    fs::write(folder.join("lore.json"), facts.replace(&"a".repeat(64), &"c".repeat(64))).unwrap();
    assert!(peft::read(&folder).unwrap_err().to_string().contains("the weights say"));
}
