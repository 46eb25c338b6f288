//! `llminfer` and `llmstream`: a prompt to the service, and its answer as a whole or in chunks.
//!
//! JSON of both: `{"id","answer","end","error"|null,"prompt_tokens","record_tokens","reused_tokens","tokens","tokens_per_second"|null,
//! "queued_ns","first_token_ns"|null,"total_ns","period_misses","chunks":[{"sequence","tokens","at_ns","text"}],"jitter_p99_ns"|null}`,
//! `chunks` and `jitter_p99_ns` of `llmstream` only; `end` is finished, max-tokens, context-full, no-token, cancelled, deadline, abandoned or
//! failed; `at_ns` is the time from asking to the chunk's arrival. With `--background`: `{"id"}`. Jitter is how much the time between two
//! chunks differs from the time between the two before.

use super::request::{self, follow, in_background, job, shortened, speed};
use super::time;
use crate::commands::slm::{Answer, Style};
use crate::commands::value;
use crate::commands::{Command, CommandError, Context, JSON, Next, PLAIN};
use crate::json::{self, Object};
use crate::slm::SlmOrigin;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use llm::service::{Chunk, End, MAX_CHUNK, Operation, Outcome, Recent, RequestId};

pub const INFER: Command = Command {
    name: "llminfer",
    summary: "Ask the model through the inference service, and show the answer and what it took.",
    usage: "llminfer \"PROMPT\" [--max-tokens N] [--priority low|normal|high] [--deadline-ms N] [--temp T] [--seed S] [--top-k K] [--top-p P] [--repeat-penalty R] [--grammar GBNF] [--raw] [--background] [--json]",
    options: &[
        request::MAX_TOKENS,
        request::PRIORITY,
        request::DEADLINE,
        request::TEMP,
        request::SEED,
        request::TOP_K,
        request::TOP_P,
        request::PENALTY,
        request::GRAMMAR,
        request::RAW,
        request::BACKGROUND,
        JSON,
    ],
    example: "llminfer \"What is a page table?\" --max-tokens 32",
    operands: (1, usize::MAX),
    run: infer,
    ..PLAIN
};

pub const STREAM: Command = Command {
    name: "llmstream",
    summary: "Ask the model, and show each chunk of the answer as it comes; Ctrl-C cancels.",
    usage: "llmstream \"PROMPT\" [--chunk N] [--max-tokens N] [--priority low|normal|high] [--deadline-ms N] [--temp T] [--seed S] [--top-k K] [--top-p P] [--repeat-penalty R] [--grammar GBNF] [--raw] [--background] [--json]",
    options: &[
        value("chunk", "N", "Tokens in a chunk, 1 to 256; 1 unless given."),
        request::MAX_TOKENS,
        request::PRIORITY,
        request::DEADLINE,
        request::TEMP,
        request::SEED,
        request::TOP_K,
        request::TOP_P,
        request::PENALTY,
        request::GRAMMAR,
        request::RAW,
        request::BACKGROUND,
        JSON,
    ],
    example: "llmstream \"What is a page table?\" --chunk 4",
    operands: (1, usize::MAX),
    run: stream,
    ..PLAIN
};

fn infer(context: &mut Context<'_>) -> Result<Next, CommandError> {
    let mut job = job(&context.args, Operation::Infer)?;
    // Nobody looks at single tokens.
    job.chunk = MAX_CHUNK;
    let id = context.system.submit(job)?;
    if context.args.flag("background") {
        return in_background(context, id);
    }
    answer(context, id, None)
}

fn stream(context: &mut Context<'_>) -> Result<Next, CommandError> {
    let mut job = job(&context.args, Operation::Stream)?;
    job.chunk = context.args.number("chunk", 1..=MAX_CHUNK, "a whole number from 1 to 256")?.unwrap_or(1);
    let id = context.system.submit(job)?;
    if context.args.flag("background") {
        return in_background(context, id);
    }
    answer(context, id, Some(Arrivals::default()))
}

/// When chunks came.
#[derive(Default)]
struct Arrivals {
    chunks: u64,
    last: Option<u64>,
    gap: Option<u64>,
    jitter: Recent,
    /// Kept for the JSON object only.
    kept: Vec<(Chunk, u64, String)>,
}

impl Arrivals {
    fn add(&mut self, at: u64) {
        self.chunks += 1;
        if let Some(last) = self.last.replace(at) {
            let gap = at.saturating_sub(last);
            if let Some(before) = self.gap.replace(gap) {
                self.jitter.add(gap.abs_diff(before));
            }
        }
    }
}

/// Shows an answer; `arrivals` where its chunks are counted.
fn answer(
    context: &mut Context<'_>,
    id: RequestId,
    mut arrivals: Option<Arrivals>,
) -> Result<Next, CommandError> {
    let json = context.args.flag("json");
    let mut shown = Answer::new(if json { Style::Kept } else { Style::Plain });
    let (system, console) = (context.system, &mut *context.console);
    let start = system.uptime();
    let outcome = follow(system, console, id, |chunk, bytes, console| {
        let origin = if chunk.record { SlmOrigin::Record } else { SlmOrigin::Model };
        shown.piece(bytes, origin, console);
        if let Some(arrivals) = &mut arrivals {
            let at = nanos(system.uptime().saturating_sub(start));
            arrivals.add(at);
            if json {
                arrivals.kept.push((chunk, at, String::from_utf8_lossy(bytes).into_owned()));
            }
        }
    });
    shown.end(console);
    let outcome = outcome?;
    if let (false, Some(error)) = (json, &outcome.error) {
        return Err(CommandError::Failed(error.to_string()));
    }
    let text = match json {
        true => as_json(id, &shown, &outcome, arrivals.as_ref()),
        false => format!("{}\n", summary(&outcome, arrivals.as_ref())),
    };
    // Printed whole even after a Ctrl-C, which the shell takes note of later.
    let dim = !json && console.size().is_some();
    let (on, off) = if dim { ("\x1b[2m", "\x1b[0m") } else { ("", "") };
    let _ = write!(console, "{on}{text}{off}");
    match outcome.end {
        End::Cancelled if console.interrupted() => Err(CommandError::Interrupted),
        _ => Ok(Next::Prompt),
    }
}

fn nanos(time: core::time::Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// `[neural | 24 tokens | 6.1 tokens/s | first token after 412.00 ms | queued 1.0 us]`
fn summary(outcome: &Outcome, arrivals: Option<&Arrivals>) -> String {
    let counts = &outcome.counts;
    let tokens = counts.record_tokens.saturating_add(counts.tokens);
    let mut parts = Vec::from([format!("neural | {tokens} tokens")]);
    parts.extend(speed(outcome).map(|speed| format!("{speed:.1} tokens/s")));
    parts.extend(outcome.first_token_ns.map(|ns| format!("first token after {}", time(ns))));
    parts.push(format!("queued {}", time(outcome.queued_ns)));
    if let Some(arrivals) = arrivals {
        parts.push(format!("{} chunks", arrivals.chunks));
        parts.extend(arrivals.jitter.quantile(99).map(|ns| format!("jitter p99 {}", time(ns))));
    }
    if outcome.period_misses > 0 {
        parts.push(format!("{} periods short of their budget", outcome.period_misses));
    }
    parts.extend(shortened(outcome.end).map(String::from));
    format!("[{}]", parts.join(" | "))
}

fn as_json(id: RequestId, answer: &Answer, outcome: &Outcome, arrivals: Option<&Arrivals>) -> String {
    let whole: String = answer.segments().iter().map(|(_, text)| text.as_str()).collect();
    json::document(|o| {
        o.number("id", id).text("answer", &whole);
        outcome_as_json(o, outcome);
        if let Some(arrivals) = arrivals {
            o.objects("chunks", &arrivals.kept, |o, (chunk, at, text)| {
                o.number("sequence", chunk.sequence).number("tokens", chunk.tokens);
                o.number("at_ns", *at).text("text", text);
            });
            o.number_or_null("jitter_p99_ns", arrivals.jitter.quantile(99));
        }
    })
}

/// The keys of an outcome.
pub(super) fn outcome_as_json(o: &mut Object<'_>, outcome: &Outcome) {
    let counts = &outcome.counts;
    let error = outcome.error.as_ref().map(ToString::to_string);
    o.text("end", outcome.end.name()).text_or_null("error", error.as_deref());
    o.number("prompt_tokens", counts.prompt_tokens).number("record_tokens", counts.record_tokens);
    o.number("reused_tokens", counts.reused_tokens).number("tokens", counts.tokens);
    o.decimal("tokens_per_second", speed(outcome)).number("queued_ns", outcome.queued_ns);
    o.number_or_null("first_token_ns", outcome.first_token_ns).number("total_ns", outcome.total_ns);
    o.number("period_misses", outcome.period_misses);
}
