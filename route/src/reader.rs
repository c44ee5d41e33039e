//! What of a passage a router looks at: the base's own states half-way up, and the tokens themselves.

use std::sync::Arc;

use lore_model::Decoder;
use lore_model::ops::host::values;
use lore_model::ops::sequences::Sequences;

use crate::build::Settings;
use crate::error::Error;

/// Rows that pass through the base at once.
const ROWS: usize = 4096;

/// A passage, as a router sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    /// Mean over the passage's tokens of the residual stream at their positions, each first scaled to length 1;
    /// `[hidden]`. The token that begins a text is read and not averaged: its state is the same for all texts and larger
    /// than all others.
    pub state: Vec<f32>,
    /// The passage's tokens, without the one that begins a text.
    pub tokens: Vec<u32>,
}

/// The lower blocks of a base, as far as a router needs them.
#[derive(Clone, Debug)]
pub struct Reader {
    decoder: Decoder,
    tokens: usize,
}

impl Reader {
    /// Reads states after the first `layer` blocks of `base`, of at most `tokens` tokens of a passage. Updates that are
    /// active on `base` are left out.
    ///
    /// # Panics
    /// When the base has fewer blocks, `layer` is 0, or `tokens` and the token that begins a text are more than its
    /// positions.
    pub fn new(base: &Decoder, layer: usize, tokens: usize) -> Self {
        assert!((1..=base.blocks.len()).contains(&layer), "{layer} of {} blocks", base.blocks.len());
        assert!((1..base.max_positions()).contains(&tokens), "{tokens} of {} positions", base.max_positions());
        let mut decoder = base.with_updates(|_| None);
        decoder.blocks.truncate(layer);
        Self { decoder, tokens }
    }

    /// As entries for `base` are made: with [`Settings::of`] it.
    pub fn usual(base: &Decoder) -> Self {
        let Settings { layer, tokens } = Settings::of(base);
        Self::new(base, layer, tokens)
    }

    /// Views of passages, each given with the token that begins a text before its own tokens, or of that alone.
    ///
    /// # Panics
    /// When a passage is empty.
    pub fn read(&self, passages: &[Vec<u32>]) -> Vec<View> {
        self.read_halves(passages).into_iter().map(|(view, _)| view).collect()
    }

    /// Views, and half of what the averaged states of each passage's two halves differ, `[hidden]`: the noise that averaging
    /// over the whole leaves. A passage of fewer than two tokens has none.
    pub(crate) fn read_halves(&self, passages: &[Vec<u32>]) -> Vec<(View, Vec<f32>)> {
        let cut: Vec<&[u32]> = passages.iter().map(|passage| &passage[..passage.len().min(1 + self.tokens)]).collect();
        let mut views = Vec::with_capacity(cut.len());
        let mut rest = cut.as_slice();
        while !rest.is_empty() {
            let mut rows = 0;
            let fitting = rest.iter().take_while(|passage| {
                rows += passage.len();
                rows <= ROWS
            });
            let (batch, after) = rest.split_at(fitting.count().max(1));
            rest = after;
            views.extend(self.read_batch(batch));
        }
        views
    }

    /// What is read of a prompt: the token it begins with and its last tokens, as many as are looked at. What is asked
    /// stands at the end of a prompt, as of a conversation that has gone on for a while.
    pub fn window(&self, prompt: &[u32]) -> Vec<u32> {
        let [first, rest @ ..] = prompt else { return Vec::new() };
        let left_out = rest.len().saturating_sub(self.tokens);
        [&[*first][..], &rest[left_out..]].concat()
    }

    /// That what is read are the states entries tell of: those of the base's own values, by which it is named.
    ///
    /// # Errors
    /// [`Error::InBlocks`].
    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.decoder.is_quantised() { Err(Error::InBlocks) } else { Ok(()) }
    }

    /// Blocks that are looked through.
    pub fn layer(&self) -> usize {
        self.decoder.blocks.len()
    }

    /// Tokens that are looked at.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Tokens that there are.
    pub fn vocabulary(&self) -> usize {
        self.decoder.config.vocab_size
    }

    /// The residual stream at every token, `[rows, hidden]`.
    fn states(&self, passages: &[&[u32]]) -> Vec<f32> {
        let last = self.decoder.blocks.len() - 1;
        let lengths: Vec<usize> = passages.iter().map(|passage| passage.len()).collect();
        let mut states = Vec::new();
        self.decoder.hidden_after(
            Arc::new(passages.concat()),
            Arc::new(Sequences::whole(&lengths)),
            &mut |layer, state| {
                if layer == last {
                    states = values(state);
                }
            },
        );
        states
    }

    fn read_batch(&self, passages: &[&[u32]]) -> Vec<(View, Vec<f32>)> {
        let states = self.states(passages);
        let width = self.decoder.config.hidden_size;
        let mut rows = states.chunks_exact(width);
        let view = |passage: &&[u32]| {
            assert!(!passage.is_empty(), "a passage holds at least the token that begins a text");
            let own: Vec<&[f32]> = rows.by_ref().take(passage.len()).collect();
            let own = if own.len() > 1 { &own[1..] } else { &own };
            let (first, second) = own.split_at(own.len() / 2);
            let noise = if first.is_empty() {
                vec![0.0; width]
            } else {
                let (first, second) = (mean_direction(first), mean_direction(second));
                first.iter().zip(&second).map(|(a, b)| 0.5 * (a - b)).collect()
            };
            (View { state: mean_direction(own), tokens: passage[1..].to_vec() }, noise)
        };
        passages.iter().map(view).collect()
    }
}

/// The mean of vectors scaled to length 1.
pub(crate) fn mean_direction(rows: &[&[f32]]) -> Vec<f32> {
    let mut sum = vec![0.0_f64; rows[0].len()];
    for row in rows {
        let length = row.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt().max(f64::MIN_POSITIVE);
        sum.iter_mut().zip(*row).for_each(|(sum, &x)| *sum += f64::from(x) / length);
    }
    sum.into_iter().map(|sum| (sum / rows.len() as f64) as f32).collect()
}
