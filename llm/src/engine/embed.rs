//! Embeddings: one vector that stands for a text.

use super::histories::Heir;
use super::{Engine, EngineError};
use crate::pool::{Pool, PoolFull, Purpose};

/// How the vectors of a text's tokens become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// Their mean.
    Mean,
    /// The last token's, which has seen all others.
    Last,
}

/// Room for one vector, of the model's width.
pub(super) struct Buffers<'p> {
    sums: &'p mut [f64],
    result: &'p mut [f32],
}

impl<'p> Buffers<'p> {
    pub fn new(width: usize, pool: &mut Pool<'p>) -> Result<Self, PoolFull> {
        let (sums, result) =
            (pool.take(Purpose::Activations, width)?, pool.take(Purpose::Activations, width)?);
        Ok(Self { sums, result })
    }

    /// Counts a token's vector in; of the last one only with [`Pooling::Last`].
    fn add(&mut self, state: &[f32], pooling: Pooling) {
        for (sum, &x) in self.sums.iter_mut().zip(state) {
            *sum = if pooling == Pooling::Mean { *sum + f64::from(x) } else { x.into() };
        }
    }

    /// The vector, over `count` tokens, of length 1 if `normalise` (unless it is all zeros). `None` if it is not finite.
    fn finish(&mut self, count: usize, normalise: bool) -> Option<&[f32]> {
        let count = count as f64;
        let squares = self.sums.iter().fold(0.0, |squares, sum| squares + (sum / count) * (sum / count));
        let length = if normalise && squares > 0.0 { libm::sqrt(squares) } else { 1.0 };
        for (x, sum) in self.result.iter_mut().zip(&*self.sums) {
            *x = (sum / count / length) as f32;
        }
        squares.is_finite().then_some(&*self.result)
    }
}

impl Engine<'_> {
    /// The embedding of a text: the model's last hidden states, normed as they are before the logits, pooled; of
    /// length 1 if `normalise`. The same on every machine.
    pub fn embed(
        &mut self,
        tokens: &[u32],
        pooling: Pooling,
        normalise: bool,
    ) -> Result<&[f32], EngineError> {
        self.check(tokens, &[])?;
        let mut history = self.histories.open(tokens.iter().copied(), tokens.len(), Heir::OfTheLast)?;
        // The cache has keys and values, not states: those that are wanted are computed again.
        history.read = if pooling == Pooling::Last { history.read.min(tokens.len() - 1) } else { 0 };
        self.embedding.sums.fill(0.0);
        while history.unread() > 0 {
            for index in 0..self.feed(&mut history).len() {
                self.embedding.add(self.model.state(index), pooling);
            }
        }
        self.histories.rest(history);
        let count = if pooling == Pooling::Mean { tokens.len() } else { 1 };
        self.embedding.finish(count, normalise).ok_or(EngineError::NotFinite)
    }
}
