//! The crash predictor's workshop: fitting it to training families (`cargo xtask fit crash`) and judging it on families
//! that it never saw (`cargo xtask eval crash`), beside baselines, on three legs.

pub mod fit;
pub mod logistic;
pub mod recorded;
pub mod rivals;
pub mod run;
pub mod verdict;

use crate::workspace::Workspace;
use anyhow::Result;
use std::path::PathBuf;

/// What `cargo xtask eval crash` was asked for.
#[derive(Debug, Clone)]
pub struct EvalOptions {
    /// Whether to boot the kernel for leg (c).
    pub guest: bool,
    /// Whether to print a line for each run.
    pub each_run: bool,
    /// A folder of further recordings.
    pub recordings: Option<PathBuf>,
}

/// The folder of recorded Linux runs.
pub fn data_folder() -> PathBuf {
    std::env::var_os("AUTON_DATA").map_or_else(|| Workspace::find().root.join("../shared/data"), PathBuf::from)
}

/// `cargo xtask fit crash`.
pub fn fit(_dry_run: bool) -> Result<()> {
    let runs = recorded::load(&data_folder().join("mem_oom"))?;
    fit::explore(&runs);
    Ok(())
}

/// `cargo xtask eval crash`.
pub fn eval(_options: &EvalOptions) -> Result<()> {
    Ok(())
}
