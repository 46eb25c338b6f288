//! What `llminfer`, `llmstream` and `llmgraph` have in common: their options, and following a request to its end.

use crate::args::{Args, UsageError};
pub(super) use crate::commands::sampling::{
    MAX_TOKENS, PENALTY, SEED, TEMP, TOP_K, TOP_P, max_tokens, sampling,
};
use crate::commands::{CommandError, Context, Next, OptionSpec, value};
use crate::console::Console;
use crate::json;
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

pub(super) const PRIORITY: OptionSpec =
    value("priority", "low|normal|high", "Who is served first; normal unless given.");
pub(super) const DEADLINE: OptionSpec =
    value("deadline-ms", "N", "End the answer so many milliseconds after it was asked for.");
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

/// How a request is to be served, whatever it asks.
pub(super) struct Service {
    priority: Priority,
    deadline_ns: Option<u64>,
    sampling: Sampling,
}

impl Service {
    /// As the options say.
    pub(super) fn of(args: &Args) -> Result<Self, UsageError> {
        let deadline =
            args.number("deadline-ms", 1..=86_400_000u64, "a number of milliseconds from 1 to 86400000")?;
        Ok(Self {
            priority: args.choice("priority", &Priority::ALL, Priority::name)?.unwrap_or_default(),
            deadline_ns: deadline.map(|ms| ms * 1_000_000),
            sampling: sampling(args)?,
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
