//! `slm status`.
//!
//! JSON: `{"state","reason"|null,"model":{"name","provided_by","source","sha256","licence",
//! "architecture","quantisation","parameters","file_bytes","vocabulary","context"}|null,"pool":{as in
//! `free`}|null,"prefix_cache":{"tokens","bytes","limit","evicted","prompt_tokens","reused_tokens",
//! "live_tokens","kept_tokens","hit_percent"}|null,
//! "variant"|null,"candidates":[{"name","time_us","prompt_us"}],"threads","queries":{"neural","rules"},
//! "last_tokens_per_second"|null}`; `state` is loaded, unloaded or none.

use crate::commands::{Command, CommandError, Context, JSON, Next, PLAIN, free};
use crate::json;
use crate::slm::{SlmModel, SlmPool, SlmState, SlmStatus};
use crate::table::{Align, Table};
use crate::units::{bytes, short_time};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

pub const STATUS: Command = Command {
    name: "slm status",
    summary: "Show the model, its memory and its speed.",
    usage: "slm status [--json]",
    options: &[JSON],
    example: "slm status",
    run,
    ..PLAIN
};

fn run(context: &mut Context<'_>) -> Result<Next, CommandError> {
    let status = context.system.slm_status();
    let text = if context.args.flag("json") { as_json(&status) } else { as_text(&status) };
    context.print(&text)
}

fn reason(status: &SlmStatus) -> Option<&str> {
    match &status.state {
        SlmState::Loaded => None,
        SlmState::Unloaded { reason } | SlmState::None { reason } => Some(reason),
    }
}

fn as_text(status: &SlmStatus) -> String {
    let mut lines: Vec<(&str, String)> = Vec::new();
    let why = reason(status).map_or_else(String::new, |reason| format!(" ({reason})"));
    lines.push(("State", format!("{}{why}", status.state.name())));
    let answers = match status.state {
        SlmState::Loaded => "neural; the rule engine where a record is the whole answer, or by --backend",
        _ => "the rule engine",
    };
    lines.push(("Answers", answers.into()));
    if let Some(model) = &status.model {
        model_lines(model, &mut lines);
    }
    if let Some(variant) = &status.variant {
        let time = |c: &crate::slm::SlmCandidate| format!("{} {}", c.name, short_time(c.time));
        let timed: Vec<String> = status.candidates.iter().map(time).collect();
        let timed = if timed.is_empty() { String::new() } else { format!(" (timed: {})", timed.join(", ")) };
        lines.push(("Kernels", format!("{variant}{timed}")));
        lines.push(("Threads", status.threads.to_string()));
    }
    lines.push(("Queries", format!("{} neural, {} rules", status.neural_queries, status.rules_queries)));
    if let Some(speed) = status.last_tokens_per_second {
        lines.push(("Last speed", format!("{speed:.1} tokens/s")));
    }
    if let Some(kept) = &status.prefixes {
        let (held, limit) = (bytes(kept.bytes), bytes(kept.limit));
        lines.push(("Prefix cache", format!("{} tokens, {held} of at most {limit}", kept.tokens)));
        lines.push((
            "Prompts",
            format!(
                "{} tokens, {} of them reused ({} %): {} live, {} kept",
                kept.prompt_tokens,
                kept.reused_tokens,
                kept.hit_rate(),
                kept.live_tokens(),
                kept.kept_tokens
            ),
        ));
    }
    let mut text: String = lines.iter().map(|(name, value)| format!("{name:<13} {value}\n")).collect();
    if let Some(pool) = &status.pool {
        text.push_str(&pool_table(pool));
    }
    text
}

fn model_lines(model: &SlmModel, lines: &mut Vec<(&'static str, String)>) {
    let text = |text: &str| String::from(if text.is_empty() { "unknown" } else { text });
    let number = |n: u64| if n == 0 { String::from("unknown") } else { n.to_string() };
    lines.push((
        "Model",
        format!("{} ({}, {})", text(&model.name), model.provided_by, bytes(model.file_size)),
    ));
    lines.push(("Source", text(&model.source)));
    lines.push(("SHA-256", text(&model.sha256)));
    lines.push(("Licence", text(&model.licence)));
    lines.push(("Architecture", text(&model.architecture)));
    lines.push(("Quantisation", text(&model.quantisation)));
    lines.push(("Parameters", number(model.parameters)));
    lines.push(("Vocabulary", format!("{} tokens", number(model.vocabulary))));
    lines.push(("Context", format!("{} tokens", number(model.context))));
}

fn pool_table(pool: &SlmPool) -> String {
    let mut table = Table::new(&[("POOL", Align::Left), ("SIZE", Align::Right), ("BYTES", Align::Right)]);
    let rows = [
        ("weights", pool.weights),
        ("KV cache", pool.kv_cache),
        ("activations", pool.activations),
        ("tokenizer", pool.tokenizer),
        ("free", pool.free()),
        ("all", pool.size),
    ];
    for (name, n) in rows {
        table.row([name.into(), bytes(n), n.to_string()]);
    }
    format!("\n{table}")
}

fn as_json(status: &SlmStatus) -> String {
    json::document(|o| {
        o.text("state", status.state.name()).text_or_null("reason", reason(status));
        match &status.model {
            Some(model) => o.object("model", |o| {
                o.text("name", &model.name).text("provided_by", model.provided_by);
                o.text("source", &model.source).text("sha256", &model.sha256).text("licence", &model.licence);
                o.text("architecture", &model.architecture).text("quantisation", &model.quantisation);
                o.number("parameters", model.parameters).number("file_bytes", model.file_size);
                o.number("vocabulary", model.vocabulary).number("context", model.context);
            }),
            None => o.null("model"),
        };
        free::pool_json(o, "pool", status.pool.as_ref());
        match &status.prefixes {
            Some(kept) => o.object("prefix_cache", |o| {
                o.number("tokens", kept.tokens).number("bytes", kept.bytes).number("limit", kept.limit);
                o.number("evicted", kept.evicted).number("prompt_tokens", kept.prompt_tokens);
                o.number("reused_tokens", kept.reused_tokens).number("live_tokens", kept.live_tokens());
                o.number("kept_tokens", kept.kept_tokens).number("hit_percent", kept.hit_rate());
            }),
            None => o.null("prefix_cache"),
        };
        o.text_or_null("variant", status.variant.as_deref());
        o.objects("candidates", &status.candidates, |o, candidate| {
            o.text("name", &candidate.name).decimal("time_us", candidate.time.as_secs_f64() * 1e6);
            o.decimal("prompt_us", candidate.prompt_time.as_secs_f64() * 1e6);
        });
        o.number("threads", status.threads).object("queries", |o| {
            o.number("neural", status.neural_queries).number("rules", status.rules_queries);
        });
        o.decimal("last_tokens_per_second", status.last_tokens_per_second);
    })
}
