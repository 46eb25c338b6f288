//! Coverage-guided fuzzing of the page allocator: an input is a sequence of operations.
//!
//! ```text
//! cargo xtask fuzz mm [--runs N]          or:  cargo run --release --manifest-path mm/fuzz/Cargo.toml -- mm N [SEED]
//! ```
//!
//! Target `"mm"`: zones, per-CPU caches, compaction and failures, against a model that knows the owner of each frame
//! (`operations.rs`).
//!
//! Why not cargo-fuzz: its sanitizers need nightly. LLVM's coverage pass does not: `-C passes` and `-C llvm-args`
//! are stable. So this program starts itself again, built with that pass, and `coverage.rs` is the few lines of
//! run-time that the pass calls. Inputs that reach a new edge, or an edge a new number of times, are kept and mutated
//! on. Without coverage (`AUTON_FUZZ_BLIND=1`) it is a plain mutation fuzzer.

// The fuzz programs share their run-time; llm's has more targets, which use more of it.
#[path = "../../../llm/fuzz/src/coverage.rs"]
mod coverage;
#[path = "../../../llm/fuzz/src/instrument.rs"]
mod instrument;
mod operations;
#[allow(dead_code, reason = "llm's targets pick among items too")]
#[path = "../../../llm/fuzz/src/random.rs"]
mod random;
mod run;

use std::env;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if arguments.first().map(String::as_str) != Some("mm") {
        eprintln!("usage: mm-fuzz mm [RUNS] [SEED]\n       mm-fuzz mm replay FILE...");
        return ExitCode::from(2);
    }
    if let Some(("replay", files)) =
        arguments.get(1..).and_then(|rest| Some((rest.first()?.as_str(), rest.get(1..)?)))
    {
        return run::replay(files);
    }
    if instrument::is_due() {
        return instrument::run(&arguments);
    }
    let number = |at: usize, default: u64| arguments.get(at).map_or(Ok(default), |text| text.parse());
    match (number(1, 1_000_000), number(2, 1)) {
        (Ok(runs), Ok(seed)) => run::run(runs, seed),
        _ => {
            eprintln!("RUNS and SEED must be numbers");
            ExitCode::from(2)
        }
    }
}
