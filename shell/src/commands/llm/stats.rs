//! `llmstats`: what the inference service has done since boot.
//!
//! JSON: `{"deterministic_deadline_miss_count","deterministic_jitter_p99_ns"|null,"det_admission_accepted","det_admission_rejected",
//! "det_admission_reserved_ppm","llm_stream_chunks","llm_stream_chunk_tokens","llm_graph_chunk_drop","submitted","rejected","completed",
//! "cancelled","failed","deadlines_missed","requests_with_misses","prompt_tokens","tokens","steps","pauses","queued":T,"first_token":T,
//! "total":T,"clients":[{"client","open","running","submitted","rejected","tokens"}]}` with `T` = `{"count","p50_ns"|null,"p99_ns"|null}` of
//! the last 512 requests. `deterministic_deadline_miss_count` counts periods with fewer tokens than the budget promised; jitter is that of the
//! periods' last tokens under the budget in force.

use super::{budget, client_name, time_or_dash};
use crate::commands::{Command, CommandError, Context, JSON, Next, PLAIN};
use crate::inference::InferenceStatus;
use crate::json::{self, Object};
use crate::table::{Align, Table};
use alloc::format;
use alloc::string::{String, ToString};
use llm::service::{ClientStats, Recent};

pub const STATS: Command = Command {
    name: "llmstats",
    summary: "Show the inference service's counters and times since boot, and what each client had of it.",
    usage: "llmstats [--json]",
    options: &[JSON],
    example: "llmstats",
    run,
    ..PLAIN
};

fn run(context: &mut Context<'_>) -> Result<Next, CommandError> {
    let status = context.system.inference_status();
    let text = if context.args.flag("json") { as_json(&status) } else { as_text(&status) };
    context.print(&text)
}

/// Name and value of every counter, in the order in which they are shown.
fn counters(status: &InferenceStatus) -> [(&'static str, u64); 18] {
    let stats = &status.stats;
    [
        ("deterministic_deadline_miss_count", stats.period_misses),
        ("det_admission_accepted", stats.admissions),
        ("det_admission_rejected", stats.refusals),
        ("det_admission_reserved_ppm", status.budget.as_ref().map_or(0, budget::reserved_ppm)),
        ("llm_stream_chunks", stats.stream_chunks),
        ("llm_stream_chunk_tokens", stats.stream_chunk_tokens),
        ("llm_graph_chunk_drop", stats.graph_drops),
        ("submitted", stats.submitted),
        ("rejected", stats.rejected),
        ("completed", stats.completed),
        ("cancelled", stats.cancelled),
        ("failed", stats.failed),
        ("deadlines_missed", stats.deadlines_missed),
        ("requests_with_misses", stats.requests_with_misses),
        ("prompt_tokens", stats.prompt_tokens),
        ("tokens", stats.tokens),
        ("steps", stats.steps),
        ("pauses", stats.pauses),
    ]
}

fn jitter(status: &InferenceStatus) -> Option<u64> {
    status.pace.and_then(|pace| pace.jitter_p99_ns)
}

fn times(status: &InferenceStatus) -> [(&'static str, &Recent); 3] {
    let stats = &status.stats;
    [("queued", &stats.queued), ("first_token", &stats.first_token), ("total", &stats.total)]
}

fn as_text(status: &InferenceStatus) -> String {
    let mut counted = Table::new(&[("COUNTER", Align::Left), ("VALUE", Align::Right)]);
    for (name, count) in counters(status) {
        counted.row([name.into(), count.to_string()]);
    }
    let jitter = jitter(status).map_or_else(|| String::from("-"), |ns| ns.to_string());
    counted.row(["deterministic_jitter_p99_ns".into(), jitter]);
    let mut timed = Table::new(&[
        ("TIME", Align::Left),
        ("REQUESTS", Align::Right),
        ("p50", Align::Right),
        ("p99", Align::Right),
    ]);
    for (name, recent) in times(status) {
        timed.row([
            name.replace('_', " "),
            recent.count().to_string(),
            time_or_dash(recent.quantile(50)),
            time_or_dash(recent.quantile(99)),
        ]);
    }
    format!("{counted}\n{timed}\n{}", clients_as_text(&status.clients))
}

/// What each client had.
pub(super) fn clients_as_text(clients: &[ClientStats]) -> String {
    if clients.is_empty() {
        return String::from("No clients yet.\n");
    }
    let mut table = Table::new(&[
        ("CLIENT", Align::Left),
        ("OPEN", Align::Right),
        ("RUNNING", Align::Right),
        ("SUBMITTED", Align::Right),
        ("REJECTED", Align::Right),
        ("TOKENS", Align::Right),
    ]);
    for client in clients {
        table.row([
            client_name(client.client),
            client.open.to_string(),
            client.running.to_string(),
            client.submitted.to_string(),
            client.rejected.to_string(),
            client.tokens.to_string(),
        ]);
    }
    format!("{table}")
}

/// The key `clients`.
pub(super) fn clients_as_json(o: &mut Object<'_>, clients: &[ClientStats]) {
    o.objects("clients", clients, |o, client| {
        o.number("client", client.client).number("open", client.open).number("running", client.running);
        o.number("submitted", client.submitted).number("rejected", client.rejected);
        o.number("tokens", client.tokens);
    });
}

fn as_json(status: &InferenceStatus) -> String {
    json::document(|o| {
        for (name, count) in counters(status) {
            o.number(name, count);
        }
        o.number_or_null("deterministic_jitter_p99_ns", jitter(status));
        for (name, recent) in times(status) {
            o.object(name, |o| {
                o.number("count", recent.count()).number_or_null("p50_ns", recent.quantile(50));
                o.number_or_null("p99_ns", recent.quantile(99));
            });
        }
        clients_as_json(o, &status.clients);
    })
}
