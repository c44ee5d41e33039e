//! What updates learn: next tokens of topics, or what the base says of them in context; general text beside them.

use crate::LoraTraining;
use crate::context::Told;
use burn::tensor::Tensor;
use lore_datasets::batches::Batch;
use lore_model::ops::head::{Divergence, Target, head_loss};
use lore_model::ops::sequences::Sequences;
use lore_train::{Figures, Micro, Objective, Tracked};
use std::ops::Range;
use std::sync::Arc;

impl Objective for LoraTraining {
    fn mask(&self, batch: &Batch) -> Vec<f32> {
        match &self.context {
            Some(context) => context.mask(batch, self.topics),
            None => batch.mask.clone(),
        }
    }

    fn rate_factor(&self, name: &str) -> f64 {
        // LoRA+ counts everything but A among the fast ones, as PEFT's optimiser does.
        if name.ends_with(".lora_A") { 1.0 } else { self.config.b_rate_ratio }
    }

    fn loss(&self, parameters: &Tracked, micro: &Micro) -> (Tensor<2>, Figures) {
        let of_topics = |micro: &Micro, parts: usize| micro.rows_of_part.iter().take(parts).sum::<usize>();
        let told = self.context.map(|context| context.split(&self.base, micro, of_topics(micro, self.topics)));
        let (micro, topics) = told.as_ref().map_or((micro, self.topics), |told| (&told.micro, 1));
        let model = self.adapted(self.weight(micro.step), Some(micro), |name| parameters.get(name));
        let hidden = model.hidden(micro.tokens.clone(), micro.sequences.clone());
        let [rows, _] = hidden.dims();
        let topic_rows = match (&self.rehearsal, &told) {
            (None, None) => rows,
            _ => of_topics(micro, topics),
        };
        let part = |range: Range<usize>, target: Target, factor: f32| {
            let weights = Arc::new(micro.weights[range.clone()].iter().map(|weight| weight * factor).collect());
            head_loss(hidden.clone().narrow(0, range.start, range.len()), model.head(), target, weights)
        };
        let labels = |range: Range<usize>| Target::Labels(Arc::new(micro.targets[range].to_vec()));
        let taught = |hidden: Tensor<2>, head: Tensor<2>| Target::Teacher {
            hidden,
            head,
            temperature: 1.0,
            divergence: Divergence::ForwardKl,
        };
        let topic = 0..topic_rows;
        let general = topic_rows..rows;
        let learnt = (!topic.is_empty()).then(|| match (&self.context, &told) {
            (Some(context), Some(Told { hidden: Some(of_base), .. })) => {
                let share = context.labels as f32;
                let of_base = taught(of_base.clone(), self.base.head());
                let learnt = part(topic.clone(), of_base, 1.0 - share);
                if share > 0.0 { joined(learnt, part(topic.clone(), labels(topic.clone()), share)) } else { learnt }
            }
            _ => part(topic.clone(), labels(topic.clone()), 1.0),
        });
        let rehearsed = (!general.is_empty()).then(|| match &self.rehearsal {
            Some((teacher, factor)) => {
                let tokens = Arc::new(micro.tokens[general.clone()].to_vec());
                let spans = micro.sequences.spans().iter().filter(|span| span.queries.start >= topic_rows);
                let lengths: Vec<usize> = spans.map(|span| span.queries.len()).collect();
                let hidden = teacher.hidden(tokens, Arc::new(Sequences::whole(&lengths)));
                part(general.clone(), taught(hidden, teacher.head()), *factor)
            }
            None => part(general.clone(), labels(general.clone()), 1.0),
        });
        match (learnt, rehearsed) {
            (Some(learnt), Some(rehearsed)) => joined(learnt, rehearsed),
            (Some(only), None) | (None, Some(only)) => only,
            (None, None) => unreachable!("a micro-batch has rows"),
        }
    }
}

/// Two losses and their figures added up.
fn joined((loss, mut figures): (Tensor<2>, Figures), (other, more): (Tensor<2>, Figures)) -> (Tensor<2>, Figures) {
    figures.add(more);
    (loss + other, figures)
}
