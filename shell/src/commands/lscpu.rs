//! `lscpu`: the processors.
//!
//! JSON: `{"cpus":[{"id","apic_id","online","vendor","brand","family","model","stepping","tsc_hz",
//! "idle_s","features":[…]}]}`.

use super::{Command, CommandError, Context, JSON, Next, PLAIN};
use crate::json;
use crate::system::Cpu;
use crate::table::{Align, Table};
use crate::units;
use alloc::format;
use alloc::string::{String, ToString};

pub const LSCPU: Command = Command {
    name: "lscpu",
    summary: "Show the processors and their features.",
    usage: "lscpu [--json]",
    options: &[JSON],
    example: "lscpu",
    run,
    ..PLAIN
};

fn run(context: &mut Context<'_>) -> Result<Next, CommandError> {
    let cpus = context.system.cpus();
    let text = if context.args.flag("json") { as_json(&cpus) } else { as_text(&cpus) };
    context.print(&text)
}

fn as_text(cpus: &[Cpu]) -> String {
    let Some(first) = cpus.first() else { return String::from("no CPU is listed\n") };
    let online = cpus.iter().filter(|cpu| cpu.online).count();
    let columns = [
        ("CPU", Align::Right),
        ("APIC ID", Align::Right),
        ("STATE", Align::Left),
        ("TSC [MHz]", Align::Right),
        ("IDLE [s]", Align::Right),
    ];
    let mut table = Table::new(&columns);
    for cpu in cpus {
        table.row([
            cpu.id.to_string(),
            cpu.apic_id.to_string(),
            if cpu.online { "online" } else { "offline" }.into(),
            format!("{:.1}", cpu.tsc_hz as f64 / 1e6),
            units::seconds(cpu.idle),
        ]);
    }
    format!(
        "Model:    {}\nVendor:   {}, family {}, model {}, stepping {}\nCPUs:     {} listed, {online} online\nFeatures: {}\n\n{table}",
        first.brand,
        first.vendor,
        first.family,
        first.model,
        first.stepping,
        cpus.len(),
        first.features.join(" ")
    )
}

fn as_json(cpus: &[Cpu]) -> String {
    json::document(|o| {
        o.objects("cpus", cpus, |o, cpu| {
            o.number("id", cpu.id).number("apic_id", cpu.apic_id).boolean("online", cpu.online);
            o.text("vendor", &cpu.vendor).text("brand", &cpu.brand).number("family", cpu.family);
            o.number("model", cpu.model).number("stepping", cpu.stepping).number("tsc_hz", cpu.tsc_hz);
            o.decimal("idle_s", cpu.idle.as_secs_f64()).texts("features", cpu.features.iter().copied());
        });
    })
}
