//! `schedctl status`: who decides what runs where.
//!
//! JSON: `{"policy","mode","queues":[{"cpu","policy","guard":{"rule":"off|shadow|acting","broken","cooldown_windows",
//! "foretold_percent","eevdf":{"mean","tail"}|null,"transformer":{"mean","tail"}|null,"last":{"time_s","to","reason"}|null}|null,
//! "current":id|null,"ready","ready_reserved","switches","preemptions","steals","servers":[{"task","budget_us","period_us",
//! "remaining_us","deadline_us","throttled","misses","jitter_p99_us"}]}]}`; `servers` only with the feature `reservations`;
//! `mean` and `tail` are response times relative to ideal sharing.

use super::{since_reset, task_name};
use crate::commands::{CommandError, Context, Next};
use crate::json::{self, Object};
use crate::scheduler::{FairPolicy, GuardStatus, LearnedMode, RunQueueStatus, SchedulerStatus};
use crate::system::Task;
use crate::table::{Align, Table};
use alloc::format;
use alloc::string::{String, ToString};
use sched::guard::{Ratio, Rule};

pub(super) fn run(context: &mut Context<'_>) -> Result<Next, CommandError> {
    let status = context.system.scheduler();
    let text =
        if context.args.flag("json") { as_json(&status) } else { as_text(&status, &context.system.tasks()) };
    context.print(&text)
}

/// What a mode means, in a few words.
fn meaning(mode: LearnedMode) -> &'static str {
    match mode {
        LearnedMode::On => "on: decides until its guard finds otherwise",
        LearnedMode::Auto => "auto: decides when its guard finds that promising",
        LearnedMode::Shadow => "shadow: predicts and does not act",
        LearnedMode::Off => "off: EEVDF decides",
    }
}

fn as_text(status: &SchedulerStatus, tasks: &[Task]) -> String {
    let policy = match status.policy {
        FairPolicy::Transformer => format!("transformer ({})", meaning(status.mode)),
        policy => policy.name().to_string(),
    };
    let columns = [
        ("CPU", Align::Right),
        ("DECIDES", Align::Left),
        ("RUNNING", Align::Left),
        ("FAIR", Align::Right),
        ("RESERVED", Align::Right),
        ("SWITCHES", Align::Right),
        ("PREEMPTIONS", Align::Right),
        ("STEALS", Align::Right),
    ];
    let mut queues = Table::new(&columns);
    for queue in &status.queues {
        queues.row([
            queue.cpu.to_string(),
            decides(queue).into(),
            queue.current.map_or_else(|| String::from("idle"), |id| task_name(tasks, id)),
            queue.ready.saturating_sub(queue.ready_reserved).to_string(),
            queue.ready_reserved.to_string(),
            queue.switches.to_string(),
            queue.preemptions.to_string(),
            queue.steals.to_string(),
        ]);
    }
    let guards = guards_as_text(status);
    #[cfg(feature = "reservations")]
    let servers = format!("\n{}", servers::as_text(status, tasks));
    #[cfg(not(feature = "reservations"))]
    let servers = "";
    format!("Policy  {policy}\n\n{queues}{guards}{servers}")
}

/// Who decides on a CPU.
fn decides(queue: &RunQueueStatus) -> &'static str {
    match &queue.guard {
        Some(guard) if guard.rule != Rule::Acting => FairPolicy::Eevdf.name(),
        _ => queue.policy,
    }
}

fn guards_as_text(status: &SchedulerStatus) -> String {
    let columns = [
        ("CPU", Align::Right),
        ("GUARD", Align::Left),
        ("COOLDOWN", Align::Right),
        ("FORETOLD", Align::Right),
        ("EEVDF", Align::Right),
        ("TRANSFORMER", Align::Right),
        ("SINCE [s]", Align::Right),
        ("WHY", Align::Left),
    ];
    let mut table = Table::new(&columns);
    let dash = || String::from("-");
    let ratio = |ratio: Option<Ratio>| ratio.map_or_else(dash, |r| format!("{:.2} / {:.2}", r.mean, r.tail));
    for queue in &status.queues {
        let Some(guard) = &queue.guard else { continue };
        let state = if guard.broken { "broken" } else { guard.rule.name() };
        table.row([
            queue.cpu.to_string(),
            state.into(),
            if guard.cooldown == 0 { dash() } else { format!("{} windows", guard.cooldown) },
            guard.foresight.map_or_else(dash, |foresight| format!("{:.0} %", foresight.concordance * 100.0)),
            ratio(guard.classic),
            ratio(guard.candidate),
            guard.last.map_or_else(dash, |last| format!("{:.3}", since_reset(last.time).as_secs_f64())),
            guard.last.map_or_else(dash, |last| last.reason.to_string()),
        ]);
    }
    if status.queues.iter().all(|queue| queue.guard.is_none()) {
        return String::new();
    }
    format!(
        "\n{table}EEVDF and TRANSFORMER: response times to those of ideal sharing, mean / tail; a window is {} bursts.\n",
        sched::guard::WINDOW
    )
}

fn as_json(status: &SchedulerStatus) -> String {
    json::document(|o| {
        o.text("policy", status.policy.name()).text("mode", status.mode.name());
        o.objects("queues", &status.queues, |o, queue| {
            o.number("cpu", queue.cpu).text("policy", queue.policy);
            match &queue.guard {
                Some(guard) => o.object("guard", |o| guard_as_json(o, guard)),
                None => o.null("guard"),
            };
            o.number_or_null("current", queue.current.map(u64::from)).number("ready", queue.ready);
            o.number("ready_reserved", queue.ready_reserved).number("switches", queue.switches);
            o.number("preemptions", queue.preemptions).number("steals", queue.steals);
            #[cfg(feature = "reservations")]
            servers::as_json(o, queue);
        });
    })
}

fn guard_as_json(o: &mut Object<'_>, guard: &GuardStatus) {
    o.text("rule", guard.rule.name()).boolean("broken", guard.broken);
    o.number("cooldown_windows", guard.cooldown);
    o.decimal("foretold_percent", guard.foresight.map(|foresight| f64::from(foresight.concordance) * 100.0));
    for (name, ratio) in [("eevdf", guard.classic), ("transformer", guard.candidate)] {
        match ratio {
            Some(ratio) => o.object(name, |o| {
                o.decimal("mean", f64::from(ratio.mean)).decimal("tail", f64::from(ratio.tail));
            }),
            None => o.null(name),
        };
    }
    match guard.last {
        Some(last) => o.object("last", |o| super::history::change_as_json(o, &last)),
        None => o.null("last"),
    };
}

#[cfg(feature = "reservations")]
pub(super) mod servers {
    //! The reservation servers.

    use super::*;
    use crate::commands::schedctl::micros;
    use crate::units::{seconds, short_time};

    pub(in super::super) fn as_text(status: &SchedulerStatus, tasks: &[Task]) -> String {
        if status.queues.iter().all(|queue| queue.servers.is_empty()) {
            return String::from("No reservations.\n");
        }
        let columns = [
            ("CPU", Align::Right),
            ("RESERVED FOR", Align::Left),
            ("BUDGET", Align::Right),
            ("PERIOD", Align::Right),
            ("LEFT", Align::Right),
            ("DEADLINE [s]", Align::Right),
            ("THROTTLED", Align::Right),
            ("MISSES", Align::Right),
            ("JITTER p99", Align::Right),
        ];
        let mut table = Table::new(&columns);
        for (cpu, server) in status.queues.iter().flat_map(|q| q.servers.iter().map(move |s| (q.cpu, s))) {
            table.row([
                cpu.to_string(),
                task_name(tasks, server.task),
                short_time(server.budget),
                short_time(server.period),
                short_time(server.remaining),
                seconds(server.deadline),
                server.throttled.to_string(),
                server.misses.to_string(),
                server.jitter_p99.map_or_else(|| String::from("-"), short_time),
            ]);
        }
        format!("{table}")
    }

    pub(super) fn as_json(o: &mut Object<'_>, queue: &RunQueueStatus) {
        o.objects("servers", &queue.servers, |o, server| {
            o.number("task", server.task).number("budget_us", micros(server.budget));
            o.number("period_us", micros(server.period)).number("remaining_us", micros(server.remaining));
            o.number("deadline_us", micros(server.deadline)).number("throttled", server.throttled);
            o.number("misses", server.misses).number_or_null("jitter_p99_us", server.jitter_p99.map(micros));
        });
    }
}
