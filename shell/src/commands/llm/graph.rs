//! `llmgraph` and `graphctl show`: the model's answer by way of a graph of operators (`llm::graph`).
//!
//! JSON of `graphctl show`: `{"ran","operators":[{"name","taken","made","steps","held_up","busy_ns"}],"channels":[{"capacity","high_water","waiting",
//! "passed","dropped","when_full":"waits|drops"}]}`; channel `i` lies between the operators `i` and `i + 1`. `llmgraph --json` prints these two and
//! `"id"`, `"text"`, and the keys that `llminfer` has from `end` to `period_misses`.

use super::ask::outcome_as_json;
use super::drawing;
use super::request::{self, Service, shortened, speed};
use crate::commands::value;
use crate::commands::{Command, CommandError, Context, JSON, Next, PLAIN};
use crate::json;
use crate::system::System;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::ops::ControlFlow;
use core::time::Duration;
use llm::graph::{CHUNK_TOKENS, Edge, Graph, GraphEnd, MAX_CAPACITY, Picture, Runtime, Sink};
use llm::service::{CHUNK_BYTES, CONSOLE, Fetched, Job, Operation, Outcome, RequestId};

/// Chunks in a channel unless told otherwise.
const CAPACITY: usize = 8;
/// How long the shell sleeps while no operator has anything to do: a small part of a token's time.
const PAUSE: Duration = Duration::from_millis(2);

pub const GRAPH: Command = Command {
    name: "llmgraph",
    summary: "Have the model continue a text by way of a graph of operators, and print each chunk that comes out.",
    usage: "llmgraph \"TEXT\" [--max-tokens N] [--chunk N] [--capacity N] [--sink-delay-ms N] [--priority low|normal|high] [--deadline-ms N] [--temp T] [--seed S] [--top-k K] [--top-p P] [--repeat-penalty R] [--json]",
    options: &[
        request::MAX_TOKENS,
        value("chunk", "N", "Tokens in a chunk, 1 to 64; 4 unless given."),
        value("capacity", "N", "Chunks that a channel holds, 1 to 64; 8 unless given."),
        value(
            "sink-delay-ms",
            "N",
            "Have the reader take so long for each chunk that some may be dropped; 0 unless given.",
        ),
        request::PRIORITY,
        request::DEADLINE,
        request::TEMP,
        request::SEED,
        request::TOP_K,
        request::TOP_P,
        request::PENALTY,
        JSON,
    ],
    example: "llmgraph \"The kernel of an operating system\" --max-tokens 16",
    operands: (1, usize::MAX),
    run: graph,
    ..PLAIN
};

pub const SHOW: Command = Command {
    name: "graphctl show",
    summary: "Draw the graph that ran last, with the counters of its operators and channels.",
    usage: "graphctl show [--json]",
    options: &[JSON],
    example: "graphctl show",
    run: show,
    ..PLAIN
};

/// The service as the graph's operators use it.
struct Model<'a> {
    system: &'a dyn System,
    service: Service,
    max_tokens: usize,
    chunk: u32,
    request: Cell<Option<RequestId>>,
    outcome: RefCell<Option<Outcome>>,
    bytes: RefCell<Vec<u8>>,
}

impl Runtime for Model<'_> {
    fn encode(&self, text: &str) -> Result<Vec<u32>, String> {
        self.system.encode(text).map_err(|error| error.to_string())
    }

    fn start(&self, tokens: Vec<u32>) -> Result<RequestId, String> {
        let job = Job::continue_tokens(CONSOLE, Operation::Graph, tokens, self.max_tokens);
        let mut job = job.map_err(|error| error.to_string())?;
        self.service.apply(&mut job);
        job.chunk = self.chunk;
        let id = self.system.submit(job).map_err(|error| error.to_string())?;
        self.request.set(Some(id));
        Ok(id)
    }

    fn next(&self, request: RequestId, tokens: &mut Vec<u32>) -> Result<bool, String> {
        let mut bytes = self.bytes.borrow_mut();
        bytes.clear();
        let fetched = self.system.fetch_tokens(request, Duration::ZERO, &mut bytes);
        match fetched.map_err(|error| error.to_string())? {
            Fetched::Chunk(_) => {
                let (numbers, _) = bytes.as_chunks();
                tokens.extend(numbers.iter().map(|number| u32::from_le_bytes(*number)));
                Ok(false)
            }
            Fetched::Nothing(_) => Ok(false),
            Fetched::End(outcome) => {
                let error = outcome.error.as_ref().map(ToString::to_string);
                self.outcome.replace(Some(outcome));
                error.map_or(Ok(true), Err)
            }
        }
    }

    fn cancel(&self, request: RequestId) {
        // Where it is over already, that is as good.
        let _ = self.system.cancel(request);
    }

    fn decode(&self, tokens: &[u32]) -> Result<Vec<u8>, String> {
        self.system.decode(tokens).map_err(|error| error.to_string())
    }
}

impl Model<'_> {
    /// How the request went; waits for its end where the graph ended first, and has cancelled it.
    fn outcome(&self) -> Option<Outcome> {
        let id = self.request.get()?;
        while self.outcome.borrow().is_none() {
            let mut bytes = self.bytes.borrow_mut();
            bytes.clear();
            if let Fetched::End(outcome) =
                self.system.fetch(id, Duration::from_millis(50), &mut bytes).ok()?
            {
                self.outcome.replace(Some(outcome));
            }
        }
        self.outcome.take()
    }
}

fn graph(context: &mut Context<'_>) -> Result<Next, CommandError> {
    let args = &context.args;
    let (prompt, json) = (request::prompt(args)?, args.flag("json"));
    let tokens = 1..=CHUNK_TOKENS as u32;
    let capacity = args.number("capacity", 1..=MAX_CAPACITY, "a whole number from 1 to 64")?;
    let delay = args.number("sink-delay-ms", 0..=60_000u64, "a number of milliseconds from 0 to 60000")?;
    let model = Model {
        system: context.system,
        service: Service::of(args)?,
        max_tokens: request::max_tokens(args)?,
        chunk: args.number("chunk", tokens, "a whole number from 1 to 64")?.unwrap_or(4),
        request: Cell::new(None),
        outcome: RefCell::new(None),
        bytes: RefCell::new(Vec::with_capacity(CHUNK_BYTES)),
    };
    let capacity = capacity.unwrap_or(CAPACITY);
    let system = context.system;
    // The reader prints, and Ctrl-C is looked for between the rounds.
    let console = RefCell::new(&mut *context.console);
    let mut text = String::new();
    let read = |chunk: &llm::graph::Chunk| {
        let shown = String::from_utf8_lossy(chunk.bytes());
        match json {
            true => text.push_str(&shown),
            // A chunk without text is tokens of a character that is not complete yet.
            false if shown.is_empty() => {}
            false => {
                let _ = writeln!(console.borrow_mut(), "[LLM][GRAPH-OUT] chunk: {}", on_a_line(&shown));
            }
        }
    };
    let no_memory = |_| {
        CommandError::Failed(
            "there is no memory for the graph's channels; ask for a smaller --capacity".into(),
        )
    };
    let mut graph = Graph::answering(&model, &prompt, capacity)
        .and_then(|graph| {
            graph.then(Edge::dropping(capacity), Sink::slow(read, delay.unwrap_or(0) * 1_000_000))
        })
        .map_err(no_memory)?;
    let now = || u64::try_from(system.uptime().as_nanos()).unwrap_or(u64::MAX);
    let end = graph.run(&now, &mut |round| {
        if round.dropped > 0 {
            system.count_graph_drops(round.dropped);
        }
        if round.idle {
            system.sleep(PAUSE);
        }
        match console.borrow_mut().interrupted() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    });
    let picture = graph.picture();
    drop(graph);
    system.keep_graph(picture.clone());
    let outcome = model.outcome();
    let end = end.map_err(|error| CommandError::Failed(error.to_string()))?;
    let text = match (json, &outcome) {
        (true, Some(outcome)) => json::document(|o| {
            o.number("id", model.request.get().unwrap_or(0)).text("text", &text);
            outcome_as_json(o, outcome);
            drawing::as_json(o, &picture);
        }),
        // Stopped before there was a request.
        (true, None) => String::new(),
        (false, outcome) => format!("{}\n", summary(&picture, outcome.as_ref())),
    };
    // Printed whole even after a Ctrl-C, which the shell takes note of later.
    let _ = context.console.write_str(&text);
    match end {
        GraphEnd::Stopped => Err(CommandError::Interrupted),
        GraphEnd::Complete => Ok(Next::Prompt),
    }
}

/// Text without control characters and line ends.
fn on_a_line(text: &str) -> String {
    let mut line = String::new();
    for c in text.chars() {
        match c {
            '\n' => line.push_str("\\n"),
            '\t' => line.push_str("\\t"),
            c if c.is_control() => {}
            c => line.push(c),
        }
    }
    line
}

/// `[graph | 16 tokens | 6.1 tokens/s | 4 chunks out, 0 dropped]`
fn summary(picture: &Picture, outcome: Option<&Outcome>) -> String {
    let mut parts = Vec::from([String::from("graph")]);
    if let Some(outcome) = outcome {
        parts.push(format!("{} tokens", outcome.counts.tokens));
        parts.extend(speed(outcome).map(|speed| format!("{speed:.1} tokens/s")));
    }
    let out = picture.operators.last().map_or(0, |sink| sink.taken);
    parts.push(format!("{out} chunks out, {} dropped", picture.dropped()));
    parts.extend(outcome.and_then(|outcome| shortened(outcome.end)).map(String::from));
    format!("[{}]", parts.join(" | "))
}

fn show(context: &mut Context<'_>) -> Result<Next, CommandError> {
    let last = context.system.last_graph();
    let ran = last.is_some();
    let picture = last.unwrap_or_else(|| Picture::standard(CAPACITY));
    let text = match context.args.flag("json") {
        true => json::document(|o| {
            o.boolean("ran", ran);
            drawing::as_json(o, &picture);
        }),
        false => {
            let title =
                if ran { "The graph that ran last:" } else { "The standard graph; none has run yet:" };
            format!("{title}\n\n{}", drawing::as_text(&picture))
        }
    };
    context.print(&text)
}
