//! A budgeted stream beside threads that want all of every CPU: it gets its tokens in every period.

use super::Outcome;
use super::reservation::Hostile;
use crate::arch::{percpu, time};
use crate::services::system::Machine;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;
use llm::service::{CONSOLE, Fetched, Form, Job, Operation, Outcome as Answer};
use shell::{BudgetChange, Inference};

/// Tokens promised in a period.
const TOKENS: u32 = 3;
/// Periods that are streamed for.
const PERIODS: u32 = 5;
/// The period is so many times as long as its tokens take: half of each CPU is reserved.
const SLACK: u64 = 2;
/// To measure the worst case with.
const LONG_NANOS: u64 = 10_000_000_000;

/// Sets a budget of half of each CPU; streams without and with it beside spinning threads; asks for more than there is.
pub fn inference_budget() -> Outcome {
    let machine = Machine;
    let result = run(&machine);
    machine.clear_budget();
    // What is measured counts again.
    machine.inference_load(None, Some(0)).map_err(|error| error.to_string())?;
    result
}

fn run(machine: &Machine) -> Outcome {
    let set = |change| machine.set_budget(change);
    let first = BudgetChange { wcet_cycles: None, period_ns: Some(LONG_NANOS), tokens: Some(1) };
    let measured = set(first).map_err(|error| error.to_string())?;
    let promised = BudgetChange {
        wcet_cycles: Some(measured.budget.wcet_cycles),
        period_ns: Some(measured.reserved_ns * u64::from(TOKENS) * SLACK),
        tokens: Some(TOKENS),
    };
    let budget = set(promised).map_err(|error| error.to_string())?;
    let refusal = match set(BudgetChange { tokens: Some(TOKENS * SLACK as u32), ..promised }) {
        Err(error) => error.to_string(),
        Ok(_) => return Err(String::from("the whole of each CPU was reserved")),
    };
    machine.clear_budget();

    let cpus = percpu::count();
    let hogs: Result<Vec<Hostile>, String> =
        (0..cpus).map(|cpu| Hostile::start(cpu, Some("spinners"))).collect();
    let hogs = hogs?;
    let alone = stream(machine, TOKENS)?;
    set(promised).map_err(|error| error.to_string())?;
    let answer = stream(machine, TOKENS * PERIODS)?;
    let pace = machine.inference_status().pace.ok_or("the budget is gone")?;
    drop(hogs);

    let period = budget.budget.period_ns;
    let line = alloc::format!(
        "{TOKENS} tokens in every {} ms promised beside threads that spin on {cpus} CPUs: {} periods kept, {} short, jitter p99 {} us; \
         without a budget {TOKENS} tokens took {} ms; refused: {refusal}",
        period / 1_000_000,
        pace.periods - pace.misses,
        pace.misses,
        pace.jitter_p99_ns.unwrap_or(0) / 1000,
        alone.counts.decode_ns / 1_000_000,
    );
    let kept = pace.misses == 0 && answer.period_misses == 0 && pace.periods + 2 >= PERIODS.into();
    // What the budget is for: without it the same tokens are late.
    let needed = alone.counts.decode_ns > period;
    if kept && needed && refusal.contains("above the limit") { Ok(line) } else { Err(line) }
}

/// A stream of so many tokens, read as they come.
fn stream(machine: &Machine, tokens: u32) -> Result<Answer, String> {
    let job = Job::new(CONSOLE, Operation::Stream, "The kernel is".into(), tokens as usize);
    let job = Job { form: Form::Raw, ..job.map_err(|error| error.to_string())? };
    let id = machine.submit(job).map_err(|error| error.to_string())?;
    let began = time::uptime_nanos();
    let mut text = Vec::new();
    while time::uptime_nanos() - began < 60 * LONG_NANOS {
        text.clear();
        match machine.fetch(id, Duration::from_secs(1), &mut text) {
            Ok(Fetched::End(outcome)) => return Ok(outcome),
            Ok(_) => {}
            Err(error) => return Err(error.to_string()),
        }
    }
    Err(String::from("the stream did not end within ten minutes"))
}
