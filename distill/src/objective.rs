//! Learning the teacher's distribution.

use crate::DistilConfig;
use crate::cache::TargetCache;
use crate::hidden_states::HiddenStates;
use burn::tensor::Tensor;
use lore_datasets::batches::Batch;
use lore_model::Decoder;
use lore_model::generate::{Generation, generate};
use lore_model::ops::head::{Divergence, Target, head_loss};
use lore_model::sampling::{Random, Sampling};
use lore_train::{Figures, Micro, Objective, Parameters, Tracked};
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

/// Where the distributions come from.
enum Taught {
    /// From the teacher, which is outside any graph.
    Live(Box<Decoder>),
    /// From what was drawn beforehand.
    Cached(TargetCache),
}

/// A student that learns a teacher's distribution over the whole vocabulary, at every position.
pub struct Distillation {
    student: Decoder,
    taught: Taught,
    divergence: Divergence,
    temperature: f32,
    labels: f32,
    on_policy: f64,
    hidden: Option<HiddenStates>,
    seed: u64,
}

impl Distillation {
    /// Forward KL against a live teacher with the same vocabulary.
    ///
    /// # Panics
    /// When the vocabularies differ in size.
    pub fn new(student: Decoder, teacher: Decoder, temperature: f32) -> Self {
        let config = DistilConfig { temperature: f64::from(temperature), ..DistilConfig::default() };
        Self::live(student, teacher, &config, 0)
    }

    /// A student that learns from a live teacher as `config` says.
    ///
    /// # Panics
    /// When the vocabularies differ in size.
    pub fn live(student: Decoder, teacher: Decoder, config: &DistilConfig, seed: u64) -> Self {
        assert_eq!(student.config.vocab_size, teacher.config.vocab_size, "one vocabulary");
        let hidden = (config.hidden > 0.0)
            .then(|| HiddenStates::new(&student, &teacher, config.hidden, config.hidden_blocks, seed));
        Self {
            student,
            taught: Taught::Live(Box::new(teacher)),
            divergence: config.divergence(),
            temperature: config.temperature as f32,
            labels: config.labels as f32,
            on_policy: config.on_policy,
            hidden,
            seed,
        }
    }

    /// Forward KL at temperature 1 against what was drawn from a teacher beforehand, with `labels` as the share of
    /// plain cross-entropy.
    pub fn cached(student: Decoder, cache: TargetCache, labels: f32) -> Self {
        Self {
            student,
            taught: Taught::Cached(cache),
            divergence: Divergence::ForwardKl,
            temperature: 1.0,
            labels,
            on_policy: 0.0,
            hidden: None,
            seed: 0,
        }
    }

    /// Everything that is trained: all of the student's tensors, and what its hidden states are compared through.
    pub fn parameters(&self) -> Parameters {
        let beside = self.hidden.iter().flat_map(HiddenStates::projections);
        Parameters::new(self.student.parameters().into_iter().chain(beside))
    }

    /// The student with its tensors replaced by trained ones.
    pub fn student(&self, parameters: &Parameters) -> Decoder {
        parameters.put_into(&self.student)
    }

    /// Whether the student writes the texts of a step itself: a function of seed and step, so that a resumed run does
    /// the same.
    fn writes(&self, step: u64) -> bool {
        self.on_policy > 0.0 && Random::new(self.seed ^ 0x706f_6c69_6379, step).uniform() < self.on_policy
    }

    /// The micro-batch's tokens with the student's own continuation of the first half of every sequence.
    fn rewritten(&self, student: &Decoder, micro: &Micro) -> Arc<Vec<u32>> {
        let student = student.with_parameters(|_, tensor| tensor.inner());
        let mut tokens = micro.tokens.to_vec();
        let spans: Vec<_> = micro.sequences.spans().iter().map(|span| span.queries.clone()).collect();
        let kept = |span: &Range<usize>| span.len().div_ceil(2);
        let prompts: Vec<Vec<u32>> =
            spans.iter().map(|span| tokens[span.start..span.start + kept(span)].to_vec()).collect();
        let first = micro.batch_rows.first().copied().unwrap_or(0);
        let how = Generation {
            max_tokens: spans.iter().map(|span| span.len() - kept(span)).max().unwrap_or(0),
            sampling: Sampling { temperature: 1.0, top_k: None, top_p: None },
            seed: Random::new(self.seed ^ micro.step, first as u64).bits(),
            stop: Vec::new(),
        };
        let written = generate(&student, &prompts, &how, |_, _| ControlFlow::Continue(()))
            .expect("sequences of a batch fit the student's positions");
        for (span, written) in spans.iter().zip(written) {
            let rest = &mut tokens[span.start + kept(span)..span.end];
            rest.copy_from_slice(&written[..rest.len()]);
        }
        Arc::new(tokens)
    }
}

impl Objective for Distillation {
    /// A distribution can be learnt where there is no next token too.
    fn mask(&self, batch: &Batch) -> Vec<f32> {
        if self.labels > 0.0 { batch.mask.clone() } else { vec![1.0; batch.tokens.len()] }
    }

    fn loss(&self, parameters: &Tracked, micro: &Micro) -> (Tensor<2>, Figures) {
        let student = parameters.put_into(&self.student);
        let own = self.writes(micro.step);
        let tokens = if own { self.rewritten(&student, micro) } else { micro.tokens.clone() };
        let (target, states) = match &self.taught {
            Taught::Live(teacher) => {
                let (states, hidden) = match &self.hidden {
                    Some(compared) => compared.of_teacher(teacher, tokens.clone(), micro),
                    None => (Vec::new(), teacher.hidden(tokens.clone(), micro.sequences.clone())),
                };
                let (temperature, divergence) = (self.temperature, self.divergence);
                (Target::Teacher { hidden, head: teacher.head(), temperature, divergence }, states)
            }
            Taught::Cached(cache) => {
                (Target::Drawn(Arc::new(cache.targets(micro.step, &micro.batch_rows))), Vec::new())
            }
        };
        if let Some(compared) = &self.hidden {
            let (own_states, hidden) = compared.of_student(&student, tokens, micro);
            let (loss, figures) = self.head_loss(&student, hidden, target, micro, own);
            return (loss + compared.distance(parameters, own_states, states, micro), figures);
        }
        let hidden = student.hidden(tokens, micro.sequences.clone());
        self.head_loss(&student, hidden, target, micro, own)
    }
}

impl Distillation {
    /// What the final hidden states are to learn.
    fn head_loss(
        &self,
        student: &Decoder,
        hidden: Tensor<2>,
        target: Target,
        micro: &Micro,
        own: bool,
    ) -> (Tensor<2>, Figures) {
        let share = |share: f32| Arc::new(micro.weights.iter().map(|weight| weight * share).collect::<Vec<f32>>());
        // What the student wrote has no next token that anyone vouches for.
        if self.labels == 0.0 || own {
            return head_loss(hidden, student.head(), target, micro.weights.clone());
        }
        let (taught, mut figures) = head_loss(hidden.clone(), student.head(), target, share(1.0 - self.labels));
        let labels = Target::Labels(micro.targets.clone());
        let (read, of_labels) = head_loss(hidden, student.head(), labels, share(self.labels));
        figures.loss += of_labels.loss;
        (taught + read, figures)
    }
}

/// Plain cross-entropy with every weight trained: what a student learns without a teacher.
pub struct NextToken(pub Decoder);

impl Objective for NextToken {
    fn loss(&self, parameters: &Tracked, micro: &Micro) -> (Tensor<2>, Figures) {
        let decoder = parameters.put_into(&self.0);
        let hidden = decoder.hidden(micro.tokens.clone(), micro.sequences.clone());
        head_loss(hidden, decoder.head(), Target::Labels(micro.targets.clone()), micro.weights.clone())
    }
}
