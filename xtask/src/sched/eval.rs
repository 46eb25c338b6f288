//! `cargo xtask eval sched`: every trace under every policy.
//!
//! The evaluation is prequential: a policy that learns starts every run with nothing learned, and a burst's size reaches it only
//! when the burst has ended.

use super::shared::Shared;
use super::traces::{self, Trace};
use super::{EvalOptions, mixed};
use anyhow::{Context, Result};
use sched::guard::{Guard, Rule, Trusting};
use sched::simulator::{
    Costs, Outcome, Srpt, Step, Summary, Workload, ideal_sharing, simulate, simulate_with,
};
use sched::transformer::Transformer;
use sched::{Eevdf, Fcfs, Mlfq, Nanos, Policy, RoundRobin};
use serde_json::json;

/// What a policy made of a workload.
struct Row {
    name: &'static str,
    summary: Summary,
}

/// What the guarded transformer said of itself at the end.
#[derive(Default)]
struct Learned {
    /// Share of the decisions that it made.
    share: f64,
    returns: u64,
    /// Mean |ln predicted − ln seen|, and of the persistence baseline.
    error: f32,
    persistence: f32,
}

/// A workload under all policies.
struct Table {
    title: String,
    rows: Vec<Row>,
    ideal: Option<Summary>,
    learned: Learned,
}

impl Table {
    fn of(&self, name: &str) -> Summary {
        self.rows.iter().find(|row| row.name == name).map(|row| row.summary).unwrap_or_default()
    }
}

/// Change from `base` to `value` in percent.
fn change(value: f64, base: f64) -> f64 {
    100.0 * (value / base.max(f64::MIN_POSITIVE) - 1.0)
}

fn per_burst(summary: &Summary) -> f64 {
    summary.switches as f64 / summary.bursts.max(1) as f64
}

fn transformer(learns: bool) -> Result<Transformer> {
    let mut transformer = Transformer::new().context("no memory for the transformer's history")?;
    transformer.set_learning(learns);
    Ok(transformer)
}

fn play(title: String, workload: &Workload, open: bool, options: &EvalOptions) -> Result<Table> {
    let costs = Costs { switch: options.switch_ns, ..Costs::default() };
    let dear = Costs { decision: options.decision_ns, ..costs };
    let mut outcomes: Vec<(&'static str, Outcome)> = vec![
        ("fcfs", simulate(workload, Box::new(Fcfs::new()), costs)),
        ("rr", simulate(workload, Box::new(RoundRobin::new()), costs)),
        ("mlfq", simulate(workload, Box::new(Mlfq::new()), costs)),
        ("eevdf", simulate(workload, Box::new(Eevdf::new()), costs)),
    ];
    let guard =
        Guard::new(transformer(true)?, Box::new(Trusting), || 0).context("no memory for the guard")?;
    let shared = Shared::new(guard);
    outcomes.push(("transformer", simulate(workload, Box::new(shared.clone()), dear)));
    let learned = {
        let guard = shared.lock();
        let (counts, learning) =
            (guard.counts(), guard.candidate().map(Transformer::learning).unwrap_or_default());
        Learned {
            share: counts.candidate as f64 / counts.decisions.max(1) as f64,
            returns: counts.returns,
            error: learning.error,
            persistence: learning.persistence_error,
        }
    };
    if options.ablation {
        outcomes.push(("  unguarded", simulate(workload, Box::new(transformer(true)?), dear)));
        outcomes.push(("  untrained", simulate(workload, Box::new(transformer(false)?), dear)));
        let mut shadow =
            Guard::new(transformer(true)?, Box::new(Trusting), || 0).context("no memory for the guard")?;
        shadow.set_rule(Rule::Shadow);
        outcomes.push(("  shadow", simulate(workload, Box::new(shadow), dear)));
    }
    let oracle = |remaining: &_| -> Box<dyn Policy> { Box::new(Srpt::new(remaining)) };
    outcomes.push(("srpt oracle", simulate_with(workload, oracle, costs)));
    for (name, outcome) in &outcomes {
        anyhow::ensure!(outcome.refused == 0, "{title}: {name} refused {} calls", outcome.refused);
    }
    let ideal = open.then(|| ideal_sharing(&outcomes[0].1.bursts));
    let rows = outcomes.iter().map(|(name, outcome)| Row { name, summary: outcome.summary() }).collect();
    Ok(Table { title, rows, ideal, learned })
}

/// Runs everything and prints it.
pub(super) fn eval(options: &EvalOptions) -> Result<()> {
    let folder = options.folder();
    let mut found = Vec::new();
    if folder.is_dir() {
        found = traces::load(&folder)?;
    } else {
        eprintln!("traces: skipped: no AUTON_DATA ({} is not there)", folder.display());
    }
    if !options.json {
        println!(
            "switch {} ns, decision of the transformer {} ns, open traces scaled to a mean size of {} ms; every run starts untrained",
            options.switch_ns, options.decision_ns, options.mean_ms
        );
        println!(
            "% is the change from EEVDF; switches are counted per burst; Jain is over the bursts' rates\n"
        );
    }
    let mut tables = Vec::new();
    let mut add = |title: String, workload: &Workload, open: bool| -> Result<()> {
        if options.only.as_ref().is_none_or(|part| title.contains(part.as_str())) {
            let table = play(title, workload, open, options)?;
            if !options.json {
                print(&table);
            }
            tables.push(table);
        }
        Ok(())
    };
    let mut background = None;
    for (name, trace) in &found {
        match trace {
            Trace::Open(open) => {
                for &load in &options.loads {
                    let workload = open.at_load(load, options.mean_ms * 1_000_000);
                    add(format!("{name}, load {load}"), &workload, true)?;
                }
            }
            Trace::Closed(closed) => {
                for &load in &options.loads {
                    add(format!("{name}, load {load}"), &stretched(closed, load), false)?;
                }
            }
            Trace::Fixed(workload) => {
                background = background.or(Some((name, workload)));
                add(format!("rt-app {name}"), workload, false)?;
            }
        }
    }
    for &load in &options.loads {
        add(format!("mixed commands, load {load}"), &mixed::commands(load, options.seed), false)?;
    }
    // The threads of a description together with the jobs of a trace.
    for (name, trace) in &found {
        if let (Trace::Open(open), Some((threads, workload))) = (trace, background) {
            for &load in &options.loads {
                let title = format!("mixed {threads} + {name}, load {load}");
                add(title, &mixed::together(workload, open, load), false)?;
            }
        }
    }
    for &load in &options.loads {
        add(format!("unpredictable, load {load}"), &mixed::unpredictable(load, options.seed), true)?;
    }
    if options.json {
        println!("{}", serde_json::to_string_pretty(&tables.iter().map(as_json).collect::<Vec<_>>())?);
    } else {
        verdicts(&tables);
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
        let outcome = simulate(&by(middle.exp()), Box::new(Fcfs::new()), Costs::default());
        if outcome.summary().utilisation > load { low = middle } else { high = middle }
    }
    by(high.exp())
}

fn print(table: &Table) {
    let base = table.of("eevdf");
    println!("{}: {} bursts", table.title, base.bursts);
    println!(
        "{:<14} {:>12} {:>8} {:>12} {:>8} {:>10} {:>9} {:>8} {:>6} {:>6}",
        "policy", "mean ms", "%", "p99 ms", "%", "slowdown", "switches", "%", "Jain", "busy"
    );
    let row = |name: &str, s: &Summary| {
        println!(
            "{name:<14} {:>12.3} {:>+8.1} {:>12.3} {:>+8.1} {:>10.2} {:>9.3} {:>+8.1} {:>6.3} {:>6.3}",
            s.mean / 1e6,
            change(s.mean, base.mean),
            s.p99 / 1e6,
            change(s.p99, base.p99),
            s.slowdown,
            per_burst(s),
            change(per_burst(s), per_burst(&base)),
            s.fairness,
            s.utilisation
        );
    };
    table.rows.iter().for_each(|line| row(line.name, &line.summary));
    if let Some(s) = &table.ideal {
        println!(
            "{:<14} {:>12.3} {:>+8.1} {:>12.3} {:>+8.1} {:>10.2} {:>9} {:>8} {:>6.3}",
            "ideal sharing",
            s.mean / 1e6,
            change(s.mean, base.mean),
            s.p99 / 1e6,
            change(s.p99, base.p99),
            s.slowdown,
            "",
            "",
            s.fairness
        );
    }
    let Learned { share, returns, error, persistence } = &table.learned;
    println!(
        "transformer: {:.0} % of the decisions, {returns} returns to eevdf; |ln error| {error:.2}, of persistence {persistence:.2}\n",
        100.0 * share
    );
}

/// Of the way from EEVDF to the oracle, how much was gone; `None` where there is hardly any.
fn way(table: &Table) -> Option<f64> {
    let (base, oracle) = (table.of("eevdf").mean, table.of("srpt oracle").mean);
    (oracle < 0.98 * base).then(|| (base - table.of("transformer").mean) / (base - oracle))
}

fn verdicts(tables: &[Table]) {
    println!("the transformer in short:");
    println!(
        "{:<52} {:>9} {:>9} {:>11} {:>9} {:>11}",
        "", "to eevdf", "to rr", "of the way", "p99", "switches"
    );
    for table in tables {
        let (learned, base) = (table.of("transformer"), table.of("eevdf"));
        let way = way(table).map_or_else(|| "no room".to_owned(), |way| format!("{:.0} %", 100.0 * way));
        println!(
            "{:<52} {:>+7.1} % {:>+7.1} % {way:>11} {:>+7.1} % {:>+9.1} %",
            table.title,
            change(learned.mean, base.mean),
            change(learned.mean, table.of("rr").mean),
            change(learned.p99, base.p99),
            change(per_burst(&learned), per_burst(&base))
        );
    }
}

fn as_json(table: &Table) -> serde_json::Value {
    let summary = |s: &Summary| {
        json!({
            "bursts": s.bursts, "mean_ms": s.mean / 1e6, "p99_ms": s.p99 / 1e6, "slowdown": s.slowdown,
            "switches": s.switches, "switches_per_burst": per_burst(s), "jain": s.fairness, "utilisation": s.utilisation,
        })
    };
    let policies: serde_json::Map<String, serde_json::Value> =
        table.rows.iter().map(|row| (row.name.trim().to_owned(), summary(&row.summary))).collect();
    json!({
        "workload": table.title,
        "policies": policies,
        "ideal_sharing": table.ideal.as_ref().map(summary),
        "transformer": {
            "share_of_decisions": table.learned.share, "returns": table.learned.returns, "of_the_way": way(table),
            "prediction_error": table.learned.error, "persistence_error": table.learned.persistence,
        },
    })
}
