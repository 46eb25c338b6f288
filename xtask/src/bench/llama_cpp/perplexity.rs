//! Perplexity, by `llama-perplexity`.

use super::LlamaCpp;
use anyhow::{Context, Result, bail};
use std::path::Path;

/// What `llama-perplexity` found.
#[derive(Debug, Clone, PartialEq)]
pub struct Estimate {
    /// The running estimate after each chunk.
    pub chunks: Vec<f64>,
    /// The estimate of all of them.
    pub value: f64,
    /// Its standard error.
    pub error: f64,
}

impl LlamaCpp {
    /// The perplexity of `model` on the text in `text`, in chunks of `chunk` tokens, at most `chunks` of them; keys and
    /// values in F16, as it has them where nothing else is asked for.
    pub fn perplexity(
        &self,
        model: &Path,
        text: &Path,
        chunk: usize,
        chunks: usize,
        threads: usize,
    ) -> Result<Estimate> {
        let output = self
            .program("llama-perplexity")
            .arg("-m")
            .arg(model)
            .arg("-f")
            .arg(text)
            .args(["-c", &chunk.to_string(), "--chunks", &chunks.to_string(), "-t", &threads.to_string()])
            // One chunk at a time, as we do: the sums are then formed alike.
            .args(["-b", &chunk.to_string()])
            .output()
            .context("llama-perplexity cannot be started")?;
        let said = format!(
            "{}\n{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        if !output.status.success() {
            bail!("llama-perplexity failed on {} ({})", model.display(), output.status);
        }
        parse(&said).with_context(|| {
            format!("llama-perplexity gave no estimate for {}: {}", text.display(), refusal(&said))
        })
    }
}

/// `[1]12.3456,[2]…` and `Final estimate: PPL = 12.3456 +/- 0.12345`.
fn parse(said: &str) -> Option<Estimate> {
    let last = said.lines().find_map(|line| line.split_once("Final estimate: PPL = "))?.1;
    let (value, error) = last.split_once(" +/- ")?;
    let (value, error) = (value.trim().parse().ok()?, error.trim().parse().ok()?);
    let running = said.lines().filter(|line| line.starts_with("[1]")).flat_map(|line| line.split(','));
    let chunks = running.filter_map(|part| part.trim().split_once(']')?.1.parse().ok()).collect();
    Some(Estimate { chunks, value, error })
}

/// The line that says why there is no estimate.
fn refusal(said: &str) -> &str {
    said.lines().find(|line| line.contains("you need at least")).unwrap_or("it does not say why")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_estimate_and_its_course_are_read() {
        let said = "perplexity: 1.68 seconds per pass - ETA 0.05 minutes\n[1]25.2507,[2]27.3000,\nFinal estimate: PPL = 27.3000 +/- 2.15530\n";
        let estimate = parse(said).unwrap();
        assert_eq!(estimate, Estimate { chunks: vec![25.2507, 27.3], value: 27.3, error: 2.1553 });
        let short = "perplexity: you need at least 1024 tokens to evaluate perplexity with a context of 512";
        assert_eq!((parse(short), refusal(short)), (None, short));
    }
}
