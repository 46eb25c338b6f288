//! Perplexity (Jelinek et al. 1977), with the chunks of llama.cpp's `llama-perplexity`, so that the two can be compared.

use super::{Engine, EngineError};
use crate::tokenizer::Special;
use alloc::vec::Vec;

/// How surprised a model was by a text.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Perplexity {
    /// Tokens that were predicted.
    pub tokens: usize,
    /// Sum of their negative log-probabilities (natural logarithm).
    pub surprise: f64,
    /// Sum of the squares of those.
    squares: f64,
}

impl Perplexity {
    /// `e` to the mean surprise; 1 where nothing was predicted.
    pub fn value(&self) -> f64 {
        libm::exp(self.surprise / self.tokens.max(1) as f64)
    }

    /// The standard error of [`value`](Self::value), as if tokens were independent.
    pub fn error(&self) -> f64 {
        if self.tokens < 2 {
            return 0.0;
        }
        let mean = self.surprise / self.tokens as f64;
        let variance = (self.squares / self.tokens as f64 - mean * mean).max(0.0);
        libm::sqrt(variance / (self.tokens - 1) as f64) * self.value()
    }

    fn add(&mut self, surprise: f64) {
        self.tokens += 1;
        self.surprise += surprise;
        self.squares += surprise * surprise;
    }
}

impl Engine<'_> {
    /// Cuts `tokens` into whole chunks of `chunk` (the rest is left out), reads each in a fresh context and counts the
    /// predictions of its second half, so that each has at least half a chunk to go by. A chunk's first token is
    /// replaced by the beginning-of-sequence token where the file asks for one. `each` sees the sum after each chunk.
    pub fn perplexity(
        &mut self,
        tokens: &[u32],
        chunk: usize,
        each: &mut dyn FnMut(&Perplexity),
    ) -> Result<Perplexity, EngineError> {
        // One token is there to go by, one is predicted.
        let chunk = chunk.max(2);
        let mut begin = Vec::new();
        self.tokenizer.encode("", Special::Parse, &mut begin);
        let mut sum = Perplexity::default();
        for piece in tokens.chunks_exact(chunk) {
            let mut fed = piece.to_vec();
            if let (Some(first), Some(&bos)) = (fed.first_mut(), begin.first()) {
                *first = bos;
            }
            // The chunk's last token predicts one of the next chunk, which is not asked.
            self.logits_each(&fed[..chunk - 1], chunk / 2, &mut |position, logits| {
                sum.add(surprise(logits, piece[position + 1] as usize));
            })?;
            each(&sum);
        }
        Ok(sum)
    }
}

/// `-ln softmax(logits)[token]`.
fn surprise(logits: &[f32], token: usize) -> f64 {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let total: f64 = logits.iter().map(|&logit| f64::from(libm::expf(logit - largest))).sum();
    let own = logits.get(token).copied().unwrap_or(f32::NEG_INFINITY);
    libm::log(total) - f64::from(own - largest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_even_choice_of_n_has_perplexity_n() {
        let mut sum = Perplexity::default();
        for token in 0..8 {
            sum.add(surprise(&[0.5; 8], token));
        }
        assert!((sum.value() - 8.0).abs() < 1e-12, "{}", sum.value());
        assert!(sum.error() < 1e-6);
    }

    #[test]
    fn a_certain_token_surprises_little_and_the_others_much() {
        let logits = [20.0, 0.0, 0.0];
        assert!(surprise(&logits, 0) < 1e-8);
        assert!((surprise(&logits, 1) - 20.0).abs() < 1e-6);
    }

    #[test]
    fn nothing_predicted_is_no_surprise() {
        assert_eq!((Perplexity::default().value(), Perplexity::default().error()), (1.0, 0.0));
    }
}
