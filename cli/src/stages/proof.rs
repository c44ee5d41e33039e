//! What distilling was worth, on held-out general text.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use lore_datasets::evaluation::EvalPassage;
use lore_eval::composition::{Text, score_texts};
use lore_eval::statistics::{Measured, bits_per_byte, paired_difference};
use lore_model::Decoder;
use lore_model::ops::head::{Divergence, Sums, Target, head_loss};
use lore_model::ops::sequences::Sequences;
use serde::Serialize;
use tokenizers::Tokenizer;

use super::prepared::held_out;
use crate::error::{Error, Result};
use crate::session::Session;

/// Held-out tokens that teacher and students are compared on.
const TOKENS: u64 = 4096;

/// Held-out general text.
pub struct HeldOut<'a> {
    texts: [Text; 1],
    start: u32,
    session: &'a Session,
}

/// Teacher and students on it.
#[derive(Debug, Serialize)]
pub struct Proof {
    teacher_bits_per_byte: f64,
    untrained_bits_per_byte: f64,
    student_bits_per_byte: f64,
    control: Option<Control>,
    /// Nats a token.
    forward_kl: f64,
    /// Nats a token.
    teacher_entropy: f64,
    top1_agreement: f64,
    /// `Σ min(p, q)`.
    overlap: f64,
}

/// The student that learnt without the teacher.
#[derive(Debug, Serialize)]
struct Control {
    bits_per_byte: f64,
    /// Paired by passage; negative where the teacher was worth something.
    student_less_control: f64,
    /// Absent for a single passage.
    standard_error: Option<f64>,
}

impl<'a> HeldOut<'a> {
    /// Held-out passages of the stage `general`; `start` begins each of them.
    ///
    /// # Errors
    /// Documents that cannot be read.
    pub fn new(
        general: &Path,
        tokenizer: &Tokenizer,
        passage: usize,
        start: u32,
        session: &'a Session,
    ) -> Result<Self> {
        let passages = held_out(general, tokenizer, TOKENS, passage)?;
        Ok(Self { texts: [Text { name: "general".into(), passages }], start, session })
    }

    /// Measures all of them.
    ///
    /// # Errors
    /// Texts that cannot be scored.
    pub fn compare(
        &self,
        teacher: &Decoder,
        untrained: &Decoder,
        student: &Decoder,
        control: Option<&Decoder>,
    ) -> Result<Proof> {
        let bits = |measured: &[Measured]| bits_per_byte(measured).value;
        let of_student = self.measure(student, "held-out: student")?;
        let control = match control {
            None => None,
            Some(control) => {
                let of_control = self.measure(control, "held-out: control")?;
                let difference = paired_difference(&of_student, &of_control);
                Some(Control {
                    bits_per_byte: bits(&of_control),
                    student_less_control: difference.value,
                    standard_error: difference.standard_error,
                })
            }
        };
        let distance = distance(teacher, student, self.start, &self.texts[0].passages);
        Ok(Proof {
            teacher_bits_per_byte: bits(&self.measure(teacher, "held-out: teacher")?),
            untrained_bits_per_byte: bits(&self.measure(untrained, "held-out: untrained student")?),
            student_bits_per_byte: bits(&of_student),
            control,
            forward_kl: distance.loss,
            teacher_entropy: distance.target_entropy,
            top1_agreement: distance.agreement,
            overlap: distance.overlap,
        })
    }

    fn measure(&self, decoder: &Decoder, label: &str) -> Result<Vec<Measured>> {
        let row = score_texts(decoder, &self.texts, self.start, label, &*self.session.progress)
            .map_err(Error::while_doing("scoring held-out general text"))?;
        Ok(row.measured(&self.texts, 0))
    }
}

impl fmt::Display for Proof {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (teacher, untrained) = (self.teacher_bits_per_byte, self.untrained_bits_per_byte);
        let student = self.student_bits_per_byte;
        let above = 100.0 * (student / teacher - 1.0);
        write!(
            out,
            "{student:.3} bits per byte on held-out text, {above:+.1} % against the teacher's {teacher:.3} (untrained {untrained:.3})"
        )?;
        match &self.control {
            None => Ok(()),
            Some(control) => write!(
                out,
                "; without the teacher {:.3} (difference {:+.3} ± {:.3})",
                control.bits_per_byte,
                control.student_less_control,
                1.96 * control.standard_error.unwrap_or(f64::NAN)
            ),
        }
    }
}

/// Mean divergence from the teacher, its entropy, agreement and overlap over held-out passages.
fn distance(teacher: &Decoder, student: &Decoder, start: u32, passages: &[EvalPassage]) -> Sums {
    let mut sums = Sums::default();
    let rows: usize = passages.iter().map(|passage| passage.tokens.len() + 1).sum();
    for passage in passages {
        let tokens: Arc<Vec<u32>> = Arc::new(std::iter::once(start).chain(passage.tokens.iter().copied()).collect());
        let sequences = Arc::new(Sequences::whole(&[tokens.len()]));
        let weights = Arc::new(vec![1.0 / rows as f32; tokens.len()]);
        let target = Target::Teacher {
            hidden: teacher.hidden(tokens.clone(), sequences.clone()),
            head: teacher.head(),
            temperature: 1.0,
            divergence: Divergence::ForwardKl,
        };
        sums.add(head_loss(student.hidden(tokens, sequences), student.head(), target, weights).1);
    }
    sums
}
