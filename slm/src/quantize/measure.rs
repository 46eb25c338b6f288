//! What rounding costs: perplexity on the valid split, by the kernel's own engine.

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressStyle};
use llm::clock::StdClock;
use llm::engine::{Engine, LoadOptions};
use llm::gguf::Gguf;
use llm::pool::Pool;
use llm::threads::Threads;
use rayon::prelude::*;

/// Memory of an engine beside the weights.
const POOL: usize = 64 << 20;
/// More engines than this are no use to a small model.
const MOST_ENGINES: usize = 8;

/// Mean surprise of a file on the same chunks as others.
#[derive(Debug, Clone, PartialEq)]
pub struct Surprise {
    /// Tokens predicted and the sum of their surprises (nats), for each chunk.
    pub chunks: Vec<(usize, f64)>,
}

impl Surprise {
    /// `e` to the mean surprise.
    pub fn perplexity(&self) -> f64 {
        self.mean().exp()
    }

    /// Nats per token.
    pub fn mean(&self) -> f64 {
        self.chunks.iter().map(|chunk| chunk.1).sum::<f64>() / self.tokens().max(1) as f64
    }

    /// Tokens predicted.
    pub fn tokens(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.0).sum()
    }

    /// How much more surprised than `other` on the same chunks, nats per token, and the standard error of that: the texts
    /// being the same, their own difficulty cancels out.
    pub fn above(&self, other: &Surprise) -> (f64, f64) {
        let pairs = self.chunks.iter().zip(&other.chunks);
        let each: Vec<f64> = pairs.map(|(a, b)| (a.1 - b.1) / a.0.max(1) as f64).collect();
        let n = each.len().max(1) as f64;
        let mean = each.iter().sum::<f64>() / n;
        let variance = each.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / (n - 1.0).max(1.0);
        (mean, (variance / n).sqrt())
    }
}

/// Reads whole chunks of `context` tokens, the model's; the second half of each is predicted. The chunks are shared
/// among engines of one thread each: nobody waits for another within a layer.
pub fn surprise(name: &str, file: &[u8], tokens: &[u32], context: usize) -> Result<Surprise> {
    let whole = tokens.len() / context.max(1);
    let engines = std::thread::available_parallelism().map_or(1, usize::from).min(MOST_ENGINES);
    let bar = ProgressBar::new(whole as u64).with_message(format!("perplexity of {name}"));
    bar.set_style(ProgressStyle::with_template("{msg} {bar:30} {pos}/{len} {eta}")?);
    let share = whole.div_ceil(engines).max(1) * context;
    let read = |share: &[u32]| one(file, share, context, &bar).with_context(|| name.to_owned());
    let shares: Vec<_> = tokens.par_chunks(share.max(1)).map(read).collect::<Result<_>>()?;
    bar.finish_and_clear();
    Ok(Surprise { chunks: shares.concat() })
}

/// Tokens predicted and the sum of their surprises, of each chunk, by one engine.
fn one(file: &[u8], tokens: &[u32], context: usize, bar: &ProgressBar) -> Result<Vec<(usize, f64)>> {
    let mut memory = vec![0u8; POOL + 2 * file.len()];
    let (threads, clock, gguf) = (Threads::new(1), StdClock::new(), Gguf::parse(file)?);
    let options = LoadOptions { context: Some(context), ..LoadOptions::default() };
    let mut engine = Engine::load(gguf, Pool::new(&mut memory), &threads, &clock, options)?;
    let (mut chunks, mut counted, mut sum) = (Vec::new(), 0, 0.0);
    engine.perplexity(tokens, context, &mut |so_far| {
        chunks.push((so_far.tokens - counted, so_far.surprise - sum));
        (counted, sum) = (so_far.tokens, so_far.surprise);
        bar.inc(1);
    })?;
    Ok(chunks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_both_find_hard_cancels_out() {
        let base = Surprise { chunks: vec![(10, 10.0), (10, 50.0), (10, 20.0)] };
        let worse = Surprise { chunks: base.chunks.iter().map(|(n, s)| (*n, s + 1.0)).collect() };
        let (mean, error) = worse.above(&base);
        assert!((mean - 0.1).abs() < 1e-12 && error < 1e-12, "{mean} {error}");
        assert!((base.perplexity() - (80.0f64 / 30.0).exp()).abs() < 1e-9);
    }
}
