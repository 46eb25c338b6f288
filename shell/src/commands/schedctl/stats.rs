//! `schedctl stats`: what the scheduler measured since boot.
//!
//! JSON: `{"switches_by_second":[oldest first],"policies":[{"policy","wakeups","wakeup_p50_ns","wakeup_p99_ns","decisions",
//! "decision_p50_ns","decision_p99_ns"}],"transformer":[{"cpu","decisions","acted","compared","agreed","over_budget","refused","starved",
//! "returns","answers","answer_p50_ns","answer_p99_ns","told","told_p50_ns","told_p99_ns","told_over_budget","predicted","error","persistence_error","steps","loss"}],"versions":[as in
//! `schedctl save`],"servers":[{"cpu","task","misses","throttled","jitter_p99_us"}]}`; `servers` only with the feature
//! `reservations`. Times are rounded up to powers of two, `null` where nothing was measured; errors are the mean of
//! |ln predicted − ln seen| of burst sizes.

use super::weights;
use crate::commands::{CommandError, Context, Next};
use crate::json::{self, Object};
use crate::scheduler::{LearnedStats, SchedulerStats, SchedulerStatus, WeightVersion};
use crate::system::Task;
use crate::table::{Align, Table};
use crate::units::short_time;
use alloc::format;
use alloc::string::{String, ToString};
use core::time::Duration;
use sched::Latency;

pub(super) fn run(context: &mut Context<'_>) -> Result<Next, CommandError> {
    let (stats, status) = (context.system.scheduler_stats(), context.system.scheduler());
    let versions = context.system.weight_versions();
    let text = if context.args.flag("json") {
        as_json(&stats, &status, &versions)
    } else {
        as_text(&stats, &status, &versions, &context.system.tasks())
    };
    context.print(&text)
}

/// A quantile, if anything was measured.
fn quantile(latency: &Latency, share: f32) -> Option<u64> {
    (latency.count() > 0).then(|| latency.quantile(share))
}

fn shown(time: Option<u64>) -> String {
    time.map_or_else(|| String::from("-"), |nanos| short_time(Duration::from_nanos(nanos)))
}

fn share(part: u64, whole: u64) -> String {
    if whole == 0 { String::from("-") } else { format!("{:.0} %", 100.0 * part as f64 / whole as f64) }
}

fn as_text(
    stats: &SchedulerStats,
    status: &SchedulerStatus,
    versions: &[WeightVersion],
    tasks: &[Task],
) -> String {
    let mut text = switches(&stats.switches_by_second);
    text += &format!("\n{}", policies(stats));
    if !stats.learned.is_empty() {
        text += &format!("\n{}\n{}", decisions(&stats.learned), told(&stats.learned));
        text += &format!("\n{}", learning(&stats.learned));
        text += &format!("\n{}", weights::versions_as_text(versions));
    }
    #[cfg(feature = "reservations")]
    {
        text += &format!("\n{}", super::status::servers::as_text(status, tasks));
    }
    #[cfg(not(feature = "reservations"))]
    let _ = (status, tasks);
    text
}

fn switches(by_second: &[u64]) -> String {
    let Some(last) = by_second.last() else {
        return String::from("Switches  not counted for a second yet\n");
    };
    #[cfg(feature = "ai-ops")]
    let line = ai_insights::metrics::Sparkline(by_second.iter().map(|&count| count as f64));
    #[cfg(not(feature = "ai-ops"))]
    let line = "";
    let mean = by_second.iter().sum::<u64>() as f64 / by_second.len() as f64;
    format!(
        "Switches  {last} in the last second; of {} s: mean {mean:.0}, most {}  {line}\n",
        by_second.len(),
        by_second.iter().max().unwrap_or(last),
    )
}

fn policies(stats: &SchedulerStats) -> String {
    let columns = [
        ("DECIDED BY", Align::Left),
        ("WAKE-UPS", Align::Right),
        ("MEDIAN", Align::Right),
        ("p99", Align::Right),
        ("DECISIONS", Align::Right),
        ("MEDIAN", Align::Right),
        ("p99", Align::Right),
    ];
    let mut table = Table::new(&columns);
    for policy in &stats.policies {
        let (wakeup, decision) = (&policy.wakeup, &policy.decision);
        table.row([
            policy.policy.name().into(),
            wakeup.count().to_string(),
            shown(quantile(wakeup, 0.5)),
            shown(quantile(wakeup, 0.99)),
            decision.count().to_string(),
            shown(quantile(decision, 0.5)),
            shown(quantile(decision, 0.99)),
        ]);
    }
    format!("{table}Times are rounded up to powers of two; a wake-up's is the time until the thread runs.\n")
}

fn decisions(learned: &[LearnedStats]) -> String {
    let columns = [
        ("CPU", Align::Right),
        ("DECISIONS", Align::Right),
        ("TRANSFORMER'S", Align::Right),
        ("LIKE EEVDF", Align::Right),
        ("ANSWER MEDIAN", Align::Right),
        ("p99", Align::Right),
        ("OVER 50 us", Align::Right),
        ("INVALID", Align::Right),
        ("STARVED", Align::Right),
        ("RETURNS", Align::Right),
    ];
    let mut table = Table::new(&columns);
    for LearnedStats { cpu, counts, decision, .. } in learned {
        table.row([
            cpu.to_string(),
            counts.decisions.to_string(),
            share(counts.candidate, counts.decisions),
            share(counts.agreed, counts.compared),
            shown(quantile(decision, 0.5)),
            shown(quantile(decision, 0.99)),
            counts.overruns.to_string(),
            counts.refused.to_string(),
            counts.starved.to_string(),
            counts.returns.to_string(),
        ]);
    }
    format!("{table}")
}

/// The calls that ask for nothing: their time counts in the budget, too.
fn told(learned: &[LearnedStats]) -> String {
    let columns = [
        ("CPU", Align::Right),
        ("CALLS", Align::Right),
        ("MEDIAN", Align::Right),
        ("p99", Align::Right),
        ("OVER 50 us", Align::Right),
    ];
    let mut table = Table::new(&columns);
    for LearnedStats { cpu, counts, told, .. } in learned {
        table.row([
            cpu.to_string(),
            told.count().to_string(),
            shown(quantile(told, 0.5)),
            shown(quantile(told, 0.99)),
            counts.late.to_string(),
        ]);
    }
    format!(
        "{table}Calls tell it that a thread was queued, has run, was picked or has left; one over the budget counts as a late answer.\n"
    )
}

fn learning(learned: &[LearnedStats]) -> String {
    let columns = [
        ("CPU", Align::Right),
        ("BURSTS PREDICTED", Align::Right),
        ("ERROR", Align::Right),
        ("AS THE LAST ONE", Align::Right),
        ("LEARNING STEPS", Align::Right),
        ("LOSS", Align::Right),
    ];
    let mut table = Table::new(&columns);
    for LearnedStats { cpu, learning, .. } in learned {
        let known = |error: f32| {
            if learning.predicted == 0 { String::from("-") } else { format!("{error:.2}") }
        };
        table.row([
            cpu.to_string(),
            learning.predicted.to_string(),
            known(learning.error),
            known(learning.persistence_error),
            learning.steps.to_string(),
            format!("{:.4}", learning.loss),
        ]);
    }
    format!("{table}Errors are |ln predicted - ln seen| of burst sizes; 0.69 is a factor of 2.\n")
}

fn as_json(stats: &SchedulerStats, status: &SchedulerStatus, versions: &[WeightVersion]) -> String {
    json::document(|o| {
        o.numbers("switches_by_second", stats.switches_by_second.iter().copied());
        o.objects("policies", &stats.policies, |o, policy| {
            o.text("policy", policy.policy.name());
            times(o, ("wakeups", "wakeup_p50_ns", "wakeup_p99_ns"), &policy.wakeup);
            times(o, ("decisions", "decision_p50_ns", "decision_p99_ns"), &policy.decision);
        });
        o.objects(
            "transformer",
            &stats.learned,
            |o, LearnedStats { cpu, counts, decision, told, learning }| {
                o.number("cpu", *cpu).number("decisions", counts.decisions).number("acted", counts.candidate);
                o.number("compared", counts.compared).number("agreed", counts.agreed);
                o.number("over_budget", counts.overruns).number("refused", counts.refused);
                o.number("starved", counts.starved).number("returns", counts.returns);
                times(o, ("answers", "answer_p50_ns", "answer_p99_ns"), decision);
                times(o, ("told", "told_p50_ns", "told_p99_ns"), told);
                o.number("told_over_budget", counts.late);
                let error = |error: f32| (learning.predicted > 0).then_some(f64::from(error));
                o.number("predicted", learning.predicted).decimal("error", error(learning.error));
                o.decimal("persistence_error", error(learning.persistence_error));
                o.number("steps", learning.steps).decimal("loss", f64::from(learning.loss));
            },
        );
        weights::versions_as_json(o, versions);
        #[cfg(feature = "reservations")]
        o.objects(
            "servers",
            status.queues.iter().flat_map(|queue| queue.servers.iter().map(|server| (queue.cpu, server))),
            |o, (cpu, server)| {
                o.number("cpu", cpu).number("task", server.task).number("misses", server.misses);
                o.number("throttled", server.throttled);
                o.number_or_null("jitter_p99_us", server.jitter_p99.map(super::micros));
            },
        );
        #[cfg(not(feature = "reservations"))]
        let _ = status;
    })
}

fn times(o: &mut Object<'_>, (count, median, p99): (&str, &str, &str), latency: &Latency) {
    o.number(count, latency.count()).number_or_null(median, quantile(latency, 0.5));
    o.number_or_null(p99, quantile(latency, 0.99));
}
