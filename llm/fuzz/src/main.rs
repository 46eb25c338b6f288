//! Coverage-guided fuzzing of what reads foreign bytes, on stable Rust.
//!
//! ```text
//! cargo xtask fuzz gguf [--runs N]          or:  cargo run --release --manifest-path llm/fuzz/Cargo.toml -- gguf N [SEED]
//! ```
//!
//! Targets: `"gguf"` (a file: parse, walk everything, build tokenizer and engine, generate), `"tokenizer"` (a text
//! on small vocabularies; decoding must give it back), `"rules"` (a question).
//!
//! Why not cargo-fuzz: its sanitizers need nightly. LLVM's coverage pass does not: `-C passes` and `-C llvm-args`
//! are stable. So this program starts itself again, built with that pass for the library under test, and
//! `coverage.rs` is the few lines of run-time that the pass calls. Inputs that reach a new edge, or an edge a new
//! number of times, are kept and mutated on. Without coverage (`AUTON_FUZZ_BLIND=1`) it is a plain mutation fuzzer.

mod coverage;
mod gguf;
mod mutate;
mod random;
mod rules;
mod run;
mod tokenizer;

use std::env;
use std::process::{Command, ExitCode};

/// Set in the instrumented program that the first one starts.
const STAGE: &str = "AUTON_FUZZ_STAGE";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let target: &mut dyn run::Target = match arguments.first().map(String::as_str) {
        Some("gguf") => &mut gguf::GgufTarget::new(),
        Some("tokenizer") => &mut tokenizer::TokenizerTarget::new(),
        Some("rules") => &mut rules::RulesTarget::new(),
        _ => {
            eprintln!(
                "usage: llm-fuzz gguf|tokenizer|rules [RUNS] [SEED]\n       llm-fuzz TARGET replay FILE..."
            );
            return ExitCode::from(2);
        }
    };
    if let Some(("replay", files)) =
        arguments.get(1..).and_then(|rest| Some((rest.first()?.as_str(), rest.get(1..)?)))
    {
        return run::replay(target, files);
    }
    if !coverage::is_on() && env::var_os(STAGE).is_none() && env::var_os("AUTON_FUZZ_BLIND").is_none() {
        return instrumented(&arguments);
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

/// Builds this program with the coverage pass, in a target folder of its own, and runs it.
fn instrumented(arguments: &[String]) -> ExitCode {
    // `--target` keeps the flags away from build scripts and macros, which would not link with them.
    let target = concat!(env!("CARGO_MANIFEST_DIR"), "/target/coverage");
    let status = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["run", "--release", "--quiet", "--target", "x86_64-unknown-linux-gnu"])
        .args(["--manifest-path", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"), "--"])
        .args(arguments)
        .env("CARGO_TARGET_DIR", env::var_os("AUTON_FUZZ_TARGET_DIR").unwrap_or_else(|| target.into()))
        .env(
            "RUSTFLAGS",
            "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=3 \
             -Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
        )
        .env(STAGE, "2")
        .status();
    match status.map(|status| status.code()) {
        Ok(Some(code)) => ExitCode::from(code as u8),
        other => {
            eprintln!("the instrumented fuzzer did not run: {other:?}");
            ExitCode::FAILURE
        }
    }
}
