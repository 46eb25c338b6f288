//! `auton`: the command line of the model pipeline.

#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use slm::{
    arch, corpus, data, dequantize, eval, export, integrate, quantize, tokenizer, train, validate, workflow,
};

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
    /// Fetch a corpus, or make training data of it.
    #[command(subcommand)]
    Data(DataStep),
    /// Make a vocabulary.
    #[command(subcommand)]
    Tokenizer(TokenizerStep),
    /// Fit a model's weights to the data; goes on where it was stopped.
    Train(train::Args),
    /// Write the model with all its weights in F32.
    Dequantize {
        /// The model.
        file: PathBuf,
        /// The F32 file to write.
        out: PathBuf,
    },
    /// Measure models on what was held out, beside 3-grams: perplexity, devices, commands, samples; a report of it.
    Eval(eval::EvalArgs),
    /// Write the trained model of a run in the forms that others read.
    #[command(subcommand)]
    Export(ExportStep),
    /// Give each weight of a run's model fewer bits, and measure what that costs.
    Quantize(quantize::Args),
    /// Put a model into the kernel: build, boot, ask, and roll back if it does not hold.
    Integrate(integrate::Args),
    /// Do all steps of a goal, as a task graph that survives being cut off.
    Run(workflow::Args),
    /// A task of a workflow that is no step of its own.
    #[command(subcommand, name = "step", hide = true)]
    Inner(workflow::step::StepArgs),
}

#[derive(Subcommand)]
enum ExportStep {
    /// As GGUF, for the kernel and llama.cpp.
    Gguf(export::GgufArgs),
    /// As ONNX, for onnxruntime and its like.
    Onnx(export::onnx::Args),
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

#[derive(Subcommand)]
enum DataStep {
    /// Fetch pinned packages of Debian and turn them into documents; generate those about devices and commands.
    Fetch(corpus::FetchArgs),
    /// Clean, split, shuffle and tokenise the documents.
    Build(data::BuildArgs),
    /// Sizes, words, tokens, coverage and duplicates by source.
    Analyze(data::AnalyzeArgs),
}

#[derive(Subcommand)]
enum TokenizerStep {
    /// Train a tokenizer on the training split and check it.
    Train(tokenizer::TrainArgs),
}

fn main() -> ExitCode {
    let step = Arguments::parse().step;
    // `auton … | head` ends where head does, as with other programs, instead of in a panic. Not those that write to
    // programs of their own, whose end they live to see.
    if !matches!(step, Step::Integrate(_) | Step::Run(_) | Step::Inner(_)) {
        sigpipe::reset();
    }
    let result = match step {
        Step::Validate { file, prompt, max_tokens } => validate::validate(&file, &prompt, max_tokens),
        Step::Arch(ArchStep::Check { file }) => arch::check(&file),
        Step::Arch(ArchStep::Flops { file }) => arch::flops(&file),
        Step::Data(DataStep::Fetch(args)) => corpus::fetch(&args),
        Step::Data(DataStep::Build(args)) => data::build(&args),
        Step::Data(DataStep::Analyze(args)) => data::analyze(&args),
        Step::Tokenizer(TokenizerStep::Train(args)) => tokenizer::train(&args),
        Step::Train(args) => train::train(&args),
        Step::Dequantize { file, out } => dequantize::dequantize(&file, &out),
        Step::Eval(args) => eval::eval(&args),
        Step::Export(ExportStep::Gguf(args)) => export::gguf(&args),
        Step::Export(ExportStep::Onnx(args)) => export::onnx::onnx(&args),
        Step::Quantize(args) => quantize::quantize(&args),
        Step::Integrate(args) => integrate::integrate(&args),
        Step::Run(args) => workflow::run(&args),
        Step::Inner(args) => workflow::step::step(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
