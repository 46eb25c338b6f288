//! `cargo xtask fuzz`: runs a library's own fuzz program for a number of executions.

use crate::workspace::{Workspace, run};
use anyhow::{Result, bail};
use std::path::Path;

/// Runs `target` of whichever `<crate>/fuzz` has it; progress and verdict come from the program itself.
pub fn fuzz(target: &str, runs: u64, seed: Option<u64>) -> Result<()> {
    let workspace = Workspace::find();
    let found = ["llm", "control", "mm", "sched", "shell"]
        .map(|name| workspace.root.join(name).join("fuzz/Cargo.toml"))
        .into_iter()
        .find(|manifest| manifest.is_file() && mentions(manifest, target));
    let Some(manifest) = found else {
        bail!("no crate has a fuzz target named {target}");
    };
    let manifest = manifest.to_string_lossy().into_owned();
    let runs = runs.to_string();
    let mut arguments =
        vec!["run", "--release", "--quiet", "--manifest-path", &manifest, "--", target, &runs];
    let seed = seed.map(|seed| seed.to_string());
    arguments.extend(seed.as_deref());
    run(&mut workspace.cargo(&arguments))
}

/// Whether the fuzz crate at `manifest` has a source file of the target's name, or names it in its program.
fn mentions(manifest: &Path, target: &str) -> bool {
    let Some(sources) = manifest.parent().map(|folder| folder.join("src")) else { return false };
    let program = std::fs::read_to_string(sources.join("main.rs")).unwrap_or_default();
    sources.join(format!("{target}.rs")).is_file() || program.contains(&format!("\"{target}\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_target_is_refused() {
        assert!(fuzz("no-such-target", 1, None).unwrap_err().to_string().contains("no-such-target"));
    }
}
