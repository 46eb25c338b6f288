//! The crash predictor's workshop: fitting it to training families (`cargo xtask fit crash`) and judging it on families
//! that it never saw (`cargo xtask eval crash`), beside baselines, on three legs.

pub mod bench;
mod boost;
pub mod eval;
pub mod fit;
pub mod guest;
pub mod host;
pub mod prevention;
pub mod recorded;
pub mod rivals;
pub mod run;
pub mod verdict;

use crate::workspace::Workspace;
use anyhow::{Context, Result};
use std::path::PathBuf;

/// What `cargo xtask eval crash` was asked for.
#[derive(Debug, Clone)]
pub struct EvalOptions {
    /// Whether to do legs (a) and (b).
    pub host: bool,
    /// How to do leg (c), the booted kernel, if at all.
    pub guest: Option<guest::GuestOptions>,
    /// Whether to print a line for each run.
    pub each_run: bool,
    /// A folder of further recordings.
    pub recordings: Option<PathBuf>,
}

/// The folder of recorded Linux runs.
pub fn data_folder() -> PathBuf {
    std::env::var_os("AUTON_DATA")
        .map_or_else(|| Workspace::find().root.join("../shared/data"), PathBuf::from)
}

/// `cargo xtask fit crash`.
pub fn fit(dry_run: bool) -> Result<()> {
    let mut runs = host::training();
    runs.extend(recorded::load(&data_folder().join("mem_oom"))?);
    let (fitted, log) = fit::fit(&runs);
    println!("cross-validation, recall at >= 5 s / runs with a false alarm:");
    log.iter().for_each(|line| println!("  {line}"));
    let source = fit::source(&fitted, &runs);
    if dry_run {
        print!("{source}");
        return Ok(());
    }
    let path = Workspace::find().root.join("ai_insights/src/crash_predictor/coefficients.rs");
    std::fs::write(&path, source).with_context(|| format!("{} cannot be written", path.display()))?;
    println!("written: {}", path.display());
    Ok(())
}

/// `cargo xtask eval crash`.
pub fn eval(options: &EvalOptions) -> Result<()> {
    eval::eval(options)
}
