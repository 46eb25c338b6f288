//! `auton`: the model pipeline on the host. So far its first steps: check and cost an architecture, validate a
//! GGUF file as the kernel will read it, and export it in F32.
//!
//! Principles
//! 1. Files are read, dequantised and run by the `llm` crate, the code that runs in the kernel: what passes here
//!    loads there.
//! 2. Every fault ends the program with one sentence and an exit status other than 0.
//! 3. A figure is computed from the shape by a formula that is written beside it, never looked up.
//!
//! Honest limits: the llama family only; nothing is trained or quantised yet.

#![forbid(unsafe_code)]

mod arch;
mod cost;
mod dequantize;
mod report;
mod shape;
mod table;
mod tensor;
mod validate;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Model pipeline of AUTON: check, cost, validate and convert models.
#[derive(Parser)]
#[command(name = "auton", version)]
struct Arguments {
    #[command(subcommand)]
    step: Step,
}

#[derive(Subcommand)]
enum Step {
    /// Read a GGUF file as the kernel does: structure, every number of every tensor, tokenizer, a short generation.
    Validate {
        /// The model.
        file: PathBuf,
        /// What the short generation starts from.
        #[arg(long, default_value = "The capital of France is")]
        prompt: String,
        /// Tokens to generate.
        #[arg(long, default_value_t = 8)]
        max_tokens: usize,
    },
    /// Check an architecture, or say what it costs to run.
    #[command(subcommand)]
    Arch(ArchStep),
    /// Write the model with all its weights in F32.
    Dequantize {
        /// The model.
        file: PathBuf,
        /// The F32 file to write.
        out: PathBuf,
    },
}

#[derive(Subcommand)]
enum ArchStep {
    /// Say whether the dimensions fit together, and how many parameters they make.
    Check {
        /// A configuration (`slm/configs/*.toml`) or a GGUF file.
        file: PathBuf,
    },
    /// FLOPs per token and memory by quantisation, at several context sizes.
    Flops {
        /// A configuration (`slm/configs/*.toml`) or a GGUF file.
        file: PathBuf,
    },
}

fn main() -> ExitCode {
    let result = match Arguments::parse().step {
        Step::Validate { file, prompt, max_tokens } => validate::validate(&file, &prompt, max_tokens),
        Step::Arch(ArchStep::Check { file }) => arch::check(&file),
        Step::Arch(ArchStep::Flops { file }) => arch::flops(&file),
        Step::Dequantize { file, out } => dequantize::dequantize(&file, &out),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
