//! The logits of every position of a text, as measures of a model need them (perplexity).

use super::histories::{Heir, History};
use super::{Engine, EngineError};
use crate::model::LOGIT_ROWS;

impl Engine<'_> {
    /// Reads `tokens` in a fresh context and gives `each` the logits of every position from `first` on, in order:
    /// those of position `i` say what token `i + 1` may be. They are bit for bit those of
    /// [`logits`](Self::logits) of `tokens[..=i]`.
    pub fn logits_each(
        &mut self,
        tokens: &[u32],
        first: usize,
        each: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<(), EngineError> {
        self.check(tokens, &[])?;
        let mut history = self.histories.open(tokens.iter().copied(), tokens.len(), Heir::OfTheLast)?;
        history.read = 0;
        self.read_each(&mut history, first, each);
        self.histories.rest(history);
        Ok(())
    }

    /// Reads what is unread, and gives `each` the logits of its positions from `first` on.
    pub(super) fn read_each(
        &mut self,
        history: &mut History,
        first: usize,
        each: &mut dyn FnMut(usize, &[f32]),
    ) {
        while history.unread() > 0 {
            let batch = self.feed(history);
            for from in (batch.start.max(first)..batch.end).step_by(LOGIT_ROWS) {
                let count = LOGIT_ROWS.min(batch.end - from);
                let rows: [usize; LOGIT_ROWS] = core::array::from_fn(|at| from - batch.start + at);
                let compute = self.compute(count);
                let mut logits = self.model.logits(compute, &rows[..count]);
                (0..count).for_each(|at| each(from + at, logits.of(at)));
            }
        }
    }
}
