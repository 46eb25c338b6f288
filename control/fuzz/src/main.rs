//! Coverage-guided fuzzing of the control plane: an input is a sequence of what host, line and kernel do.
//!
//! ```text
//! cargo xtask fuzz frame [--runs N]       or:  cargo run --release --manifest-path control/fuzz/Cargo.toml -- frame N [SEED]
//! ```
//!
//! Target `"frame"`: sound, changed, replayed, cut and glued frames through decoder, session, authority and client,
//! beside a model of what must come of them (`frame.rs`), which reads the bytes in a way of its own (`reference.rs`).
//!
//! Coverage without nightly: see `llm/fuzz/src/main.rs`, whose loop and run-time this program shares.

#[path = "../../../llm/fuzz/src/coverage.rs"]
mod coverage;
mod frame;
#[path = "../../../llm/fuzz/src/instrument.rs"]
mod instrument;
#[path = "../../../llm/fuzz/src/mutate.rs"]
mod mutate;
#[path = "../../../llm/fuzz/src/random.rs"]
mod random;
mod reference;
#[path = "../../../llm/fuzz/src/run.rs"]
mod run;

use std::env;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if arguments.first().map(String::as_str) != Some("frame") {
        eprintln!("usage: control-fuzz frame [RUNS] [SEED]\n       control-fuzz frame replay FILE...");
        return ExitCode::from(2);
    }
    let target = &mut frame::FrameTarget;
    if let Some(("replay", files)) =
        arguments.get(1..).and_then(|rest| Some((rest.first()?.as_str(), rest.get(1..)?)))
    {
        return run::replay(target, files);
    }
    if instrument::is_due() {
        return instrument::run(&arguments);
    }
    let number = |at: usize, default: u64| arguments.get(at).map_or(Ok(default), |text| text.parse());
    match (number(1, 1_000_000), number(2, 1)) {
        (Ok(runs), Ok(seed)) => run::run(target, runs, seed),
        _ => {
            eprintln!("RUNS and SEED must be numbers");
            ExitCode::from(2)
        }
    }
}
