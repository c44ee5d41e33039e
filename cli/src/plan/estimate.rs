//! What stages will cost, from shapes alone.

use lore_distill::TeacherSource;
use lore_finetune::LoraConfig;
use lore_model::config::ModelConfig;
use lore_model::ops::precision::Precision;
use lore_train::TrainConfig;

use super::devices::Devices;
use super::memory::{self, Taught};
use super::speed::Speed;
use crate::recipe::{Base, Evaluate, General, ModuleConfig, Rehearse};

/// What is known before a run.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// The teacher's shapes, once it was fetched or if the recipe says them.
    pub teacher: Option<ModelConfig>,
    /// How fast the run's device is, if it was measured.
    pub speed: Option<Speed>,
    /// What to plan for instead of that device.
    pub devices: Option<Devices>,
}

/// The cost of a stage. Absent is unknown or nothing worth counting.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Estimate {
    /// Tokens read or written by a model.
    pub tokens: Option<u64>,
    /// Parameters of what is made.
    pub parameters: Option<u64>,
    /// Peak memory in bytes.
    pub memory: Option<u64>,
    /// Bytes on disk while it runs.
    pub disk: Option<u64>,
    /// Seconds.
    pub seconds: Option<u64>,
}

impl Facts {
    fn seconds(&self, flops: f64, precision: Precision) -> Option<u64> {
        let seconds = match &self.devices {
            Some(devices) => devices.seconds(flops),
            None => self.speed?.seconds(flops, precision),
        };
        Some(seconds.ceil() as u64)
    }
}

/// Opening the teacher: its weights in f32.
pub fn teacher(facts: &Facts) -> Estimate {
    let parameters = facts.teacher.as_ref().map(|config| config.parameter_count() as u64);
    Estimate { parameters, memory: parameters.map(|n| memory::PROGRAM + 4 * n), ..Estimate::default() }
}

/// Extracting and tokenising a topic; its size is not known before it is fetched.
pub fn topic() -> Estimate {
    Estimate::default()
}

/// Writing general text: one forward pass a token.
pub fn general(general: &General, facts: &Facts) -> Estimate {
    let mut estimate = Estimate { tokens: Some(general.tokens), disk: Some(4 * general.tokens), ..Estimate::default() };
    if let (Some(sample), Some(config)) = (&general.sample, &facts.teacher) {
        let parameters = config.parameter_count() as u64;
        let keys_and_values = 2 * 4 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim;
        let cached = (sample.batch * general.sequence_length * keys_and_values) as u64;
        // Scores of every sequence's next token, as they come, sorted, and as probabilities with their order.
        let drawing = (4 * 4 * sample.batch * config.vocab_size) as u64;
        estimate.memory = Some(memory::PROGRAM + 4 * parameters + cached + drawing + memory::SCORING);
        let computing = facts.seconds(2.0 * parameters as f64 * general.tokens as f64, Precision::F32);
        // A GPU waits for its memory, a processor for its products.
        let reading =
            facts.devices.map(|devices| devices.writing_seconds(general.tokens, sample.batch, 4 * parameters));
        estimate.seconds = computing.max(reading.map(|seconds| seconds.ceil() as u64));
    }
    estimate
}

/// The student's shapes.
fn student(base: &Base, teacher: &ModelConfig) -> ModelConfig {
    let shallow = ModelConfig { num_hidden_layers: base.depth.blocks(), ..teacher.clone() };
    // A width that does not fit is refused when the base is made.
    base.width.as_ref().and_then(|width| width.of(&shallow).ok()).unwrap_or(shallow)
}

fn tokens(train: &TrainConfig) -> u64 {
    train.steps * (train.batch_sequences * train.sequence_length) as u64
}

/// Distilling: the teacher's forward pass, the student's forward and backward, AdamW's two moments.
pub fn base(base: &Base, facts: &Facts) -> Estimate {
    let tokens = tokens(&base.train);
    let mut estimate = Estimate { tokens: Some(tokens), ..Estimate::default() };
    if let Some(teacher) = &facts.teacher {
        let student = student(base, teacher);
        let (large, small) = (teacher.parameter_count() as u64, student.parameter_count() as u64);
        estimate.parameters = Some(small);
        let control = u64::from(base.distil.control);
        let (taught, read) = match base.distil.teacher {
            TeacherSource::Live => (Taught::By(teacher), 2 * large),
            TeacherSource::Cached => (Taught::Drawn, 0),
        };
        estimate.memory = Some(memory::of_whole_step(&student, &base.train, taught));
        // The model, and two checkpoints of weights and moments while a new one replaces an old one.
        estimate.disk = Some(4 * small + 2 * 12 * small);
        let operations = (read + 6 * small * (1 + control)) as f64 * tokens as f64;
        estimate.seconds = facts.seconds(operations, base.train.precision);
    }
    estimate
}

/// Capturing the teacher's distributions: one forward pass a token.
pub fn targets(base: &Base, facts: &Facts) -> Estimate {
    let tokens = tokens(&base.train);
    // Systematic draws hit about 0.6 times as many tokens as there are draws, one in six of them more than once.
    let wide = facts.teacher.as_ref().is_some_and(|teacher| teacher.vocab_size > 1 << 16);
    let disk = tokens * (4 + if wide { 25 } else { 13 } * base.distil.samples as u64 / 10);
    let mut estimate = Estimate { tokens: Some(tokens), disk: Some(disk), ..Estimate::default() };
    if let Some(teacher) = &facts.teacher {
        let large = teacher.parameter_count() as u64;
        estimate.memory = Some(match base.distil.stream_tokens {
            None => memory::PROGRAM + 4 * large + memory::SCORING,
            Some(at_once) => memory::of_streamed(teacher, &base.train, at_once),
        });
        estimate.seconds = facts.seconds((2 * large * tokens) as f64, Precision::F32);
    }
    estimate
}

/// Parameters of an adapter.
pub fn lora_parameters(lora: &LoraConfig, config: &ModelConfig) -> u64 {
    let parameters = |(name, shape): (String, Vec<usize>)| {
        let path = name.strip_suffix("_proj.weight").map(|stem| format!("{stem}_proj"));
        let path = path.filter(|path| lora.selects(path))?;
        let magnitudes = if lora.dora { shape[0] } else { 0 };
        Some((lora.rank_of(&path) * shape.iter().sum::<usize>() + magnitudes) as u64)
    };
    config.expected_tensors().into_iter().filter_map(parameters).sum()
}

/// Training a module: forward and backward through a frozen base, whose weights need no gradient.
pub fn module(module: &ModuleConfig, base: &Base, facts: &Facts) -> Estimate {
    let times = module.sweep.as_ref().map_or(1, |sweep| sweep.lr.len() as u64);
    let tokens = times * tokens(&module.train);
    let mut estimate = Estimate { tokens: Some(tokens), ..Estimate::default() };
    if let Some(teacher) = &facts.teacher {
        let student = student(base, teacher);
        let frozen = student.parameter_count() as u64;
        let parameters = lora_parameters(&module.lora, &student);
        estimate.parameters = Some(parameters);
        let taught = match module.rehearse {
            Rehearse::Teacher if module.replay > 0.0 => Taught::By(teacher),
            Rehearse::Base if module.replay > 0.0 => Taught::ByItself,
            _ if module.context.is_some() => Taught::ByItself,
            Rehearse::Teacher | Rehearse::Base | Rehearse::Text => Taught::Labels,
        };
        let step = memory::of_module_step(&student, module.quantise, &module.lora, &module.train, taught);
        let entry = module.quantise.map_or(0, |blocks| memory::of_router_entry(&student, blocks));
        estimate.memory = Some(step.max(entry));
        estimate.disk = Some(4 * parameters + 2 * 12 * parameters);
        // Whoever is rehearsed with reads what is replayed once.
        let reader = match taught {
            Taught::By(teacher) => teacher.parameter_count() as f64,
            Taught::ByItself => frozen as f64,
            Taught::Drawn | Taught::Labels => 0.0,
        };
        let each = (4 * frozen + 6 * parameters) as f64 + 2.0 * reader * module.replay;
        estimate.seconds = facts.seconds(each * tokens as f64, module.train.precision);
    }
    estimate
}

/// Scoring: teacher, base, each module, each combination and each module of several topics on each topic and on general
/// text.
pub fn evaluate(evaluate: &Evaluate, base: &Base, topics: usize, joint: usize, facts: &Facts) -> Estimate {
    let once = (topics + 1) as u64 * evaluate.tokens_per_text;
    let together = evaluate.combine.len() + evaluate.weights.len() + evaluate.composed.len();
    let of_base = (1 + topics + together + joint) as u64 * once;
    let mut estimate = Estimate { tokens: Some(once + of_base), ..Estimate::default() };
    if let Some(teacher) = &facts.teacher {
        let (large, small) = (teacher.parameter_count() as u64, student(base, teacher).parameter_count() as u64);
        // One after the other.
        estimate.memory = Some(memory::PROGRAM + 4 * large.max(small) + memory::SCORING);
        estimate.seconds = facts.seconds(2.0 * (large * once + small * of_base) as f64, Precision::F32);
    }
    estimate
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::path::Path;

    use lore_distill::{DepthChoice, DistilConfig};

    use super::*;

    /// The shapes of SmolLM2-135M.
    const CONFIG: &str = r#"{
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 576,
        "intermediate_size": 1536, "num_hidden_layers": 30, "num_attention_heads": 9,
        "num_key_value_heads": 3, "vocab_size": 49152, "rope_theta": 100000.0, "rms_norm_eps": 1e-5,
        "tie_word_embeddings": true, "max_position_embeddings": 2048, "hidden_act": "silu",
        "bos_token_id": 1, "eos_token_id": 2
    }"#;

    #[test]
    fn parameters_of_base_and_module_are_those_counted_by_hand() {
        let teacher = ModelConfig::from_json(Path::new("config.json"), CONFIG).unwrap();
        let facts = Facts { teacher: Some(teacher), ..Facts::default() };
        let student = Base {
            name: "b".into(),
            depth: DepthChoice { first: 8, last: 7, keep: None },
            width: None,
            distil: DistilConfig::default(),
            train: TrainConfig::default(),
        };
        // Embeddings 49152·576 and last norm 576; a block is 2·576² + 2·576·192 + 3·576·1536 + 2·576.
        let block = 2 * 576 * 576 + 2 * 576 * 192 + 3 * 576 * 1536 + 2 * 576;
        let estimate = base(&student, &facts);
        assert_eq!(estimate.parameters, Some(49152 * 576 + 576 + 15 * block));
        assert_eq!(estimate.tokens, Some(100 * 8 * 256));
        // q and o: 576+576; k and v: 576+192; gate, up and down: 576+1536.
        let rank_one = 2 * (576 + 576) + 2 * (576 + 192) + 3 * (576 + 1536);
        let adapter = module(&ModuleConfig::default(), &student, &facts);
        assert_eq!(adapter.parameters, Some(15 * 16 * rank_one));
    }
}
