//! Tokens per second of several sequences that decode together, by `llama-batched-bench`.

use super::LlamaCpp;
use anyhow::{Context, Result, bail};
use std::path::Path;
use std::process::Stdio;

impl LlamaCpp {
    /// One run for each number of `sequences`: each decodes `tokens` tokens behind a prompt of `prompt`; the rates of
    /// all together, in the order of `sequences`.
    pub fn measure_batches(
        &self,
        model: &Path,
        threads: usize,
        prompt: usize,
        tokens: usize,
        sequences: &[usize],
    ) -> Result<Vec<f64>> {
        let most = sequences.iter().copied().max().unwrap_or(1);
        let counts: Vec<String> = sequences.iter().map(usize::to_string).collect();
        let output = self
            .program("llama-batched-bench")
            .arg("-m")
            .arg(model)
            .args(["-t", &threads.to_string(), "-c", &(most * (prompt + tokens)).to_string()])
            .args(["-npp", &prompt.to_string(), "-ntg", &tokens.to_string(), "-npl", &counts.join(",")])
            .args(["--output-format", "jsonl"])
            .stderr(Stdio::null())
            .output()
            .context("llama-batched-bench cannot be started")?;
        if !output.status.success() {
            bail!("llama-batched-bench failed on {} ({})", model.display(), output.status);
        }
        parse(&String::from_utf8_lossy(&output.stdout), sequences)
    }
}

/// One JSON object a line, among other lines.
fn parse(said: &str, sequences: &[usize]) -> Result<Vec<f64>> {
    let lines: Vec<serde_json::Value> =
        said.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let rate = |&count: &usize| {
        let run = lines.iter().find(|run| run["pl"].as_u64() == Some(count as u64))?;
        run["speed_tg"].as_f64()
    };
    sequences
        .iter()
        .map(|count| rate(count).with_context(|| format!("llama-batched-bench printed no rate of {count}")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read() {
        let said = "main: n_kv_max = 2048\n{\"pp\": 16, \"pl\": 1, \"speed_tg\": 38.5}\n\n{\"pl\": 4, \"speed_tg\": 54.25}\n";
        assert_eq!(parse(said, &[4, 1]).unwrap(), [54.25, 38.5]);
        assert!(parse(said, &[2]).is_err());
    }
}
