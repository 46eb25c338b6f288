//! How likely a text is to a model: log-probabilities of its tokens.

use super::histories::Heir;
use super::{Engine, EngineError};
use alloc::vec::Vec;

/// Log-probabilities of a continuation, natural logarithms.
#[derive(Debug, Clone, PartialEq)]
pub struct Score {
    /// Of each token, given the prompt and the tokens before it.
    pub each: Vec<f64>,
    /// Their sum: of the continuation as a whole.
    pub sum: f64,
}

impl Engine<'_> {
    /// How likely `continuation` is behind `prompt`. What is in the cache of the prompt is used again, so that several
    /// continuations of one prompt cost their own tokens only. The same on every machine: sums are in double precision, in
    /// the order of the vocabulary.
    pub fn score(&mut self, prompt: &[u32], continuation: &[u32]) -> Result<Score, EngineError> {
        self.check(prompt, continuation)?;
        let first = prompt.len().checked_sub(1).ok_or(EngineError::EmptyPrompt)?;
        let mut score = Score { each: Vec::with_capacity(continuation.len()), sum: 0.0 };
        // The last token's own successors are not asked for.
        let end = first + continuation.len();
        let tokens = prompt.iter().chain(continuation).copied().take(end);
        let mut history = self.histories.open(tokens, end, Heir::OfTheLast)?;
        // The prompt's last token is always read again: its logits are wanted.
        history.read = history.read.min(first);
        let (mut next, mut finite) = (continuation.iter(), true);
        self.read_each(&mut history, first, &mut |_, logits| {
            let each = next.next().and_then(|&token| log_probability(logits, token));
            finite &= each.is_some();
            score.each.extend(each);
        });
        self.histories.rest(history);
        score.sum = score.each.iter().fold(0.0, |sum, each| sum + each);
        if finite { Ok(score) } else { Err(EngineError::NotFinite) }
    }
}

/// The logarithm of the softmax at `token`; `None` if a logit is not finite.
fn log_probability(logits: &[f32], token: u32) -> Option<f64> {
    let (mut highest, mut finite) = (f32::NEG_INFINITY, true);
    for &logit in logits {
        finite &= logit.is_finite();
        highest = if logit > highest { logit } else { highest };
    }
    let highest = f64::from(highest);
    let mut sum = 0.0;
    for &logit in logits {
        sum += libm::exp(f64::from(logit) - highest);
    }
    let own = f64::from(*logits.get(token as usize).filter(|_| finite)?);
    Some(own - highest - libm::log(sum))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_add_up_to_one() {
        let logits = [3.0f32, -2.0, 80.0, 79.5, 0.0];
        let all: f64 = (0..5).map(|token| libm::exp(log_probability(&logits, token).unwrap())).sum();
        assert!((all - 1.0).abs() < 1e-12, "{all}");
        // ln(1 / (1 + e^-0.5)), the others being far below.
        assert!((log_probability(&logits, 2).unwrap() + 0.474_076_984_180_106_7).abs() < 1e-12);
        assert_eq!(log_probability(&logits, 5), None);
        assert_eq!(log_probability(&[0.0, f32::NAN], 0), None);
        assert_eq!(log_probability(&[0.0, f32::INFINITY], 0), None);
    }
}
