//! Other quantisations of a model, by `llama-quantize`: files as its users have them.

use super::LlamaCpp;
use anyhow::{Context, Result, bail};
use std::path::Path;

impl LlamaCpp {
    /// Writes `source` quantised to `kind` (its name for a mixture, such as `Q4_K_M`) to `target`. A source that is
    /// quantised already is taken as it is: good enough for speed, not for quality.
    pub fn quantise(&self, source: &Path, target: &Path, kind: &str) -> Result<()> {
        let cpus = std::thread::available_parallelism().map_or(1, usize::from).to_string();
        let output = self
            .program("llama-quantize")
            .args(["--allow-requantize".as_ref(), source, target, kind.as_ref(), cpus.as_ref()] as [&Path; 5])
            .output()
            .context("llama-quantize cannot be started")?;
        if !output.status.success() {
            let _ = std::fs::remove_file(target);
            let said = String::from_utf8_lossy(&output.stderr);
            let last = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
            bail!("llama-quantize to {kind} failed ({}): {last}", output.status);
        }
        Ok(())
    }
}
