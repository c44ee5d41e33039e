//! Hidden states that are to point where the teacher's do: for a student without a middle stretch of blocks, cosine
//! distance near the top helps (Minitron, Muralidharan et al. 2024, arXiv 2407.14679).

use burn::tensor::{Tensor, TensorData};
use lore_model::Decoder;
use lore_model::ops::host::matrix;
use lore_model::sampling::Random;
use lore_train::{Micro, Parameters, Tracked};
use std::sync::Arc;

/// Which of the student's blocks are compared with which of the teacher's, and what turns the one's states into the
/// other's where the student is narrower. Those matrices are trained beside the student and never exported.
pub(crate) struct HiddenStates {
    weight: f32,
    /// Student's block, teacher's block.
    pairs: Vec<(usize, usize)>,
    projections: Parameters,
}

/// Residual streams after some blocks, and the final hidden states.
type States = (Vec<Tensor<2>>, Tensor<2>);

/// Names a projection among the parameters; no tensor of a model is called so.
fn name(block: usize) -> String {
    format!("hidden_states.{block}.projection")
}

impl HiddenStates {
    /// Compares the residual streams after the last `top` blocks of both, from the end.
    ///
    /// # Panics
    /// When the student has fewer blocks than that.
    pub(crate) fn new(student: &Decoder, teacher: &Decoder, weight: f64, top: usize, seed: u64) -> Self {
        let (blocks, of_teacher) = (student.blocks.len(), teacher.blocks.len());
        assert!(top <= blocks, "{top} of {blocks} blocks");
        let pairs: Vec<_> = (1..=top).map(|back| (blocks - back, of_teacher - back)).collect();
        let (from, to) = (student.config.hidden_size, teacher.config.hidden_size);
        let device = student.embedding.device();
        let draw = |block: usize| {
            let mut random = Random::new(seed ^ 0x0068_6964_6465_6e21, block as u64);
            let spread = 1.0 / (from as f64).sqrt();
            let values = (0..from * to).map(|_| (random.normal() * spread) as f32).collect();
            (name(block), matrix(values, from, to, &device))
        };
        let projections = if from == to { Vec::new() } else { pairs.iter().map(|&(block, _)| draw(block)).collect() };
        Self { weight: weight as f32, pairs, projections: Parameters::new(projections) }
    }

    /// What is trained beside the student.
    pub(crate) fn projections(&self) -> impl Iterator<Item = (String, Tensor<2>)> {
        self.projections.iter().map(|(name, tensor)| (name.to_owned(), tensor.clone()))
    }

    /// The teacher's states that are compared, in the order of the pairs, and its final hidden states.
    pub(crate) fn of_teacher(&self, teacher: &Decoder, tokens: Arc<Vec<u32>>, micro: &Micro) -> States {
        states(teacher, tokens, micro, self.pairs.iter().map(|pair| pair.1).collect())
    }

    /// The student's.
    pub(crate) fn of_student(&self, student: &Decoder, tokens: Arc<Vec<u32>>, micro: &Micro) -> States {
        states(student, tokens, micro, self.pairs.iter().map(|pair| pair.0).collect())
    }

    /// The weighted mean over pairs and rows of 1 − cos, `[1, 1]`.
    pub(crate) fn distance(
        &self,
        parameters: &Tracked,
        student: Vec<Tensor<2>>,
        teacher: Vec<Tensor<2>>,
        micro: &Micro,
    ) -> Tensor<2> {
        let share = self.weight / self.pairs.len() as f32;
        let device = student[0].device();
        let weights: Vec<f32> = micro.weights.iter().map(|weight| weight * share).collect();
        let rows = weights.len();
        let weights = Tensor::<2>::from_data(TensorData::new(weights, [rows, 1]), &device);
        let pairs = self.pairs.iter().zip(student).zip(teacher);
        let parts = pairs.map(|((&(block, _), student), teacher)| {
            let student = match parameters.get(&name(block)) {
                Some(projection) => student.matmul(projection),
                None => student,
            };
            let teacher = teacher.inner();
            let along = |a: Tensor<2>, b: Tensor<2>| (a * b).sum_dim(1);
            let lengths = along(student.clone(), student.clone()).sqrt()
                * along(teacher.clone(), teacher.clone()).sqrt().autodiff();
            let cosine = along(student, teacher.autodiff()) / lengths.add_scalar(1e-12);
            (cosine.neg().add_scalar(1.0) * weights.clone().autodiff()).sum().reshape([1, 1])
        });
        parts.reduce(|sum, part| sum + part).expect("at least one pair")
    }
}

fn states(decoder: &Decoder, tokens: Arc<Vec<u32>>, micro: &Micro, blocks: Vec<usize>) -> States {
    let mut found = vec![None; blocks.len()];
    let hidden = decoder.hidden_after(tokens, micro.sequences.clone(), &mut |layer, state| {
        for (slot, _) in found.iter_mut().zip(&blocks).filter(|(_, block)| **block == layer) {
            *slot = Some(state.clone());
        }
    });
    (found.into_iter().map(|state| state.expect("a block of the decoder")).collect(), hidden)
}
