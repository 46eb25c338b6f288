//! The logits of every position of a text, as measures of a model need them (perplexity).

use super::{Engine, EngineError};
use crate::model::BATCH;

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
        self.cached = 0;
        for batch in tokens.chunks(BATCH) {
            let start = self.cached;
            self.feed(batch, &mut || true);
            let compute = self.compute(1);
            for position in start.max(first)..self.cached {
                each(position, self.model.logits(compute, position - start + 1));
            }
        }
        Ok(())
    }
}
