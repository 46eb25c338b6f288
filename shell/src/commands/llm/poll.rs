//! `llmpoll` and `llmcancel`: requests that go on by themselves.
//!
//! JSON of `llmpoll`: `{"id","state","text","chunks","outcome"}`; `state` is queued, reading, running, paused or the end's name; `outcome` is null
//! before the end, then the keys that `llminfer` has from `end` to `period_misses`. Of `llmcancel`: `{"id","cancelled":true}`.

use super::ask::outcome_as_json;
use super::request::{shortened, speed};
use super::{request_number, time};
use crate::commands::slm::{Answer, Style};
use crate::commands::{Command, CommandError, Context, JSON, Next, PLAIN};
use crate::json;
use crate::slm::SlmOrigin;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;
use llm::service::{CHUNK_BYTES, Fetched, Outcome};

pub const POLL: Command = Command {
    name: "llmpoll",
    summary: "Show what has come of a request in the background since it was last asked.",
    usage: "llmpoll ID [--json]",
    options: &[JSON],
    example: "llmpoll 3",
    operands: (1, 1),
    run: poll,
    ..PLAIN
};

pub const CANCEL: Command = Command {
    name: "llmcancel",
    summary: "End a request between two tokens, whosever it is.",
    usage: "llmcancel ID [--json]",
    options: &[JSON],
    example: "llmcancel 3",
    operands: (1, 1),
    run: cancel,
    ..PLAIN
};

fn poll(context: &mut Context<'_>) -> Result<Next, CommandError> {
    let id = request_number(context)?;
    let json = context.args.flag("json");
    let mut shown = Answer::new(if json { Style::Kept } else { Style::Plain });
    let (mut bytes, mut chunks) = (Vec::with_capacity(CHUNK_BYTES), 0u64);
    let (state, outcome) = loop {
        bytes.clear();
        match context.system.fetch(id, Duration::ZERO, &mut bytes)? {
            Fetched::Chunk(chunk) => {
                let origin = if chunk.record { SlmOrigin::Record } else { SlmOrigin::Model };
                shown.piece(&bytes, origin, context.console);
                chunks += 1;
            }
            Fetched::Nothing(state) => break (state.name(), None),
            Fetched::End(outcome) => break (outcome.end.name(), Some(outcome)),
        }
    };
    shown.end(context.console);
    if json {
        let text: String = shown.segments().iter().map(|(_, text)| text.as_str()).collect();
        let text = json::document(|o| {
            o.number("id", id).text("state", state).text("text", &text).number("chunks", chunks);
            match &outcome {
                Some(outcome) => o.object("outcome", |o| outcome_as_json(o, outcome)),
                None => o.null("outcome"),
            };
        });
        return context.print(&text);
    }
    let text = match &outcome {
        Some(Outcome { error: Some(error), .. }) => return Err(CommandError::Failed(error.to_string())),
        Some(outcome) => over(id, outcome),
        None => format!("[request {id} | {state} | {chunks} new chunks]\n"),
    };
    context.print(&text)
}

fn over(id: u32, outcome: &Outcome) -> String {
    let tokens = outcome.counts.record_tokens.saturating_add(outcome.counts.tokens);
    let speed = speed(outcome).map_or_else(String::new, |speed| format!(" | {speed:.1} tokens/s"));
    let end = shortened(outcome.end).unwrap_or("finished");
    format!("[request {id} | {end} | {tokens} tokens{speed} | {} in all]\n", time(outcome.total_ns))
}

fn cancel(context: &mut Context<'_>) -> Result<Next, CommandError> {
    let id = request_number(context)?;
    context.system.cancel(id)?;
    let text = match context.args.flag("json") {
        true => json::document(|o| {
            o.number("id", id).boolean("cancelled", true);
        }),
        false => format!("request {id} ends; what it has made can be fetched\n"),
    };
    context.print(&text)
}
