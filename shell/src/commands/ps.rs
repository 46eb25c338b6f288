//! `ps`: the threads.
//!
//! JSON: `{"tasks":[{"id","name","state","cpu","class","weight","run_time_s","switches","stack_bytes"}]}`;
//! `state` is running, ready, sleeping, blocked or finished, `class` is reserved, fair or idle.

use super::{Command, CommandError, Context, JSON, Next, PLAIN};
use crate::json;
use crate::table::{Align, Table};
use crate::units;
use alloc::format;
use alloc::string::ToString;

pub const PS: Command = Command {
    name: "ps",
    summary: "List the threads.",
    usage: "ps [--json]",
    options: &[JSON],
    example: "ps",
    run,
    ..PLAIN
};

fn run(context: &mut Context<'_>) -> Result<Next, CommandError> {
    let tasks = context.system.tasks();
    if context.args.flag("json") {
        let json = json::document(|o| {
            o.objects("tasks", &tasks, |o, task| {
                o.number("id", task.id).text("name", &task.name).text("state", task.state.name());
                o.number("cpu", task.cpu).text("class", task.class.name()).number("weight", task.weight);
                o.decimal("run_time_s", task.run_time.as_secs_f64()).number("switches", task.switches);
                o.number("stack_bytes", task.stack_size);
            });
        });
        return context.print(&json);
    }
    let mut table = Table::new(&[
        ("ID", Align::Right),
        ("NAME", Align::Left),
        ("STATE", Align::Left),
        ("CPU", Align::Right),
        ("CLASS", Align::Left),
        ("WEIGHT", Align::Right),
        ("CPU TIME [s]", Align::Right),
        ("SWITCHES", Align::Right),
        ("STACK", Align::Right),
    ]);
    for task in tasks {
        table.row([
            task.id.to_string(),
            task.name,
            task.state.name().into(),
            task.cpu.to_string(),
            task.class.name().into(),
            task.weight.to_string(),
            units::seconds(task.run_time),
            task.switches.to_string(),
            units::exact_bytes(task.stack_size),
        ]);
    }
    context.print(&format!("{table}"))
}
