//! `cargo xtask ci`: what `.ci/run` runs, on one's own machine. Stops at the first failure; prints what each step
//! took.

use crate::kernel_image::FEATURES;
use crate::workspace::{Workspace, run};
use anyhow::{Context, Result};
use std::time::{Duration, Instant};

/// One cargo call with the name under which it is reported.
struct Step {
    name: String,
    arguments: Vec<String>,
    rustdoc_flags: Option<&'static str>,
}

/// Runs every step.
pub fn ci() -> Result<()> {
    let workspace = Workspace::find();
    let mut timings: Vec<(String, Duration)> = Vec::new();
    let start = Instant::now();
    for step in steps() {
        eprintln!("\n== {}: cargo {}", step.name, step.arguments.join(" "));
        let began = Instant::now();
        let mut cargo = workspace.cargo(&step.arguments.iter().map(String::as_str).collect::<Vec<_>>());
        if let Some(flags) = step.rustdoc_flags {
            cargo.env("RUSTDOCFLAGS", flags);
        }
        let result = run(&mut cargo).with_context(|| format!("ci: {} failed", step.name));
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
    let step = |name: &str, arguments: &str| Step {
        name: name.to_owned(),
        arguments: arguments.split_whitespace().map(str::to_owned).collect(),
        rustdoc_flags: None,
    };
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
        let mut docs = step(name, &format!("doc {what} --no-deps --document-private-items"));
        docs.rustdoc_flags = Some("-D warnings -A rustdoc::private_intra_doc_links");
        steps.push(docs);
    }
    // The README's own command: unit, property and golden tests, doctests, and the end-to-end tests in QEMU.
    steps.push(step("tests, host and QEMU", "test --workspace"));
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_is_never_checked_together_with_std_programs() {
        for step in steps() {
            let arguments = step.arguments.join(" ");
            if arguments.contains("--workspace") && !arguments.starts_with("test") {
                assert!(arguments.contains("--exclude kernel"), "{arguments}");
            }
        }
    }

    #[test]
    fn the_readmes_test_command_is_in_it() {
        assert!(steps().iter().any(|step| step.arguments == ["test", "--workspace"]));
        let readme = std::fs::read_to_string(Workspace::find().root.join("README.md")).unwrap();
        assert!(readme.contains("cargo test --workspace"));
    }
}
