//! `top`: who uses the CPUs, every second.
//!
//! JSON of `top --json`, which prints once: `{"time_s","cpus":[{"id","busy_percent"}],"tasks":[{"id","name","state","cpu","pinned",
//! "class","nice","weight","cpu_percent","run_s","wait_s","sleep_s","voluntary","involuntary","wakeup_p99_us"}]}`. Printed once, shares
//! are those since boot; live, those of the last second.

mod live;
mod sort;
mod view;

use super::{Command, CommandError, Context, JSON, Next, OptionSpec, PLAIN};
use crate::json;
use crate::units::percent;
use sort::{Frame, Sort};

pub const TOP: Command = Command {
    name: "top",
    summary: "Show who uses the CPUs, every second; c, r, w, n, s or left and right sort, up and down scroll, q quits.",
    usage: "top [--once] [--sort KEY] [--json]",
    options: &[
        OptionSpec {
            name: "once",
            short: None,
            value: None,
            summary: "Print it once, with shares since boot.",
        },
        OptionSpec {
            name: "sort",
            short: None,
            value: Some("cpu|run|wait|name|switches"),
            summary: "What to sort by at first; cpu unless given.",
        },
        JSON,
    ],
    example: "top --once",
    run,
    ..PLAIN
};

fn run(context: &mut Context<'_>) -> Result<Next, CommandError> {
    let sort = context.args.choice("sort", &Sort::ALL, Sort::name)?.unwrap_or(Sort::Cpu);
    let (once, json) = (context.args.flag("once"), context.args.flag("json"));
    if !once && !json {
        return live::run(context, sort);
    }
    let mut frame = Frame::new(None, context.system.activity());
    frame.sort(sort);
    let text =
        if json { as_json(&frame) } else { view::everything(&frame, &context.system.scheduler(), sort) };
    context.print(&text)
}

fn as_json(frame: &Frame) -> alloc::string::String {
    json::document(|o| {
        o.decimal("time_s", frame.time.as_secs_f64());
        o.objects("cpus", frame.busy.iter().enumerate(), |o, (id, busy)| {
            o.number("id", id as u64).decimal("busy_percent", busy * 100.0);
        });
        o.objects("tasks", &frame.rows, |o, row| {
            let task = &row.task;
            o.number("id", task.id).text("name", &task.name).text("state", task.state.name());
            o.number("cpu", task.cpu).boolean("pinned", task.pinned).text("class", task.class.name());
            o.integer("nice", i64::from(task.nice)).number("weight", task.weight);
            o.decimal("cpu_percent", percent(row.used, frame.over));
            o.decimal("run_s", task.run.as_secs_f64()).decimal("wait_s", task.wait.as_secs_f64());
            o.decimal("sleep_s", task.sleep.as_secs_f64()).number("voluntary", task.voluntary);
            o.number("involuntary", task.involuntary);
            let p99 = task.wakeup_p99.map(|time| u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
            o.number_or_null("wakeup_p99_us", p99);
        });
    })
}
