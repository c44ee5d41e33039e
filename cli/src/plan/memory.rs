//! Most bytes that a training step holds, from shapes alone. How near it comes is in EXPERIMENTS.md; `lore bench`
//! shows it beside what was measured.

use lore_finetune::LoraConfig;
use lore_model::config::ModelConfig;
use lore_model::quantised::Blocks;
use lore_train::TrainConfig;

use super::estimate::lora_parameters;

/// The program itself, its tokenizers and thread stacks.
pub const PROGRAM: u64 = 60_000_000;

/// What passes through memory while a batch of passages is scored.
pub const SCORING: u64 = 150_000_000;

/// What a step learns from.
#[derive(Debug, Clone, Copy)]
pub enum Taught<'a> {
    /// The next tokens.
    Labels,
    /// Distributions of the model that is trained, before it is.
    ByItself,
    /// Distributions of another model, which is in memory too.
    By(&'a ModelConfig),
    /// A few tokens drawn from another model's distributions. The untrained student stays in memory beside the trained
    /// one, as it does not share the other model's weights.
    Drawn,
}

impl Taught<'_> {
    fn weights(self, student: &ModelConfig) -> u64 {
        match self {
            Self::Labels | Self::ByItself => 0,
            Self::By(teacher) => weights(teacher),
            Self::Drawn => weights(student),
        }
    }

    /// Distributions that one chunk of positions has at the same time.
    fn distributions(self) -> usize {
        match self {
            Self::Labels | Self::Drawn => 1,
            Self::ByItself | Self::By(_) => 2,
        }
    }
}

fn weights(config: &ModelConfig) -> u64 {
    4 * config.parameter_count() as u64
}

/// A step that trains every weight: weights, gradients, both moments, what the passes keep.
pub fn of_whole_step(config: &ModelConfig, train: &TrainConfig, taught: Taught<'_>) -> u64 {
    // The head's gradient stands beside the embedding's, also where they are one matrix.
    let head = 4 * (config.vocab_size * config.hidden_size) as u64;
    PROGRAM + taught.weights(config) + 4 * weights(config) + head + passes(config, train, 0, taught)
}

/// A step that trains low-rank updates of frozen weights, which may be kept in blocks.
pub fn of_module_step(
    config: &ModelConfig,
    quantise: Option<Blocks>,
    lora: &LoraConfig,
    train: &TrainConfig,
    taught: Taught<'_>,
) -> u64 {
    let updates = 16 * lora_parameters(lora, config);
    // Updates of one block keep a value each for every direction.
    let paths = config.expected_tensors().into_iter().filter_map(|(name, _)| {
        let path = name.strip_prefix("model.layers.0.")?.strip_suffix(".weight")?.to_owned();
        path.ends_with("_proj").then(|| format!("model.layers.0.{path}"))
    });
    let ranks = paths.filter(|path| lora.selects(path)).map(|path| lora.rank_of(&path)).sum();
    PROGRAM + taught.weights(config) + frozen(config, quantise) + updates + passes(config, train, ranks, taught)
}

/// Capturing what a teacher says whose blocks are read one after another, each once for `at_once` tokens.
pub fn of_streamed(teacher: &ModelConfig, train: &TrainConfig, at_once: usize) -> u64 {
    let in_a_block = teacher.expected_tensors().into_iter().filter(|(name, _)| name.starts_with("model.layers.0."));
    let block: usize = in_a_block.map(|(_, shape)| shape.iter().product::<usize>()).sum();
    // Of one step's rows: the residual stream, normalised and added to; queries, keys and values, also rotated, and what
    // attention gives; gate, up and their product.
    let (queries, keys) =
        (teacher.num_attention_heads * teacher.head_dim, teacher.num_key_value_heads * teacher.head_dim);
    let passing = 3 * teacher.hidden_size + 3 * queries + 3 * keys + 3 * teacher.intermediate_size;
    let passing = train.batch_sequences * train.sequence_length * passing;
    let logits = lore_distill::cache::CHUNK * teacher.vocab_size;
    let read = block.max(lore_model::streamed::PART.min(teacher.vocab_size * teacher.hidden_size));
    PROGRAM + 4 * (read + at_once * teacher.hidden_size + passing.max(logits)) as u64
}

/// Making a router's entry beside frozen weights in blocks, of whose own values the lower half is read for that.
pub fn of_router_entry(config: &ModelConfig, quantise: Blocks) -> u64 {
    let lower = ModelConfig { num_hidden_layers: config.num_hidden_layers.div_ceil(2), ..config.clone() };
    PROGRAM + frozen(config, Some(quantise)) + weights(&lower) + SCORING
}

/// Frozen weights: the matrices of projections in blocks if that was asked for, and one of them expanded.
fn frozen(config: &ModelConfig, quantise: Option<Blocks>) -> u64 {
    let projections = config.expected_tensors().into_iter().filter(|(name, _)| name.ends_with("_proj.weight"));
    let largest = projections.map(|(_, shape)| 4 * shape.iter().product::<usize>()).max().unwrap_or_default();
    config.weight_bytes(quantise) + if quantise.is_some() { largest as u64 } else { 0 }
}

/// What forward passes keep of one micro-batch for the backward pass, what passes through that, and a chunk of logits.
fn passes(config: &ModelConfig, train: &TrainConfig, ranks: usize, taught: Taught<'_>) -> u64 {
    let rows = train.batch_sequences.div_ceil(train.accumulate.max(1)) * train.sequence_length;
    let queries = config.num_attention_heads * config.head_dim;
    let keys = config.num_key_value_heads * config.head_dim;
    // The residual stream before and after attention and both normalised; rotated queries and keys, values, what
    // attention gives and its sums; gate, up and their product; inner values of updates.
    let block = 4 * config.hidden_size
        + 2 * queries
        + 2 * keys
        + config.num_attention_heads
        + 3 * config.intermediate_size
        + ranks;
    let kept = if train.recompute {
        // Only the input of each block, and the inside of one.
        config.num_hidden_layers * config.hidden_size + block
    } else {
        config.num_hidden_layers * block
    };
    // Gradients of gate, up and their product, and of the residual stream.
    let passing = 3 * config.intermediate_size + 2 * config.hidden_size;
    let logits = rows.min(256) * config.vocab_size * taught.distributions();
    4 * (rows * (kept + passing) + logits) as u64
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::path::Path;

    /// Two blocks of width 4 with two heads of one key-value head, a vocabulary of 10.
    fn config() -> ModelConfig {
        let json = r#"{
            "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 4, "intermediate_size": 6,
            "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1, "vocab_size": 10,
            "rope_theta": 10000.0, "rms_norm_eps": 1e-5, "tie_word_embeddings": true, "max_position_embeddings": 64,
            "hidden_act": "silu", "bos_token_id": 1, "eos_token_id": 2
        }"#;
        ModelConfig::from_json(Path::new("config.json"), json).unwrap()
    }

    #[test]
    fn a_step_counted_by_hand() {
        let train = TrainConfig { batch_sequences: 3, sequence_length: 5, ..TrainConfig::default() };
        let config = config();
        // A block keeps 4·4 + 2·4 + 2·2 + 2 + 3·6 = 48 a row; 3·6 + 2·4 = 26 pass through; 15 rows of 10 logits.
        let labels = 4 * (15 * (2 * 48 + 26) + 150);
        // Embeddings 40, last norm 4; blocks of 16 + 8 + 8 + 16 + 3·24 + 8 = 128.
        let weights = 4 * (40 + 4 + 2 * 128);
        assert_eq!(of_whole_step(&config, &train, Taught::Labels), PROGRAM + 4 * weights + 160 + labels);
        let taught = of_whole_step(&config, &train, Taught::By(&config));
        assert_eq!(taught, PROGRAM + 5 * weights + 160 + labels + 600);
        // Two updates of rank 3: on q (4 and 4) and down (6 and 4), 54 values a block, 6 inner values a row.
        let lora = LoraConfig { rank: 3, targets: vec!["q_proj".into(), "down_proj".into()], ..LoraConfig::default() };
        let module = of_module_step(&config, None, &lora, &train, Taught::Labels);
        assert_eq!(module, PROGRAM + weights + 16 * 2 * 54 + labels + 4 * 15 * 2 * 6);
        let recomputed = TrainConfig { recompute: true, accumulate: 3, ..train };
        let smaller = of_whole_step(&config, &recomputed, Taught::Labels);
        assert_eq!(smaller, PROGRAM + 4 * weights + 160 + 4 * (5 * (2 * 4 + 48 + 26) + 50));
    }
}
