//! Tokens per second, by `llama-bench`.

use super::LlamaCpp;
use crate::bench::phase::{Phase, Work};
use anyhow::{Context, Result, bail};
use std::path::Path;
use std::process::Stdio;

impl LlamaCpp {
    /// One run of `llama-bench` with the work of each of `phases`, each in a context of its own; the rates in the order of
    /// `phases`. It warms up by itself before each.
    pub fn measure(&self, model: &Path, threads: usize, phases: &[Phase], work: &Work) -> Result<Vec<f64>> {
        let tokens = |phase: Phase| if phases.contains(&phase) { work.tokens(phase) } else { 0 }.to_string();
        let output = self
            .program("llama-bench")
            .arg("-m")
            .arg(model)
            .args(["-t", &threads.to_string(), "-r", "1", "-o", "json"])
            .args(["-p", &tokens(Phase::Prefill), "-n", &tokens(Phase::Decode)])
            .stderr(Stdio::null())
            .output()
            .context("llama-bench cannot be started")?;
        if !output.status.success() {
            bail!("llama-bench failed on {} ({})", model.display(), output.status);
        }
        parse(&String::from_utf8_lossy(&output.stdout), phases)
    }
}

fn parse(json: &str, phases: &[Phase]) -> Result<Vec<f64>> {
    let tests: serde_json::Value = serde_json::from_str(json).context("llama-bench printed no JSON")?;
    let rate = |phase: &Phase| {
        let key = match phase {
            Phase::Prefill => "n_prompt",
            Phase::Decode => "n_gen",
        };
        let test = tests.as_array()?.iter().find(|test| test[key].as_u64().is_some_and(|n| n > 0))?;
        test["avg_ts"].as_f64()
    };
    phases
        .iter()
        .map(|phase| rate(phase).with_context(|| format!("llama-bench printed no {phase} rate")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read() {
        let json = r#"[{"n_prompt": 512, "n_gen": 0, "avg_ts": 169.5}, {"n_prompt": 0, "n_gen": 128, "avg_ts": 58.25}]"#;
        assert_eq!(parse(json, &Phase::ALL).unwrap(), [169.5, 58.25]);
        assert_eq!(parse(json, &[Phase::Decode]).unwrap(), [58.25]);
        assert!(parse("[]", &[Phase::Prefill]).is_err());
        assert!(parse("ggml: out of memory", &Phase::ALL).is_err());
    }
}
