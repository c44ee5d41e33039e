//! Learning the teacher's distribution.

use burn::tensor::Tensor;
use lore_datasets::batches::Batch;
use lore_model::Decoder;
use lore_model::ops::head::{Target, head_loss};
use lore_train::{Figures, Micro, Objective, Parameters, Tracked};

/// Forward KL over the whole vocabulary against a live teacher, at every position.
pub struct Distillation {
    student: Decoder,
    teacher: Decoder,
    temperature: f32,
}

impl Distillation {
    /// A student that learns from a teacher with the same vocabulary. The teacher is outside any graph.
    ///
    /// # Panics
    /// When the vocabularies differ in size.
    pub fn new(student: Decoder, teacher: Decoder, temperature: f32) -> Self {
        assert_eq!(student.config.vocab_size, teacher.config.vocab_size, "one vocabulary");
        Self { student, teacher, temperature }
    }

    /// Everything that is trained: all of the student's tensors.
    pub fn parameters(&self) -> Parameters {
        Parameters::new(self.student.parameters())
    }

    /// The student with its tensors replaced by trained ones.
    pub fn student(&self, parameters: &Parameters) -> Decoder {
        self.student.with_parameters(|name, tensor| parameters.get(name).cloned().unwrap_or(tensor))
    }
}

impl Objective for Distillation {
    /// A distribution can be learnt where there is no next token too.
    fn mask(&self, batch: &Batch) -> Vec<f32> {
        vec![1.0; batch.tokens.len()]
    }

    fn loss(&self, parameters: &Tracked, micro: &Micro) -> (Tensor<2>, Figures) {
        let target = Target::Teacher {
            hidden: self.teacher.hidden(micro.tokens.clone(), micro.sequences.clone()),
            head: self.teacher.head(),
            temperature: self.temperature,
        };
        let student = self.student.with_parameters(|name, tensor| parameters.get(name).unwrap_or(tensor));
        let hidden = student.hidden(micro.tokens.clone(), micro.sequences.clone());
        head_loss(hidden, student.head(), target, micro.weights.clone())
    }
}
