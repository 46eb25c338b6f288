//! `uptime` and `version`.
//!
//! JSON of `uptime`: `{"uptime_s","cpus_online","tasks","cpus":[{"id","busy_percent"}]}`; busy since boot.

use super::{Command, CommandError, Context, JSON, Next, PLAIN};
use crate::json;
use crate::units;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

pub const UPTIME: Command = Command {
    name: "uptime",
    summary: "Show the time since reset and how busy the CPUs were.",
    usage: "uptime [--json]",
    options: &[JSON],
    example: "uptime",
    run: uptime,
    ..PLAIN
};

pub const VERSION: Command = Command {
    name: "version",
    summary: "Show the kernel's version, features and boot.",
    usage: "version",
    example: "version",
    run: version,
    ..PLAIN
};

fn uptime(context: &mut Context<'_>) -> Result<Next, CommandError> {
    let (up, tasks) = (context.system.uptime(), context.system.tasks().len());
    let busy: Vec<(u32, f64)> = context
        .system
        .cpus()
        .iter()
        .filter(|cpu| cpu.online)
        .map(|cpu| (cpu.id, units::percent(up.saturating_sub(cpu.idle), up)))
        .collect();
    if context.args.flag("json") {
        let json = json::document(|o| {
            o.decimal("uptime_s", up.as_secs_f64()).number("cpus_online", busy.len() as u64);
            o.number("tasks", tasks as u64).objects("cpus", &busy, |o, (id, percent)| {
                o.number("id", *id).decimal("busy_percent", *percent);
            });
        });
        return context.print(&json);
    }
    let shares: Vec<String> = busy.iter().map(|(id, percent)| format!("cpu{id} {percent:.1} %")).collect();
    let (clock, cpus) = (units::clock(up), busy.len());
    let text =
        format!("up {clock}, {cpus} CPUs online, {tasks} threads; busy since boot: {}\n", shares.join(", "));
    context.print(&text)
}

fn version(context: &mut Context<'_>) -> Result<Next, CommandError> {
    let v = context.system.version();
    let features = if v.features.is_empty() { String::from("none") } else { v.features.join(", ") };
    let line = if v.command_line.is_empty() { "(empty)" } else { &v.command_line };
    let text = format!(
        "{} {} ({})\nFeatures:     {features}\nBoot:         {}\nCommand line: {line}\n",
        v.name, v.version, v.profile, v.boot_protocol
    );
    context.print(&text)
}
