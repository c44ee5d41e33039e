//! Tokens per second of training steps on the shape of SmolLM2-135M with random weights.
//!
//! `cargo run --release -p lore-train --example step -- [lora|full] [layers] [sequences] [length] [steps]`

use burn::tensor::{Device, Tensor};
use lore_datasets::batches::Batch;
use lore_model::Decoder;
use lore_model::config::{Architecture, ModelConfig};
use lore_model::ops::head::{Target, head_loss};
use lore_model::ops::host::matrix;
use lore_model::projection::LowRank;
use lore_model::sampling::Random;
use lore_train::{Figures, Micro, Objective, Parameters, Tracked, TrainConfig, adamw::AdamW, gradients};
use std::time::Instant;

struct Labels {
    decoder: Decoder,
    lora: bool,
}

impl Objective for Labels {
    fn loss(&self, parameters: &Tracked, micro: &Micro) -> (Tensor<2>, Figures) {
        let decoder = if self.lora {
            self.decoder.with_updates(|path| {
                let a = parameters.get(&format!("{path}.lora_A"))?;
                Some(LowRank { a, b: parameters.get(&format!("{path}.lora_B"))?, scale: 1.0 })
            })
        } else {
            self.decoder.with_parameters(|name, tensor| parameters.get(name).unwrap_or(tensor))
        };
        let hidden = decoder.hidden(micro.tokens.clone(), micro.sequences.clone());
        head_loss(hidden, decoder.head(), Target::Labels(micro.targets.clone()), micro.weights.clone())
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |i: usize, default: usize| arguments.get(i).and_then(|x| x.parse().ok()).unwrap_or(default);
    let lora = arguments.first().is_none_or(|kind| kind == "lora");
    let (layers, sequences, length, steps) = (number(1, 30), number(2, 4), number(3, 256), number(4, 5));
    let config = ModelConfig {
        architecture: Architecture::Llama,
        hidden_size: 576,
        intermediate_size: 1536,
        num_hidden_layers: layers,
        num_attention_heads: 9,
        num_key_value_heads: 3,
        head_dim: 64,
        vocab_size: 49152,
        rope_theta: 1e5,
        rope_scaling: None,
        rms_norm_eps: 1e-5,
        tie_word_embeddings: true,
        max_position_embeddings: 2048,
        attention_bias: false,
        qk_norm: false,
        bos_token_id: None,
        eos_token_ids: vec![],
    };
    let device = Device::flex();
    let mut random = Random::new(1, 1);
    let mut normal = |rows: usize, columns: usize, std: f64| {
        matrix((0..rows * columns).map(|_| (random.normal() * std) as f32).collect(), rows, columns, &device)
    };
    let decoder = Decoder::build(&config, |_, [rows, columns]| Ok(normal(rows, columns, 0.03))).expect("random weights");
    let mut parameters = if lora {
        Parameters::new(decoder.blocks.iter().enumerate().flat_map(|(layer, block)| {
            block.projections().map(|(name, p)| (format!("model.layers.{layer}.{name}"), p.weight.dims()))
        }).collect::<Vec<_>>().into_iter().flat_map(|(path, [outputs, inputs])| {
            [(format!("{path}.lora_A"), normal(16, inputs, 0.04)), (format!("{path}.lora_B"), normal(outputs, 16, 0.01))]
        }))
    } else {
        Parameters::new(decoder.parameters())
    };
    let objective = Labels { decoder, lora };
    let rows = sequences * length;
    let mut draw = Random::new(2, 2);
    let mut tokens = || -> Vec<u32> { (0..rows).map(|_| (draw.bits() % 49152) as u32).collect() };
    let batch = Batch { tokens: tokens(), lengths: vec![length; sequences], targets: tokens(), mask: vec![1.0; rows] };
    let mut optimiser = AdamW::new(&parameters);
    let mut times = Vec::new();
    for step in 0..steps {
        let start = Instant::now();
        let (gradients, figures) = gradients(&parameters, &batch, 1, &objective).expect("a batch with targets");
        let backward = start.elapsed().as_secs_f64();
        optimiser.step(&mut parameters, gradients, &TrainConfig::default(), 1e-4, 1.0);
        let seconds = start.elapsed().as_secs_f64();
        println!("step {step}: loss {:.4}, {:.0} tokens/s ({backward:.3} + {:.3} s)", figures.loss, rows as f64 / seconds, seconds - backward);
        times.push(seconds);
    }
    times.sort_by(f64::total_cmp);
    let peak = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = peak.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default().to_owned();
    println!("median {:.0} tokens/s; {peak}", rows as f64 / times[times.len() / 2]);
}
