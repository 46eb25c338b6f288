//! `cargo xtask eval sched`: every trace under every policy.
//!
//! The evaluation is prequential: a policy that learns starts every run with nothing learned, and a burst's size reaches it only
//! when the burst has ended.

use super::traces::{self, Trace};
use super::{EvalOptions, mixed};
use anyhow::Result;
use sched::simulator::{Costs, Outcome, Srpt, Step, Summary, Workload, ideal_sharing, simulate_with};
use sched::{Eevdf, Fcfs, Mlfq, Nanos, Policy, RoundRobin};

/// A policy of the table, by name.
type Entrant = &'static str;
const ENTRANTS: [Entrant; 6] = ["rr", "eevdf", "t01.0", "transformer", "guarded", "srpt oracle"];

fn run(entrant: Entrant, workload: &Workload, options: &EvalOptions) -> Outcome {
    let decision = if entrant.starts_with("transformer") { options.decision_ns } else { 0 };
    let costs = Costs { switch: options.switch_ns, decision, ..Costs::default() };
    let make = |remaining: &_| -> Box<dyn Policy> {
        match entrant {
            "fcfs" => Box::new(Fcfs::new()),
            "rr" => Box::new(RoundRobin::new()),
            "mlfq" => Box::new(Mlfq::new()),
            "guarded" => Box::new(sched::guard::Guard::new(sched::transformer::Transformer::new().unwrap(), Box::new(sched::guard::Trusting), || 0).unwrap()),
            "transformer0" => { let mut t = sched::transformer::Transformer::new().unwrap(); t.set_learning(false); Box::new(t) },
            "transformer" => Box::new(sched::transformer::Transformer::new().unwrap()),
            "eevdf" => Box::new(Eevdf::new()),
            _ => Box::new(Srpt::new(remaining)),
        }
    };
    simulate_with(workload, make, costs)
}

/// Runs everything and prints it.
pub fn eval(options: &EvalOptions) -> Result<()> {
    let folder = options.folder();
    let mut found = Vec::new();
    if folder.is_dir() {
        found = traces::load(&folder)?;
    } else {
        println!("traces: skipped: no AUTON_DATA ({} is not there)\n", folder.display());
    }
    let wanted = |name: &str| options.only.as_ref().is_none_or(|part| name.contains(part.as_str()));
    for (name, trace) in found.iter().filter(|(name, _)| wanted(name)) {
        match trace {
            Trace::Open(open) => {
                for &load in &options.loads {
                    table(&format!("{name}, load {load}"), &open.at_load(load, options.mean_ms * 1_000_000), true, options);
                }
            }
            Trace::Closed(closed) => {
                for &load in &options.loads {
                    table(&format!("{name}, load {load}"), &stretched(closed, load), false, options);
                }
            }
            Trace::Fixed(workload) => table(&format!("rt-app {name}"), workload, false, options),
        }
    }
    for &load in &options.loads {
        if wanted("mixed commands") {
            table(&format!("mixed commands, load {load}"), &mixed::commands(load, 1), false, options);
        }
        if wanted("mixed unpredictable") {
            table(&format!("unpredictable, load {load}"), &mixed::unpredictable(load, 2), true, options);
        }
    }
    Ok(())
}

/// A closed workload whose sleeps are stretched until the CPU is busy for `load` of the time under first come, first served.
fn stretched(workload: &Workload, load: f64) -> Workload {
    let by = |factor: f64| {
        let mut workload = workload.clone();
        for program in &mut workload.programs {
            program.start = (program.start as f64 * factor) as Nanos;
            for step in &mut program.steps {
                if let Step::Sleep(time) = step {
                    *time = (*time as f64 * factor) as Nanos;
                }
            }
        }
        workload
    };
    let (mut low, mut high) = (-12.0_f64, 12.0_f64);
    for _ in 0..30 {
        let middle = f64::midpoint(low, high);
        let outcome = simulate_with(&by(middle.exp()), |_| Box::new(Fcfs::new()), Costs::default());
        if outcome.summary().utilisation > load { low = middle } else { high = middle }
    }
    by(high.exp())
}

fn table(title: &str, workload: &Workload, open: bool, options: &EvalOptions) {
    let outcomes: Vec<(Entrant, Outcome)> =
        ENTRANTS.iter().map(|&entrant| (entrant, run(entrant, workload, options))).collect();
    if std::env::var_os("SLOW").is_some() { for (e,o) in &outcomes { let mut b: Vec<_> = o.bursts.iter().collect(); b.sort_by_key(|b| core::cmp::Reverse(b.response())); for b in &b[..10] { eprintln!("{e} task {} release {:.3} size {:.3} resp {:.3}", b.task, b.release as f64/1e6, b.size as f64/1e6, b.response() as f64/1e6); } } }
    let summaries: Vec<(Entrant, Summary)> = outcomes.iter().map(|(e, o)| (*e, o.summary())).collect();
    let Some((_, base)) = summaries.iter().find(|(name, _)| *name == "eevdf").copied() else { return };
    println!("{title}: {} bursts", base.bursts);
    println!(
        "{:<14} {:>12} {:>8} {:>12} {:>8} {:>10} {:>9} {:>8} {:>6} {:>6}",
        "policy", "mean ms", "%", "p99 ms", "%", "slowdown", "switches", "%", "Jain", "busy"
    );
    let row = |name: &str, s: &Summary| {
        let change = |value: f64, base: f64| 100.0 * (value / base.max(f64::MIN_POSITIVE) - 1.0);
        println!(
            "{name:<14} {:>12.3} {:>+8.1} {:>12.3} {:>+8.1} {:>10.2} {:>9} {:>+8.1} {:>6.3} {:>6.3}",
            s.mean / 1e6,
            change(s.mean, base.mean),
            s.p99 / 1e6,
            change(s.p99, base.p99),
            s.slowdown,
            s.switches,
            change(s.switches as f64, base.switches as f64),
            s.fairness,
            s.utilisation
        );
    };
    for (name, summary) in &summaries {
        row(name, summary);
    }
    if open && let Some((_, outcome)) = outcomes.first() {
        row("(ideal PS)", &ideal_sharing(&outcome.bursts));
    }
    for (name, outcome) in &outcomes {
        if outcome.refused > 0 {
            println!("{name}: {} calls were refused", outcome.refused);
        }
    }
    println!();
}
