//! `cargo xtask soak`: one long boot in which the model answers while threads come and go.
//!
//! The churn runs in the guest's background (`selftest background-churn`); meanwhile queries are typed one after the
//! other. The same question must get the same answer every time; memory in use must not grow.

use crate::guest::Guest;
use crate::kernel_image::{self, Variant};
use crate::machine_report;
use crate::qemu::Machine;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::collections::HashMap;
use std::time::{Duration, Instant};

const QUERIES: [&str; 4] = [
    "slm query \"PCI device 8086:10d3 is\" --max-tokens 24 --json",
    "slm query \"What is virtual memory?\" --backend neural --max-tokens 24 --json",
    "slm query \"how do I see free memory?\" --backend rules --json",
    "slm query \"The capital of France is\" --backend neural --max-tokens 16 --temp 0.8 --seed 7 --json",
];
/// Memory in use may be this much more at the end than after the first round.
const MOST_GROWTH: i64 = 1 << 20;
const ANSWER: Duration = Duration::from_secs(300);

/// What a soak counted.
#[derive(Debug, Default, Clone, Copy)]
struct Counts {
    queries: u64,
    tokens: u64,
    reloads: u64,
    different: u64,
}

/// Runs for `minutes` and prints what it counted; an error if anything went wrong.
pub fn soak(minutes: u64) -> Result<()> {
    let kernel = kernel_image::build(&Variant::with_default_model())?;
    let machine = Machine::boot_kernel(&kernel);
    println!(
        "machine  {}; {}; {} CPUs, {}",
        machine_report::host(),
        machine_report::virtual_machine(),
        machine.cpus,
        machine.memory
    );
    let mut guest = Guest::start(&machine)?;
    guest.wait_for_prompt(Duration::from_secs(180))?;
    let started = guest.command("selftest background-churn", Duration::from_secs(60))?;
    if !started.contains("passed") {
        bail!("the churn did not start: {started}");
    }

    let mut counts = Counts::default();
    let mut answers: HashMap<&str, Value> = HashMap::new();
    // Caches and stacks have their size after one round of everything.
    ask_all(&mut guest, &mut answers, &mut counts)?;
    let before = memory(&mut guest)?;
    let (start, end) = (Instant::now(), Duration::from_secs(minutes * 60));
    while start.elapsed() < end {
        ask_all(&mut guest, &mut answers, &mut counts)?;
        if counts.queries % 64 == 0 {
            for command in ["slm unload", "slm load"] {
                let output = guest.command(command, ANSWER)?;
                if output.contains("error: ") {
                    bail!("`{command}` failed: {output}");
                }
            }
            counts.reloads += 1;
        }
        eprint!("\r{:>5} s  {} queries", start.elapsed().as_secs(), counts.queries);
    }
    eprintln!();
    let took = start.elapsed();
    let after = memory(&mut guest)?;
    let churn = guest.command("selftest background-churn", Duration::from_secs(60))?;
    let churn = churn.lines().last().unwrap_or("no report").trim();
    let log = guest.command("dmesg --level warn", Duration::from_secs(60))?;
    let errors = log.lines().filter(|line| line.contains("] error ")).count();
    guest.type_line("poweroff")?;
    let exit = guest.wait_for_exit(Duration::from_secs(60))?;

    println!("time     {:.1} min, ended: {exit}", took.as_secs_f64() / 60.0);
    println!("queries  {}, {} tokens, {} unloads and loads", counts.queries, counts.tokens, counts.reloads);
    println!("answers  {} differed from the first to the same question", counts.different);
    println!("threads  {churn}");
    println!(
        "memory   {} KiB in use before, {} KiB after ({:+} KiB)",
        before >> 10,
        after >> 10,
        (after - before) >> 10
    );
    println!("errors   {errors}");
    let mut faults = faults(counts.different, errors, after - before, churn);
    if !exit.powered_off() {
        faults.push(format!("the end was not a power-off: {exit}"));
    }
    if !faults.is_empty() {
        bail!("the soak found faults: {}", faults.join("; "));
    }
    Ok(())
}

/// What is wrong with a soak's figures. `growth` is in bytes, `churn` the churn's own report.
fn faults(different: u64, errors: usize, growth: i64, churn: &str) -> Vec<String> {
    let mut faults = Vec::new();
    if different > 0 {
        faults.push(format!("{different} answers differed"));
    }
    if errors > 0 {
        faults.push(format!("the kernel logged {errors} errors"));
    }
    if growth > MOST_GROWTH {
        faults.push(format!(
            "memory in use grew by {} KiB, more than {} KiB",
            growth >> 10,
            MOST_GROWTH >> 10
        ));
    }
    if !churn.contains("passed") || churn.contains(" 0 threads in 0 rounds") {
        faults.push(format!("the churn did not pass: {churn}"));
    }
    faults
}

fn ask_all(guest: &mut Guest, answers: &mut HashMap<&'static str, Value>, counts: &mut Counts) -> Result<()> {
    for query in QUERIES {
        let reply = guest.json(query, ANSWER)?;
        counts.queries += 1;
        counts.tokens +=
            reply["model_tokens"].as_u64().unwrap_or(0) + reply["record_tokens"].as_u64().unwrap_or(0);
        let first = answers.entry(query).or_insert_with(|| reply["answer"].clone());
        if *first != reply["answer"] {
            counts.different += 1;
            eprintln!("\n{query}\n  first: {first}\n  now:   {}", reply["answer"]);
        }
    }
    Ok(())
}

/// Bytes in use: the least of several looks, for the churn's stacks come and go.
fn memory(guest: &mut Guest) -> Result<i64> {
    let mut least = i64::MAX;
    for _ in 0..20 {
        let free = guest.json("free --json", Duration::from_secs(60))?;
        least = least.min(free["memory"]["used"].as_i64().context("`free --json` tells no memory in use")?);
    }
    Ok(least)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_is_named() {
        assert!(faults(0, 0, MOST_GROWTH, "background-churn: passed").is_empty());
        assert!(faults(0, 0, -MOST_GROWTH, "background-churn: passed").is_empty());
        for (faults, clue) in [
            (faults(1, 0, 0, "passed"), "answers differed"),
            (faults(0, 2, 0, "passed"), "logged 2 errors"),
            (faults(0, 0, MOST_GROWTH + 1, "passed"), "memory in use grew by 1024 KiB"),
            (faults(0, 0, 0, "background-churn: failed"), "churn did not pass"),
            (faults(0, 0, 0, "passed in 2 ms: 0 threads in 0 rounds"), "churn did not pass"),
        ] {
            assert!(faults.len() == 1 && faults[0].contains(clue), "{faults:?}");
        }
    }
}
