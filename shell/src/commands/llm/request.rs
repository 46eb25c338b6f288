//! What `llminfer`, `llmstream` and `llmgraph` have in common: their options, and following a request to its end.

use super::value;
use crate::args::{Args, UsageError};
use crate::commands::{CommandError, Context, Next, OptionSpec};
use crate::console::Console;
use crate::json;
use crate::slm::SlmRequest;
use crate::system::System;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;
use llm::sampling::Sampling;
use llm::service::{
    CHUNK_BYTES, CONSOLE, Chunk, End, Fetched, Form, Job, Operation, Outcome, Priority, RequestId,
};

/// How long a fetch waits: Ctrl-C is noticed as often.
const WAIT: Duration = Duration::from_millis(50);

pub(super) const MAX_TOKENS: OptionSpec =
    value("max-tokens", "N", "Longest answer in tokens, 1 to 100000; 64 unless given.");
pub(super) const PRIORITY: OptionSpec =
    value("priority", "low|normal|high", "Who is served first; normal unless given.");
pub(super) const DEADLINE: OptionSpec =
    value("deadline-ms", "N", "End the answer so many milliseconds after it was asked for.");
pub(super) const TEMP: OptionSpec =
    value("temp", "T", "Temperature, 0 to 10; 0, the default, always takes the likeliest token.");
pub(super) const SEED: OptionSpec = value("seed", "S", "Seed of the choice if T is above 0.");
pub(super) const TOP_K: OptionSpec =
    value("top-k", "K", "Choose among the K likeliest tokens; 0: all; 40 unless given.");
pub(super) const TOP_P: OptionSpec =
    value("top-p", "P", "Choose among tokens that have probability P together; 0.95 unless given.");
pub(super) const PENALTY: OptionSpec =
    value("repeat-penalty", "R", "Make tokens used lately less likely, 1 (off) to 2; 1.1 unless given.");
pub(super) const GRAMMAR: OptionSpec =
    value("grammar", "GBNF", "Hold the model to a grammar in llama.cpp's notation.");
pub(super) const RAW: OptionSpec = OptionSpec {
    name: "raw",
    short: None,
    value: None,
    summary: "Continue the text as it is, without the model's chat template.",
};
pub(super) const BACKGROUND: OptionSpec = OptionSpec {
    name: "background",
    short: None,
    value: None,
    summary: "Print the request's number and come back; `llmpoll` fetches the answer.",
};

/// The prompt: all operands, without white space around them.
pub(super) fn prompt(args: &Args) -> Result<String, UsageError> {
    let prompt = String::from(args.operands.join(" ").trim());
    if prompt.is_empty() {
        return Err(UsageError("the prompt is empty; write what the model is to answer".into()));
    }
    Ok(prompt)
}

/// Most tokens of the answer.
pub(super) fn max_tokens(args: &Args) -> Result<usize, UsageError> {
    let tokens = args.number("max-tokens", 1..=100_000, "a whole number from 1 to 100000")?;
    Ok(tokens.unwrap_or(SlmRequest::default().max_tokens))
}

/// How a request is to be served, whatever it asks.
pub(super) struct Service {
    priority: Priority,
    deadline_ns: Option<u64>,
    sampling: Sampling,
}

impl Service {
    /// As the options say.
    pub(super) fn of(args: &Args) -> Result<Self, UsageError> {
        let default = SlmRequest::default();
        let deadline =
            args.number("deadline-ms", 1..=86_400_000u64, "a number of milliseconds from 1 to 86400000")?;
        let temperature = args.number("temp", 0.0..=10.0, "a number from 0 to 10")?;
        let seed = args.number("seed", .., "a whole number from 0 to 18446744073709551615")?;
        let top_k = args.number("top-k", 0..=1_000_000, "a whole number from 0 to 1000000")?;
        let top_p = args.number("top-p", 0.001..=1.0, "a number from 0.001 to 1")?;
        let penalty = args.number("repeat-penalty", 1.0..=2.0, "a number from 1 to 2")?;
        Ok(Self {
            priority: args.choice("priority", &Priority::ALL, Priority::name)?.unwrap_or_default(),
            deadline_ns: deadline.map(|ms| ms * 1_000_000),
            sampling: Sampling {
                temperature: temperature.unwrap_or(default.temperature),
                seed: seed.unwrap_or(default.seed),
                top_k: top_k.unwrap_or(default.top_k),
                top_p: top_p.unwrap_or(default.top_p),
                repeat_penalty: penalty.unwrap_or(default.repeat_penalty),
            },
        })
    }

    /// Has a request served so.
    pub(super) fn apply(&self, job: &mut Job) {
        (job.priority, job.deadline_ns, job.sampling) = (self.priority, self.deadline_ns, self.sampling);
    }
}

/// A request of the console, as the options say.
pub(super) fn job(args: &Args, operation: Operation) -> Result<Job, CommandError> {
    let service = Service::of(args)?;
    let mut job = Job::new(CONSOLE, operation, prompt(args)?, max_tokens(args)?)?;
    service.apply(&mut job);
    if args.flag("raw") {
        job.form = Form::Raw;
    }
    job.grammar = args.value("grammar").map(String::from);
    Ok(job)
}

/// Says that a request goes on by itself.
pub(super) fn in_background(context: &mut Context<'_>, id: RequestId) -> Result<Next, CommandError> {
    let text = match context.args.flag("json") {
        true => json::document(|o| {
            o.number("id", id);
        }),
        false => format!("request {id}; `llmpoll {id}` fetches its answer, `llmcancel {id}` ends it\n"),
    };
    context.print(&text)
}

/// Fetches chunks until the request is over; Ctrl-C cancels it, and what it had made by then still comes.
pub(super) fn follow(
    system: &dyn System,
    console: &mut dyn Console,
    id: RequestId,
    mut take: impl FnMut(Chunk, &[u8], &mut dyn Console),
) -> Result<Outcome, CommandError> {
    let mut bytes = Vec::with_capacity(CHUNK_BYTES);
    let mut cancelled = false;
    loop {
        if !cancelled && console.interrupted() {
            cancelled = true;
            // Where it is over just now, its end comes with the next fetch.
            let _ = system.cancel(id);
        }
        bytes.clear();
        match system.fetch(id, WAIT, &mut bytes)? {
            Fetched::Chunk(chunk) => take(chunk, &bytes, console),
            Fetched::Nothing(_) => {}
            Fetched::End(outcome) => return Ok(outcome),
        }
    }
}

/// Why an answer is shorter than it could be: nothing where it is whole.
pub(super) fn shortened(end: End) -> Option<&'static str> {
    match end {
        End::Finished | End::Failed => None,
        End::MaxTokens => Some("stopped at --max-tokens"),
        End::ContextFull => Some("stopped: the context is full"),
        End::NoToken => Some("stopped unfinished: no token goes on as the grammar asks"),
        End::Cancelled => Some("cancelled"),
        End::Deadline => Some("stopped at its deadline"),
        End::Abandoned => Some("given up: nobody fetched it"),
    }
}

/// Tokens a second while decoding; `None` where there were none or no time passed.
pub(super) fn speed(outcome: &Outcome) -> Option<f64> {
    let seconds = Duration::from_nanos(outcome.counts.decode_ns).as_secs_f64();
    let tokens = outcome.counts.tokens;
    (tokens > 0 && seconds > 0.0).then(|| f64::from(tokens) / seconds)
}
