//! `schedctl bench`: workloads of real threads under each policy.
//!
//! JSON: `{"cpus","load_percent","seed","seconds","elapsed_s","interrupted","workloads":[{"workload","summary","policies":[{"policy","runs",
//! "bursts","mean_ms","p99_ms","slowdown","switches_per_burst","jain","utilisation","speed","completion_ms","makespan_ms","acted"}]}]}`; `null` where
//! there is nothing to say. Nothing is printed before the end.

use crate::args::{UsageError, brief};
use crate::bar::bar;
use crate::commands::{CommandError, Context, Next};
use crate::json;
use crate::scheduler::{
    BenchError, BenchOutcome, BenchProgress, BenchRequest, BenchRow, BenchTable, FairPolicy,
};
use crate::system::Flow;
use crate::table::{Align, Table};
use crate::units;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

/// The workloads, for help and completion; the kernel has the same.
pub(super) const WORKLOADS: &[&str] = &["mixed", "schbench", "hackbench", "bursts"];

/// Asked for unless told, in percent: with what an emulated kernel itself takes, the CPUs are then busy for 0.7 to 0.9 of the time.
const LOAD: u32 = 60;

impl From<BenchError> for CommandError {
    fn from(error: BenchError) -> Self {
        CommandError::Failed(error.to_string())
    }
}

pub(super) fn run(context: &mut Context<'_>) -> Result<Next, CommandError> {
    let request = request(context)?;
    let (system, console, json) = (context.system, &mut *context.console, context.args.flag("json"));
    let mut shown = String::new();
    let mut watch = |progress: &BenchProgress| {
        let line = progress_line(progress);
        // A serial line is slow: once a second is enough.
        if !json && line != shown {
            let _ = console.write_str(&line);
            shown = line;
        }
        let stop = console.interrupted();
        if stop {
            console.clear_interrupt();
        }
        if stop { Flow::Stop } else { Flow::Continue }
    };
    let outcome = system.scheduler_bench(&request, &mut watch);
    if !json {
        let _ = console.write_str("\r\x1b[K");
    }
    let outcome = outcome?;
    let text = if json { as_json(&outcome, &request) } else { as_text(&outcome, &request) };
    context.print(&text)
}

fn request(context: &Context<'_>) -> Result<BenchRequest, CommandError> {
    let args = &context.args;
    let seconds: u64 = args.number("seconds", 1..=3_600, "a number of seconds from 1 to 3600")?.unwrap_or(20);
    let seed: u64 = args.number("seed", .., "a whole number from 0 on")?.unwrap_or(1);
    let load: u32 = args.number("load", 10..=95, "a number of percent from 10 to 95")?.unwrap_or(LOAD);
    let policies = args.value("policies").map_or_else(|| Ok(FairPolicy::ALL.to_vec()), policies)?;
    Ok(BenchRequest {
        policies,
        workloads: args.operands.clone(),
        duration: Duration::from_secs(seconds),
        seed,
        load,
    })
}

/// Names with commas between them, each once.
fn policies(list: &str) -> Result<Vec<FairPolicy>, UsageError> {
    let mut policies = Vec::new();
    for name in list.split(',') {
        let policy = FairPolicy::from_name(name).ok_or_else(|| {
            let known = FairPolicy::ALL.map(FairPolicy::name).join(",");
            UsageError(format!("`--policies` takes some of {known}, not `{}`", brief(name)))
        })?;
        if policies.contains(&policy) {
            return Err(UsageError(format!("`--policies` has {policy} twice; once is enough")));
        }
        policies.push(policy);
    }
    Ok(policies)
}

fn progress_line(progress: &BenchProgress) -> String {
    let share = f64::from(progress.done) / f64::from(progress.runs.max(1));
    format!(
        "\r\x1b[K{} {}/{}  {} under {}  {}",
        bar(share, 20),
        progress.done,
        progress.runs,
        progress.workload,
        progress.policy,
        units::clock(progress.elapsed)
    )
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Change from `base` to `value`.
fn change(value: f64, base: Option<f64>) -> String {
    match base.filter(|base| *base > 0.0) {
        Some(base) => format!("{:+.1} %", 100.0 * (value / base - 1.0)),
        None => String::from("-"),
    }
}

fn as_text(outcome: &BenchOutcome, request: &BenchRequest) -> String {
    let cpus = if outcome.cpus == 1 { "1 CPU".into() } else { format!("{} CPUs", outcome.cpus) };
    let took = units::clock(outcome.elapsed);
    let mut text = format!("{cpus}, load {} %, seed {}, took {took}\n", request.load, request.seed);
    for table in &outcome.tables {
        text += &format!("\n{}: {}\n{}", table.workload, table.summary, table_as_text(table));
    }
    if outcome.interrupted {
        text += "\nEnded early: rows hold what was complete by then.\n";
    }
    text
}

fn table_as_text(table: &BenchTable) -> String {
    let columns = [
        ("POLICY", Align::Left),
        ("MEAN [ms]", Align::Right),
        ("TO EEVDF", Align::Right),
        ("p99 [ms]", Align::Right),
        ("TO EEVDF", Align::Right),
        ("SLOWDOWN", Align::Right),
        ("SWITCHES", Align::Right),
        ("JAIN", Align::Right),
        ("BUSY", Align::Right),
        ("SPEED", Align::Right),
        ("DONE IN [ms]", Align::Right),
        ("TO RR", Align::Right),
    ];
    let mut rows = Table::new(&columns);
    let of = |policy: FairPolicy| table.rows.iter().find(move |row| row.policy == policy);
    let to_eevdf =
        |value: f64, of_row: fn(&BenchRow) -> f64| change(value, of(FairPolicy::Eevdf).map(of_row));
    let rr = of(FairPolicy::RoundRobin).and_then(|row| row.completion).map(ms);
    for row in &table.rows {
        let completion = row.completion.map(ms);
        rows.row([
            row.policy.name().into(),
            format!("{:.2}", ms(row.mean)),
            to_eevdf(ms(row.mean), |row| ms(row.mean)),
            format!("{:.2}", ms(row.p99)),
            to_eevdf(ms(row.p99), |row| ms(row.p99)),
            format!("{:.2}", row.slowdown),
            format!("{:.2}", row.switches_per_burst),
            format!("{:.3}", row.jain),
            format!("{:.0} %", 100.0 * row.busy),
            format!("{:.2}", row.speed),
            completion.map_or_else(|| String::from("-"), |time| format!("{time:.1}")),
            completion.map_or_else(|| String::from("-"), |time| change(time, rr)),
        ]);
    }
    let mut text = format!("{rows}");
    let counts: Vec<String> = table.rows.iter().map(|row| format!("{} {}", row.policy, row.bursts)).collect();
    let runs = table.rows.iter().map(|row| row.runs).min().unwrap_or(0);
    text += &format!(
        "Bursts: {}; {runs} runs of each. Switches are those for each burst; speed is that of the bursts'\n\
         loop: below 1 the host took the CPUs away. Done in: mean time from a job's release to its end.\n",
        counts.join(", ")
    );
    for (policy, acted) in table.rows.iter().filter_map(|row| Some((row.policy, row.acted?))) {
        text += &format!("{policy}: made {:.0} % of the decisions itself.\n", 100.0 * acted);
    }
    text
}

fn as_json(outcome: &BenchOutcome, request: &BenchRequest) -> String {
    json::document(|o| {
        o.number("cpus", outcome.cpus).number("load_percent", request.load).number("seed", request.seed);
        o.number("seconds", request.duration.as_secs()).decimal("elapsed_s", outcome.elapsed.as_secs_f64());
        o.boolean("interrupted", outcome.interrupted);
        o.objects("workloads", &outcome.tables, |o, table| {
            o.text("workload", table.workload).text("summary", &table.summary);
            o.objects("policies", &table.rows, |o, row| {
                o.text("policy", row.policy.name()).number("runs", row.runs).number("bursts", row.bursts);
                o.decimal("mean_ms", ms(row.mean)).decimal("p99_ms", ms(row.p99));
                o.decimal("slowdown", row.slowdown).decimal("switches_per_burst", row.switches_per_burst);
                o.decimal("jain", row.jain).decimal("utilisation", row.busy).decimal("speed", row.speed);
                o.decimal("completion_ms", row.completion.map(ms));
                o.decimal("makespan_ms", row.makespan.map(ms)).decimal("acted", row.acted);
            });
        });
    })
}
