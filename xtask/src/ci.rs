//! `cargo xtask ci`: what `.ci/run` runs, on one's own machine. Stops at the first failure; prints what each step
//! took.

use crate::bench::llama_cpp;
use crate::kernel_image::{self, FEATURES, Variant};
use crate::size;
use crate::tutorial;
use crate::workspace::{Workspace, run};
use anyhow::{Context, Result};
use std::time::{Duration, Instant};

/// A check with the name under which it is reported.
struct Step {
    name: String,
    work: Work,
}

/// What a step does.
enum Work {
    /// Calls cargo.
    Cargo { arguments: Vec<String>, rustdoc_flags: Option<&'static str> },
    /// Builds and links the kernel with exactly these features, without a model.
    Link(Vec<&'static str>),
    /// Downloads llama.cpp's vocabularies; without a network the tests that read them say that they are skipped.
    Vocabularies,
    /// Follows the tutorial: the model pipeline's smoke run, by itself and beside the kernel's.
    Tutorial,
}

impl Work {
    fn run(&self, workspace: &Workspace) -> Result<()> {
        match self {
            Self::Cargo { arguments, rustdoc_flags } => {
                let mut cargo = workspace.cargo(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
                if let Some(flags) = rustdoc_flags {
                    cargo.env("RUSTDOCFLAGS", flags);
                }
                run(&mut cargo)
            }
            Self::Tutorial => tutorial::follow(),
            Self::Link(features) => kernel_image::build(&Variant::with_features(features)).map(drop),
            Self::Vocabularies => {
                if let Err(error) = llama_cpp::vocabularies() {
                    println!("skipped: the tokenizer's comparison with llama.cpp's vocabularies: {error:#}");
                }
                Ok(())
            }
        }
    }
}

/// Runs every step.
pub fn ci() -> Result<()> {
    let workspace = Workspace::find();
    let mut timings: Vec<(String, Duration)> = Vec::new();
    let start = Instant::now();
    for step in steps() {
        match &step.work {
            Work::Cargo { arguments, .. } => eprintln!("\n== {}: cargo {}", step.name, arguments.join(" ")),
            Work::Link(_) | Work::Vocabularies | Work::Tutorial => eprintln!("\n== {}", step.name),
        }
        let began = Instant::now();
        let result = step.work.run(&workspace).with_context(|| format!("ci: {} failed", step.name));
        timings.push((step.name, began.elapsed()));
        if let Err(error) = result {
            print_timings(&timings, start.elapsed());
            return Err(error);
        }
    }
    print_timings(&timings, start.elapsed());
    Ok(())
}

fn print_timings(timings: &[(String, Duration)], total: Duration) {
    println!();
    for (name, took) in timings {
        println!("{name:<34} {:>8.1} s", took.as_secs_f64());
    }
    println!("{:<34} {:>8.1} s", "total", total.as_secs_f64());
}

/// The steps in their order: what fails soonest comes first.
///
/// The kernel is never in one call with a program that uses std: their features would unify.
fn steps() -> Vec<Step> {
    let cargo = |name: &str, arguments: &str, rustdoc_flags| Step {
        name: name.to_owned(),
        work: Work::Cargo {
            arguments: arguments.split_whitespace().map(str::to_owned).collect(),
            rustdoc_flags,
        },
    };
    let step = |name: &str, arguments: &str| cargo(name, arguments, None);
    let mut steps = vec![
        step("format", "fmt --all --check"),
        step(
            "clippy, libraries and programs",
            "clippy --workspace --exclude kernel --all-targets -- -D warnings",
        ),
    ];
    let alone = FEATURES.map(|feature| vec![feature]);
    let combinations = [vec![]].into_iter().chain(alone).chain([FEATURES.to_vec()]);
    for features in combinations {
        let list = features.join(",");
        let name = format!("clippy, kernel [{list}]");
        let arguments =
            format!("clippy -p kernel --release --no-default-features --features={list} -- -D warnings");
        steps.push(step(&name, &arguments));
    }
    for (name, what) in [("docs", "--workspace --exclude kernel"), ("docs, kernel", "-p kernel --release")] {
        let arguments = format!("doc {what} --no-deps --document-private-items");
        steps.push(cargo(name, &arguments, Some("-D warnings -A rustdoc::private_intra_doc_links")));
    }
    for features in size::feature_combinations() {
        let name = format!("kernel [{}]", features.join(","));
        steps.push(Step { name, work: Work::Link(features) });
    }
    steps.push(Step { name: "vocabularies of llama.cpp".to_owned(), work: Work::Vocabularies });
    // The README's own command: unit, property and golden tests, doctests, and the end-to-end tests in QEMU.
    steps.push(step("tests, host and QEMU", "test --workspace"));
    steps.push(Step { name: "tutorial, smoke runs of the pipeline".to_owned(), work: Work::Tutorial });
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cargo_calls() -> Vec<String> {
        let arguments = steps().into_iter().filter_map(|step| match step.work {
            Work::Cargo { arguments, .. } => Some(arguments.join(" ")),
            Work::Link(_) | Work::Vocabularies | Work::Tutorial => None,
        });
        arguments.collect()
    }

    #[test]
    fn the_kernel_is_never_checked_together_with_std_programs() {
        for arguments in cargo_calls() {
            if arguments.contains("--workspace") && !arguments.starts_with("test") {
                assert!(arguments.contains("--exclude kernel"), "{arguments}");
            }
        }
    }

    #[test]
    fn every_combination_of_features_is_linked() {
        let linked = steps().into_iter().filter(|step| matches!(step.work, Work::Link(_))).count();
        assert_eq!(linked, 1 << FEATURES.len());
    }

    #[test]
    fn the_readmes_test_command_is_in_it() {
        assert!(cargo_calls().iter().any(|arguments| arguments == "test --workspace"));
        let readme = std::fs::read_to_string(Workspace::find().root.join("README.md")).unwrap();
        assert!(readme.contains("cargo test --workspace"));
    }
}
