//! The scheduling policies on trial: `cargo xtask eval sched` (the trace-driven simulator) and `cargo xtask bench sched`.

mod bench;
mod eval;
mod mixed;
mod shared;
mod traces;

use crate::workspace::Workspace;
use anyhow::Result;
use clap::Args;
use std::path::PathBuf;

/// What `cargo xtask eval sched` was asked for.
#[derive(Debug, Clone, Args)]
pub struct EvalOptions {
    /// Folder of traces (default: `sched` in AUTON_DATA).
    #[arg(long)]
    pub traces: Option<PathBuf>,
    /// Loads at which open and closed traces are played.
    #[arg(long, value_delimiter = ',', default_values_t = [0.7, 0.8, 0.9])]
    pub loads: Vec<f64>,
    /// Mean size that the jobs of open traces are scaled to, in milliseconds.
    #[arg(long, default_value_t = 100)]
    pub mean_ms: u64,
    /// What a switch to another task costs, in nanoseconds.
    #[arg(long, default_value_t = 1500)]
    pub switch_ns: u64,
    /// What a decision of the transformer costs, in nanoseconds; that of the others counts as nothing.
    #[arg(long, default_value_t = 2000)]
    pub decision_ns: u64,
    /// Only workloads whose title contains this.
    #[arg(long)]
    pub only: Option<String>,
    /// The transformer also without its guard, without training, and in shadow mode.
    #[arg(long)]
    pub ablation: bool,
    /// Start of the random sequences of the mixed workloads.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

impl EvalOptions {
    fn folder(&self) -> PathBuf {
        self.traces.clone().unwrap_or_else(|| {
            std::env::var_os("AUTON_DATA")
                .map_or_else(|| Workspace::find().root.join("../shared/data"), PathBuf::from)
                .join("sched")
        })
    }
}

/// `cargo xtask eval sched`.
pub fn eval(options: &EvalOptions) -> Result<()> {
    eval::eval(options)
}

/// `cargo xtask bench sched`.
pub fn bench() -> Result<()> {
    bench::bench()
}
