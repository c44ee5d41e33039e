//! Opening and writing whole repositories, and what a fingerprint depends on.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use lore_model::Error;
use lore_model::files::ModelFiles;
use lore_model::fingerprint::Fingerprint;
use lore_model::save::{Repository, SHARD_BYTES, StoredType, save_repository};
use lore_model::weights::check::{check_finite, check_tensors};
use lore_model::weights::memory::MemoryWeights;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn fingerprint(files: &ModelFiles) -> Fingerprint {
    Fingerprint::of(&files.config, &*files.weights, &files.tokenizer).unwrap()
}

fn save(files: &ModelFiles, folder: &Path, dtype: StoredType, shard_bytes: u64) -> Result<Fingerprint, Error> {
    let repository = Repository {
        config: &files.config,
        tokenizer: &files.tokenizer,
        tokenizer_settings: &files.tokenizer_settings,
        dtype,
        shard_bytes,
        readme: Some("# Tiny\n"),
    };
    save_repository(folder, &repository, &mut |name| files.weights.read_f32(name))
}

/// Every tensor of a model, in memory.
fn tensors(files: &ModelFiles) -> Vec<(String, Vec<usize>, Vec<f32>)> {
    let read = |(name, shape): (String, Vec<usize>)| {
        let values = files.weights.read_f32(&name).unwrap();
        (name, shape, values)
    };
    files.config.expected_tensors().into_iter().map(read).collect()
}

#[test]
fn transformers_folders_are_opened() {
    for (name, count) in [("tiny-llama", 2 * 9 + 3), ("tiny-qwen2", 2 * 12 + 2), ("tiny-qwen3", 2 * 11 + 2)] {
        let files = ModelFiles::open(&fixture(name)).unwrap();
        assert_eq!(files.config.expected_tensors().len(), count);
        check_finite(&files.config, &*files.weights).unwrap();
    }
}

#[test]
fn a_saved_repository_is_the_same_model() {
    let parent = tempfile::tempdir().unwrap();
    for name in ["tiny-llama.gguf", "tiny-qwen2", "tiny-qwen3"] {
        let files = ModelFiles::open(&fixture(name)).unwrap();
        let folder = parent.path().join("a/b").join(name);
        let printed = save(&files, &folder, StoredType::F32, SHARD_BYTES).unwrap();
        let again = ModelFiles::open(&folder).unwrap();
        assert_eq!(again.config, files.config);
        assert_eq!(tensors(&again), tensors(&files));
        assert_eq!(printed, fingerprint(&files));
        assert_eq!(printed, fingerprint(&again));
        assert!(fs::read_to_string(folder.join("lore.json")).unwrap().contains(&printed.to_string()));
        assert_eq!(fs::read_to_string(folder.join("README.md")).unwrap(), "# Tiny\n");
    }
    assert_eq!(fs::read_dir(parent.path().join("a/b")).unwrap().count(), 3, "no temporary folders are left");
}

#[test]
fn shards_do_not_change_the_model_and_rounding_does() {
    let parent = tempfile::tempdir().unwrap();
    let files = ModelFiles::open(&fixture("tiny-llama")).unwrap();
    let sharded = parent.path().join("sharded");
    let printed = save(&files, &sharded, StoredType::F32, 30_000).unwrap();
    assert!(sharded.join("model.safetensors.index.json").is_file());
    assert!(!sharded.join("model.safetensors").exists());
    assert_eq!(printed, fingerprint(&ModelFiles::open(&sharded).unwrap()));
    assert_eq!(printed, fingerprint(&ModelFiles::open(&fixture("tiny-llama.gguf")).unwrap()));

    let rounded = parent.path().join("rounded");
    let rounded_print = save(&files, &rounded, StoredType::Bf16, SHARD_BYTES).unwrap();
    assert_ne!(rounded_print, printed);
    let rounded = ModelFiles::open(&rounded).unwrap();
    assert_eq!(rounded_print, fingerprint(&rounded));
    for ((name, _, stored), (_, _, original)) in tensors(&rounded).iter().zip(tensors(&files)) {
        for (stored, original) in stored.iter().zip(original) {
            assert!((stored - original).abs() <= original.abs() / 256.0, "{name}: {stored} for {original}");
        }
    }
}

#[test]
fn the_same_model_is_the_same_bytes() {
    let parent = tempfile::tempdir().unwrap();
    let files = ModelFiles::open(&fixture("tiny-qwen3")).unwrap();
    let read = |name: &str| {
        let folder = parent.path().join(name);
        save(&files, &folder, StoredType::F32, SHARD_BYTES).unwrap();
        let mut files: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files.iter().map(|path| (path.file_name().unwrap().to_owned(), fs::read(path).unwrap())).collect::<Vec<_>>()
    };
    assert_eq!(read("one"), read("two"));
}

#[test]
fn a_fingerprint_depends_on_what_is_computed_only() {
    let files = ModelFiles::open(&fixture("tiny-llama")).unwrap();
    let print = fingerprint(&files);
    let mut config = files.config.clone();
    config.max_position_embeddings = 9;
    config.eos_token_ids.clear();
    assert_eq!(Fingerprint::of(&config, &*files.weights, &files.tokenizer).unwrap(), print);
    config.rope_theta = 1e4;
    assert_ne!(Fingerprint::of(&config, &*files.weights, &files.tokenizer).unwrap(), print);

    let mut changed = tensors(&files);
    changed[3].2[5] += 1e-7;
    let changed = MemoryWeights::new("changed", changed).unwrap();
    assert_ne!(Fingerprint::of(&files.config, &changed, &files.tokenizer).unwrap(), print);

    let mut tokenizer = files.tokenizer.clone();
    tokenizer.with_padding(Some(tokenizers::PaddingParams::default()));
    assert_eq!(Fingerprint::of(&files.config, &*files.weights, &tokenizer).unwrap(), print);
    tokenizer.with_normalizer(Some(tokenizers::normalizers::Lowercase)).unwrap();
    assert_ne!(Fingerprint::of(&files.config, &*files.weights, &tokenizer).unwrap(), print);
}

#[test]
fn a_fingerprint_is_text_and_back() {
    let print = fingerprint(&ModelFiles::open(&fixture("tiny-llama")).unwrap());
    let text = print.to_string();
    assert_eq!(text.parse::<Fingerprint>().unwrap(), print);
    let json = serde_json::to_string(&print).unwrap();
    assert_eq!(serde_json::from_str::<Fingerprint>(&json).unwrap(), print);
    for wrong in [
        "",
        "lore-base-v1:",
        &text[1..],
        &text[..text.len() - 1],
        &text.to_uppercase(),
        &format!("{text}0"),
        "lore-base-v1:é",
    ] {
        assert!(wrong.parse::<Fingerprint>().is_err(), "{wrong}");
    }
}

#[test]
fn only_our_own_or_empty_folders_are_replaced() {
    let parent = tempfile::tempdir().unwrap();
    let files = ModelFiles::open(&fixture("tiny-qwen2")).unwrap();
    let folder = parent.path().join("out");
    fs::create_dir(&folder).unwrap();
    save(&files, &folder, StoredType::F32, SHARD_BYTES).unwrap();
    fs::write(folder.join("stale"), "x").unwrap();
    save(&files, &folder, StoredType::Bf16, SHARD_BYTES).unwrap();
    assert!(!folder.join("stale").exists());
    fs::remove_file(folder.join("lore.json")).unwrap();
    assert!(matches!(save(&files, &folder, StoredType::F32, SHARD_BYTES), Err(Error::Occupied { .. })));
    assert!(folder.join("config.json").is_file());
    let file = parent.path().join("file");
    fs::write(&file, "x").unwrap();
    assert!(save(&files, &file, StoredType::F32, SHARD_BYTES).is_err());
    assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 2, "no temporary folders are left");
}

#[test]
fn nothing_appears_if_weights_are_not_finite() {
    let parent = tempfile::tempdir().unwrap();
    let files = ModelFiles::open(&fixture("tiny-llama")).unwrap();
    let mut broken = tensors(&files);
    broken[2].2[0] = f32::NAN;
    broken[4].2[1] = f32::INFINITY;
    broken[4].2[2] = f32::NEG_INFINITY;
    let (first, second) = (broken[2].0.clone(), broken[4].0.clone());
    let broken = ModelFiles { weights: Box::new(MemoryWeights::new("broken", broken).unwrap()), ..files };
    let folder = parent.path().join("out");
    let error = save(&broken, &folder, StoredType::F32, SHARD_BYTES).unwrap_err();
    assert!(matches!(error, Error::NotFinite { .. }));
    assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
    let Err(Error::NotFinite { problems, .. }) = check_finite(&broken.config, &*broken.weights) else {
        panic!("must be found")
    };
    assert_eq!(problems.len(), 2);
    assert!(problems[0].contains(&first) && problems[0].contains(": 1 of"));
    assert!(problems[1].contains(&second) && problems[1].contains(": 2 of"));
}

#[test]
fn tensors_that_do_not_fit_are_all_named() {
    let files = ModelFiles::open(&fixture("tiny-llama")).unwrap();
    let mut wrong = tensors(&files);
    let missing = wrong.remove(5).0;
    let reshaped = wrong.iter_mut().find(|(name, ..)| name.ends_with("0.mlp.up_proj.weight")).unwrap();
    reshaped.1.reverse();
    wrong.push(("model.layers.0.mlp.experts.weight".to_owned(), vec![1], vec![0.0]));
    wrong.push(("model.layers.0.self_attn.rotary_emb.inv_freq".to_owned(), vec![4], vec![0.0; 4]));
    let wrong = MemoryWeights::new("wrong", wrong).unwrap();
    let Err(Error::Tensors { problems, .. }) = check_tensors(&files.config, &wrong) else { panic!("must be refused") };
    assert_eq!(problems.len(), 3);
    assert!(problems.iter().any(|problem| problem.contains("up_proj") && problem.contains("expected [48, 32]")));
    assert!(problems.iter().any(|problem| problem.contains(&missing) && problem.contains("missing")));
    assert!(problems.iter().any(|problem| problem.contains("experts")));
}

#[test]
fn what_is_no_model_says_what_it_lacks() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("pytorch_model.bin"), "x").unwrap();
    let message = |path: &Path| ModelFiles::open(path).err().unwrap().to_string();
    let text = message(folder.path());
    assert!(
        text.contains("config.json") && text.contains("model.safetensors") && text.contains("tokenizer.json"),
        "{text}"
    );
    assert!(message(&folder.path().join("pytorch_model.bin")).contains(".gguf file"));
    assert!(message(&folder.path().join("nowhere")).contains("cannot read"));
}
