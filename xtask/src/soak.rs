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
            guest.command("slm unload", ANSWER)?;
            guest.command("slm load", ANSWER)?;
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
    if !exit.powered_off() || counts.different > 0 || errors > 0 || !churn.contains("passed") {
        bail!("the soak found faults; see above");
    }
    Ok(())
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
