//! Students narrower than their teacher.
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "../../train/tests/toy/mod.rs"]
mod toy;

use lore_distill::{Importance, Width, importance, narrowed};
use lore_model::Decoder;
use lore_model::ops::host::{matrix, values};
use lore_model::projection::Weight;
use toy::{batch_logits, decoder, decoder_bits, ragged_batch};

fn logits(decoder: &Decoder) -> Vec<f32> {
    batch_logits(decoder, &ragged_batch(&[9, 1, 20], 3))
}

fn measured(decoder: &Decoder) -> Importance {
    importance(decoder, &[ragged_batch(&[9, 1, 20], 3), ragged_batch(&[30], 4)])
}

#[test]
fn keeping_everything_is_the_teacher_to_the_bit() {
    let teacher = decoder(4, 1);
    let importance = measured(&teacher);
    let all = Width { hidden_size: Some(32), intermediate_size: Some(48), key_value_heads: Some(2) };
    for width in [all, Width::default()] {
        let student = narrowed(&teacher, &width, &importance).unwrap();
        assert_eq!(student.config, teacher.config);
        assert_eq!(decoder_bits(&student), decoder_bits(&teacher));
        assert_eq!(logits(&student), logits(&teacher));
    }
}

/// The teacher with some parts silenced: what they feed into is multiplied by 0.
fn silenced(teacher: &Decoder, channels: &[usize], group: Option<usize>) -> Decoder {
    let columns = |tensor: &burn::tensor::Tensor<2>, silent: &dyn Fn(usize) -> bool| {
        let [rows, width] = tensor.dims();
        let kept = values(tensor).iter().enumerate().map(|(i, &v)| if silent(i % width) { 0.0 } else { v }).collect();
        matrix(kept, rows, width, &tensor.device())
    };
    let mut silenced = teacher.clone();
    for block in &mut silenced.blocks {
        block.down_proj.weight =
            Weight::Dense(columns(&block.down_proj.weight.dense(), &|column| channels.contains(&column)));
        // A group is two query heads of eight values.
        block.o_proj.weight =
            Weight::Dense(columns(&block.o_proj.weight.dense(), &|column| group == Some(column / 16)));
        // They also give nothing themselves: their importance is 0.
        block.up_proj.weight = Weight::Dense(
            columns(&block.up_proj.weight.dense().transpose(), &|row| channels.contains(&row)).transpose(),
        );
        block.v_proj.weight =
            Weight::Dense(columns(&block.v_proj.weight.dense().transpose(), &|row| group == Some(row / 8)).transpose());
    }
    silenced
}

#[test]
fn parts_that_carry_nothing_are_dropped_and_nothing_changes() {
    let silent = [0, 7, 20, 21, 22, 47];
    let teacher = silenced(&decoder(4, 1), &silent, Some(0));
    let importance = measured(&teacher);
    for (layer, channels) in importance.channels.iter().enumerate() {
        let zero: Vec<usize> = (0..48).filter(|&channel| channels[channel] == 0.0).collect();
        assert_eq!(zero, silent, "{layer}");
        assert!(importance.heads[layer][0] == 0.0 && importance.heads[layer][1] > 0.0);
    }
    let width = Width { hidden_size: None, intermediate_size: Some(42), key_value_heads: Some(1) };
    let student = narrowed(&teacher, &width, &importance).unwrap();
    let sizes =
        (student.config.intermediate_size, student.config.num_attention_heads, student.config.num_key_value_heads);
    assert_eq!(sizes, (42, 2, 1));
    assert!(student.parameter_count() < teacher.parameter_count());
    let shapes = student.config.expected_tensors();
    for ((name, tensor), (_, shape)) in student.parameters().iter().zip(shapes) {
        let size: usize = shape.iter().product();
        assert_eq!(tensor.dims().iter().product::<usize>(), size, "{name}");
    }
    let (narrow, wide) = (logits(&student), logits(&teacher));
    let worst = narrow.iter().zip(&wide).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst < 1e-4, "{worst}");
}

#[test]
fn fewer_hidden_dimensions_are_a_model_of_that_size() {
    let teacher = decoder(4, 1);
    let importance = measured(&teacher);
    assert!(importance.hidden.iter().all(|&size| size > 0.0));
    let width = Width { hidden_size: Some(20), ..Width::default() };
    let student = narrowed(&teacher, &width, &importance).unwrap();
    assert_eq!((student.embedding.dims(), student.config.head_dim), ([64, 20], 8));
    // The largest dimensions are the ones kept, in their order.
    let mut order: Vec<usize> = (0..32).collect();
    order.sort_by(|&a, &b| importance.hidden[b].total_cmp(&importance.hidden[a]));
    let mut kept = order[..20].to_vec();
    kept.sort_unstable();
    let (narrow, wide) = (values(&student.norm), values(&teacher.norm));
    assert_eq!(narrow, kept.iter().map(|&dimension| wide[dimension]).collect::<Vec<_>>());
    assert!(logits(&student).iter().all(|value| value.is_finite()));
}

#[test]
fn widths_that_do_not_fit_are_refused_together() {
    let teacher = decoder(2, 1);
    let width = Width { hidden_size: Some(33), intermediate_size: Some(0), key_value_heads: Some(3) };
    let error = narrowed(&teacher, &width, &measured(&teacher)).unwrap_err().to_string();
    for part in ["hidden_size = 33", "intermediate_size = 0", "key_value_heads = 3, where the teacher has 2"] {
        assert!(error.contains(part), "{error}");
    }
}
