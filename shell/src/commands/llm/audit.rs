//! `llmctl audit` and `llmjson`: what was asked of the service, by whom, and what came of it. The text of a prompt is not in it.
//!
//! JSON of both: `{"version":1,"uptime_ns","written","entries":[{"number","ts_ns","client","op","op_name","status","prompt_len","tokens",
//! "wcet_cycles","period_ns","reason"}]}`, oldest first; see `docs/schemas/llmjson.schema.json`. `written` counts the operations since boot,
//! of which the last ones are kept; `status` is the sum of 1 ok, 2 reject, 4 deadline missed.

use super::{client_name, time};
use crate::args::UsageError;
use crate::commands::value;
use crate::commands::{Command, CommandError, Context, JSON as JSON_OPTION, Next, OptionSpec, PLAIN};
use crate::json;
use crate::table::{Align, Table};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;
use llm::service::{AuditEntry, Status};

pub const AUDIT: Command = Command {
    name: "llmctl audit",
    summary: "Show what was asked of the inference service, by whom, and what came of it; never a prompt's text.",
    usage: "llmctl audit [--last N] [--export] [--json]",
    options: &[
        value("last", "N", "Only the last N operations."),
        OptionSpec {
            name: "export",
            short: None,
            value: None,
            summary: "Write all of it as JSON to the disk and to the region that the host can read.",
        },
        JSON_OPTION,
    ],
    example: "llmctl audit --last 10",
    run: audit,
    ..PLAIN
};

pub const JSON: Command = Command {
    name: "llmjson",
    summary: "Print the audit of the inference service as one JSON object.",
    usage: "llmjson",
    example: "llmjson",
    run: |context| {
        let text = as_json(context, &context.system.audit());
        context.print(&text)
    },
    ..PLAIN
};

fn audit(context: &mut Context<'_>) -> Result<Next, CommandError> {
    let last = context.args.number("last", 1.., "a whole number from 1 on")?.unwrap_or(usize::MAX);
    if context.args.flag("export") {
        if last != usize::MAX || context.args.flag("json") {
            return Err(UsageError("`--export` writes all of it; leave the other options out".into()).into());
        }
        return export(context);
    }
    let entries = context.system.audit();
    let entries = entries.get(entries.len().saturating_sub(last)..).unwrap_or_default();
    let text = match (context.args.flag("json"), entries.is_empty()) {
        (true, _) => as_json(context, entries),
        (false, true) => String::from("Nothing was asked of the service yet.\n"),
        (false, false) => as_text(entries),
    };
    context.print(&text)
}

/// Writes all of it wherever it can be written: one place at least.
fn export(context: &mut Context<'_>) -> Result<Next, CommandError> {
    let text = as_json(context, &context.system.audit());
    let places = context.system.export(&text);
    let lines: Vec<String> = places
        .iter()
        .map(|place| match &place.result {
            Ok(bytes) => format!("{}: {bytes} bytes", place.place),
            Err(why) => format!("{}: not written: {why}", place.place),
        })
        .collect();
    if places.iter().any(|place| place.result.is_ok()) {
        return context.print(&format!("{}\n", lines.join("\n")));
    }
    let why =
        if lines.is_empty() { String::from("this machine has no place for it") } else { lines.join("; ") };
    Err(CommandError::Failed(format!("the audit was written nowhere: {why}")))
}

fn as_text(entries: &[AuditEntry]) -> String {
    let mut table = Table::new(&[
        ("NUMBER", Align::Right),
        ("TIME [s]", Align::Right),
        ("CLIENT", Align::Left),
        ("OPERATION", Align::Left),
        ("STATUS", Align::Left),
        ("PROMPT [B]", Align::Right),
        ("TOKENS", Align::Right),
        ("WCET [cycles]", Align::Right),
        ("PERIOD", Align::Right),
        ("WHY", Align::Left),
    ]);
    let dash = |is: bool, text: String| if is { text } else { String::from("-") };
    for entry in entries {
        table.row([
            entry.number.to_string(),
            crate::units::seconds(Duration::from_nanos(entry.ts_ns)),
            client_name(entry.client),
            entry.op.name().into(),
            format!("{:03b} {}", entry.status.bits(), words(entry.status)),
            entry.prompt_len.to_string(),
            entry.tokens.to_string(),
            dash(entry.wcet_cycles > 0, entry.wcet_cycles.to_string()),
            dash(entry.period_ns > 0, time(entry.period_ns)),
            entry.reason.into(),
        ]);
    }
    format!("{table}")
}

/// A status's bits in words.
fn words(status: Status) -> String {
    let names = [(Status::OK, "ok"), (Status::REJECT, "reject"), (Status::DEADLINE_MISS, "deadline missed")];
    let set: Vec<&str> = names.iter().filter(|(bit, _)| status.has(*bit)).map(|(_, name)| *name).collect();
    set.join(", ")
}

fn as_json(context: &Context<'_>, entries: &[AuditEntry]) -> String {
    let uptime = u64::try_from(context.system.uptime().as_nanos()).unwrap_or(u64::MAX);
    let written = context.system.inference_status().audited;
    json::document(|o| {
        o.number("version", 1u32).number("uptime_ns", uptime).number("written", written);
        o.objects("entries", entries, |o, entry| {
            o.number("number", entry.number).number("ts_ns", entry.ts_ns).number("client", entry.client);
            o.number("op", entry.op as u8).text("op_name", entry.op.name());
            o.number("status", entry.status.bits()).number("prompt_len", entry.prompt_len);
            o.number("tokens", entry.tokens).number("wcet_cycles", entry.wcet_cycles);
            o.number("period_ns", entry.period_ns).text("reason", entry.reason);
        });
    })
}
