//! What happens when a generation reaches the end of the context.
//!
//! A key in the cache is rotated by its position, so tokens cannot simply move forward. What is kept of the later part is
//! read again at its new place: the model then stands exactly as if it had been given the kept tokens as its prompt.

use super::histories::History;

/// What to do when the context is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Overflow {
    /// End, with [`StopReason::ContextFull`](super::StopReason::ContextFull).
    #[default]
    Stop,
    /// Go on with the first `keep` tokens (at most half of the context) and the later half of the others, as llama.cpp's
    /// "context shift" does. The later half is read again, exactly: that takes as long as a prompt of half a context, once
    /// for each half context generated.
    Shift {
        /// Tokens at the beginning that stay: a system prompt, say.
        keep: usize,
    },
}

impl History {
    /// Gives up half of what is behind the first `keep` tokens; the rest of it is to be read again.
    pub(super) fn shift(&mut self, keep: usize) {
        let all = self.tokens.len();
        let keep = keep.min(all / 2);
        let dropped = (all - keep).div_ceil(2);
        self.tokens.drain(keep..keep + dropped);
        // Keys and values of the first tokens do not depend on those behind them.
        self.read = self.read.min(keep);
    }
}
