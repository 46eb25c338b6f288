//! Coverage-guided fuzzing of what reads foreign bytes, on stable Rust.
//!
//! ```text
//! cargo xtask fuzz gguf [--runs N]          or:  cargo run --release --manifest-path llm/fuzz/Cargo.toml -- gguf N [SEED]
//! ```
//!
//! Targets: `"gguf"` (a file: parse, walk everything, build tokenizer and engine, generate), `"tokenizer"` (a text
//! on small vocabularies; decoding must give it back), `"rules"` (a question), `"grammar"` (a grammar; its masks must hold
//! what it allows).
//!
//! Why not cargo-fuzz: its sanitizers need nightly. LLVM's coverage pass does not: `-C passes` and `-C llvm-args`
//! are stable. So this program starts itself again, built with that pass for the library under test, and
//! `coverage.rs` is the few lines of run-time that the pass calls. Inputs that reach a new edge, or an edge a new
//! number of times, are kept and mutated on. Without coverage (`AUTON_FUZZ_BLIND=1`) it is a plain mutation fuzzer.

mod coverage;
mod gguf;
mod grammar;
mod instrument;
mod model_file;
mod mutate;
mod random;
mod rules;
mod run;
mod tokenizer;

use std::env;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let target: &mut dyn run::Target = match arguments.first().map(String::as_str) {
        Some("gguf") => &mut gguf::GgufTarget::new(),
        Some("tokenizer") => &mut tokenizer::TokenizerTarget::new(),
        Some("grammar") => &mut grammar::GrammarTarget::new(),
        Some("rules") => &mut rules::RulesTarget::new(),
        _ => {
            eprintln!(
                "usage: llm-fuzz gguf|tokenizer|rules|grammar [RUNS] [SEED]\n       llm-fuzz TARGET replay FILE..."
            );
            return ExitCode::from(2);
        }
    };
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
