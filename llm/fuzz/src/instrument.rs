//! Starting this program again, built so that it sees its own coverage.

use crate::coverage;
use std::env;
use std::process::{Command, ExitCode};

/// Set in the instrumented program that the first one starts.
const STAGE: &str = "AUTON_FUZZ_STAGE";

/// Whether this is the program as cargo built it, and nobody asked for a blind run.
pub fn is_due() -> bool {
    !coverage::is_on() && env::var_os(STAGE).is_none() && env::var_os("AUTON_FUZZ_BLIND").is_none()
}

/// Builds this program with the coverage pass, in a target folder of its own, and runs it.
pub fn run(arguments: &[String]) -> ExitCode {
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
