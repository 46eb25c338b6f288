//! `schedctl`: the scheduler.
//!
//! JSON of `schedctl status`: `{"queues":[{"cpu","policy","current":id|null,"ready","switches",
//! "preemptions","servers":[{"task","budget_us","period_us","remaining_us","deadline_us","throttled",
//! "misses"}]}]}`; `servers` only with the feature `reservations`.

use super::{Command, CommandError, Context, JSON, Next, PLAIN};
use crate::json;
use crate::scheduler::SchedulerStatus;
use crate::system::Task;
use crate::table::{Align, Table};
use alloc::format;
use alloc::string::{String, ToString};

pub const STATUS: Command = Command {
    name: "schedctl status",
    summary: "Show the run queues, their policy and the reservation servers.",
    usage: "schedctl status [--json]",
    options: &[JSON],
    example: "schedctl status",
    run,
    ..PLAIN
};

fn run(context: &mut Context<'_>) -> Result<Next, CommandError> {
    let status = context.system.scheduler();
    let text =
        if context.args.flag("json") { as_json(&status) } else { as_text(&status, &context.system.tasks()) };
    context.print(&text)
}

fn as_text(status: &SchedulerStatus, tasks: &[Task]) -> String {
    let task_name = |id: u32| match tasks.iter().find(|task| task.id == id) {
        Some(task) => format!("{id} {}", task.name),
        None => id.to_string(),
    };
    let columns = [
        ("CPU", Align::Right),
        ("POLICY", Align::Left),
        ("RUNNING", Align::Left),
        ("READY", Align::Right),
        ("SWITCHES", Align::Right),
        ("PREEMPTIONS", Align::Right),
    ];
    let mut queues = Table::new(&columns);
    for queue in &status.queues {
        queues.row([
            queue.cpu.to_string(),
            queue.policy.into(),
            queue.current.map_or_else(|| String::from("idle"), task_name),
            queue.ready.to_string(),
            queue.switches.to_string(),
            queue.preemptions.to_string(),
        ]);
    }
    #[cfg(feature = "reservations")]
    let servers = format!("\n{}", reservations::as_text(status, task_name));
    #[cfg(not(feature = "reservations"))]
    let servers = "";
    format!("{queues}{servers}")
}

fn as_json(status: &SchedulerStatus) -> String {
    json::document(|o| {
        o.objects("queues", &status.queues, |o, queue| {
            o.number("cpu", queue.cpu).text("policy", queue.policy);
            o.number_or_null("current", queue.current.map(u64::from)).number("ready", queue.ready);
            o.number("switches", queue.switches).number("preemptions", queue.preemptions);
            #[cfg(feature = "reservations")]
            reservations::as_json(o, queue);
        });
    })
}

#[cfg(feature = "reservations")]
mod reservations {
    use super::*;
    use crate::json::Object;
    use crate::scheduler::RunQueueStatus;
    use crate::units::{seconds, short_time};
    use core::time::Duration;

    pub(super) fn as_text(status: &SchedulerStatus, task_name: impl Fn(u32) -> String) -> String {
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
        ];
        let mut table = Table::new(&columns);
        for (cpu, server) in status.queues.iter().flat_map(|q| q.servers.iter().map(move |s| (q.cpu, s))) {
            table.row([
                cpu.to_string(),
                task_name(server.task),
                short_time(server.budget),
                short_time(server.period),
                short_time(server.remaining),
                seconds(server.deadline),
                server.throttled.to_string(),
                server.misses.to_string(),
            ]);
        }
        format!("{table}")
    }

    pub(super) fn as_json(o: &mut Object<'_>, queue: &RunQueueStatus) {
        let us = |t: Duration| u64::try_from(t.as_micros()).unwrap_or(u64::MAX);
        o.objects("servers", &queue.servers, |o, server| {
            o.number("task", server.task).number("budget_us", us(server.budget));
            o.number("period_us", us(server.period)).number("remaining_us", us(server.remaining));
            o.number("deadline_us", us(server.deadline)).number("throttled", server.throttled);
            o.number("misses", server.misses);
        });
    }
}
