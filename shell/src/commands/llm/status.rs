//! `llmctl status`: the service at this moment.
//!
//! JSON: `{"model"|null,"context","limits":{"queue","of_client","running","done","patience_ns"},"budget":as in `llmctl budget`|null,
//! "pace":{"made","periods","misses","jitter_p99_ns"|null}|null,"spread","worst_cycles"|null,"requests":[{"id","client","operation","priority",
//! "state","tokens","max_tokens","age_ns"}],"clients":as in `llmstats`,"audited"}`; `state` is queued, reading, running, paused or the end's
//! name.

use super::stats::{clients_as_json, clients_as_text};
use super::{budget, client_name, pace, time, time_or_dash};
use crate::commands::{Command, CommandError, Context, JSON, Next, PLAIN};
use crate::inference::InferenceStatus;
use crate::json;
use crate::table::{Align, Table};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use llm::service::RequestInfo;

pub const STATUS: Command = Command {
    name: "llmctl status",
    summary: "Show the inference service: its model, budget, requests and clients.",
    usage: "llmctl status [--json]",
    options: &[JSON],
    example: "llmctl status",
    run,
    ..PLAIN
};

fn run(context: &mut Context<'_>) -> Result<Next, CommandError> {
    let status = context.system.inference_status();
    let now = u64::try_from(context.system.uptime().as_nanos()).unwrap_or(u64::MAX);
    let text = if context.args.flag("json") { as_json(&status, now) } else { as_text(&status, now) };
    context.print(&text)
}

fn as_text(status: &InferenceStatus, now: u64) -> String {
    let limits = &status.limits;
    let model = match &status.model {
        Some(name) => format!("{name}, context {} tokens", status.context),
        None => String::from("none is loaded; `llmctl load` loads it"),
    };
    let worst = status.worst_cycles.map_or_else(|| String::from("-"), |cycles| format!("{cycles} cycles"));
    let mut lines = Vec::from([
        ("Model", model),
        (
            "Limits",
            format!(
                "{} in flight, {} wait, {} of a client; an answer waits {} to be fetched",
                limits.running,
                limits.queue,
                limits.of_client,
                time(limits.patience_ns)
            ),
        ),
        ("Worst token", worst),
        ("Spread", format!("{}: {}", status.spread.name(), pace::meaning(status.spread))),
    ]);
    if let Some(pace) = &status.pace {
        lines.push((
            "Periods",
            format!(
                "{} in which tokens were wanted, {} of them short; jitter p99 {}",
                pace.periods,
                pace.misses,
                time_or_dash(pace.jitter_p99_ns)
            ),
        ));
    }
    lines.push(("Audited", format!("{} operations", status.audited)));
    let lines: String = lines.iter().map(|(name, value)| format!("{name:<13} {value}\n")).collect();
    let budget = match &status.budget {
        Some(state) => budget::as_text(state, status.cycles_per_second),
        None => format!("{:<13} none\n", "Budget"),
    };
    let requests = requests_as_text(&status.requests, now);
    format!("{lines}{budget}\n{requests}\n{}", clients_as_text(&status.clients))
}

fn requests_as_text(requests: &[RequestInfo], now: u64) -> String {
    if requests.is_empty() {
        return String::from("No requests.\n");
    }
    let mut table = Table::new(&[
        ("REQUEST", Align::Right),
        ("CLIENT", Align::Left),
        ("OPERATION", Align::Left),
        ("PRIORITY", Align::Left),
        ("STATE", Align::Left),
        ("TOKENS", Align::Right),
        ("AGE", Align::Right),
    ]);
    for request in requests {
        table.row([
            request.id.to_string(),
            client_name(request.client),
            request.operation.name().into(),
            request.priority.name().into(),
            request.state.name().into(),
            format!("{}/{}", request.tokens, request.max_tokens),
            time(now.saturating_sub(request.submitted_ns)),
        ]);
    }
    format!("{table}")
}

fn as_json(status: &InferenceStatus, now: u64) -> String {
    let limits = &status.limits;
    json::document(|o| {
        o.text_or_null("model", status.model.as_deref()).number("context", status.context);
        o.object("limits", |o| {
            o.number("queue", limits.queue as u64).number("of_client", limits.of_client);
            o.number("running", limits.running as u64).number("done", limits.done as u64);
            o.number("patience_ns", limits.patience_ns);
        });
        budget::budget_as_json(o, status);
        match &status.pace {
            Some(pace) => o.object("pace", |o| {
                o.number("made", pace.made).number("periods", pace.periods).number("misses", pace.misses);
                o.number_or_null("jitter_p99_ns", pace.jitter_p99_ns);
            }),
            None => o.null("pace"),
        };
        o.text("spread", status.spread.name()).number_or_null("worst_cycles", status.worst_cycles);
        o.objects("requests", &status.requests, |o, request| {
            o.number("id", request.id).number("client", request.client);
            o.text("operation", request.operation.name()).text("priority", request.priority.name());
            o.text("state", request.state.name()).number("tokens", request.tokens);
            o.number("max_tokens", request.max_tokens as u64);
            o.number("age_ns", now.saturating_sub(request.submitted_ns));
        });
        clients_as_json(o, &status.clients);
        o.number("audited", status.audited);
    })
}
