//! One command from beginning to end.

use crate::cli::{Cli, Command, Options};
use crate::connection::{Address, Connection, unexpected};
use crate::error::Error;
use crate::output::Output;
use crate::text::Utf8;
use crate::{infer, upload};
use clap::CommandFactory;
use control::reply::PAGE_RECORDS;
use control::{Message, Record, Reply, Status, Token};
use serde_json::{Value, json};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Pause before asking again.
const PAUSE: Duration = Duration::from_millis(200);
/// The longest that a wait goes on without looking at the clock and at Ctrl-C.
pub(crate) const TICK: Duration = Duration::from_millis(100);

/// Does what the command line says; what the program ends with.
pub fn run(options: &Options) -> ExitCode {
    let mut out = Output::new(options.command.name(), options.json);
    match execute(options, &mut out) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            out.error(&error);
            ExitCode::from(error.exit_code())
        }
    }
}

/// What every command needs.
pub(crate) struct Task<'a> {
    pub options: &'a Options,
    pub token: Option<Token>,
    address: Address,
    started: Instant,
}

fn execute(options: &Options, out: &mut Output) -> Result<(), Error> {
    match options.command {
        Command::Completion { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "datactl", &mut script);
            return out.text(&String::from_utf8_lossy(&script));
        }
        Command::Man => {
            let mut page = Vec::new();
            let rendered = clap_mangen::Man::new(Cli::command()).render(&mut page);
            rendered.map_err(|source| Error::Local { what: "the man page".into(), source })?;
            return out.text(&String::from_utf8_lossy(&page));
        }
        _ => {}
    }
    let task =
        Task { options, token: options.token()?, address: options.address()?, started: Instant::now() };
    match &options.command {
        Command::Ping => ping(&task, out),
        Command::Status => status(&task, out),
        Command::Load { name, wcet_cycles } => {
            work(&task, out, &Message::Load { name: name.clone(), wcet_cycles: *wcet_cycles })
        }
        Command::Infer(question) => infer::infer(&task, out, question),
        Command::Cancel { id } => cancel(&task, out, *id),
        Command::Audit { last } => audit(&task, out, *last),
        Command::Metrics => metrics(&task, out),
        Command::Upload { file, name, load } => upload::upload(&task, out, file, name.as_deref(), *load),
        Command::Finetune { data, steps } => {
            work(&task, out, &Message::Finetune { steps: *steps, data: data.clone() })
        }
        Command::Completion { .. } | Command::Man => Ok(()),
    }
}

impl Task<'_> {
    /// A new connection.
    pub fn connect(&self) -> Result<Connection, Error> {
        self.time_left()?;
        Ok(Connection::open(&self.address)?.with_ack_timeout(self.options.ack_timeout))
    }

    /// Tries until it succeeds, as often as `--retries` says, where the line is to blame.
    pub fn retry<T>(&self, mut attempt: impl FnMut() -> Result<T, Error>) -> Result<T, Error> {
        let mut left = self.options.retries;
        loop {
            match attempt() {
                Err(error) if error.is_of_the_line() && left > 0 => {
                    left -= 1;
                    std::thread::sleep(PAUSE);
                }
                done => return done,
            }
        }
    }

    /// Connects and asks until the request is acknowledged: the connection, the request's id, the number in the
    /// acknowledgement.
    pub fn begin(&self, message: &Message) -> Result<(Connection, u32, u64), Error> {
        self.retry(|| {
            let mut connection = self.connect()?;
            let (id, number) = connection.ask(message, self.token)?;
            Ok((connection, id, number))
        })
    }

    /// What is left of `--timeout`; a tick at most. An error when it has passed.
    pub fn time_left(&self) -> Result<Duration, Error> {
        let Some(limit) = self.options.timeout else { return Ok(TICK) };
        match limit.saturating_sub(self.started.elapsed()) {
            Duration::ZERO => Err(Error::TimedOut(limit)),
            left => Ok(left.min(TICK)),
        }
    }

    /// The reply that ends a long piece of work.
    pub fn wait_done(&self, connection: &mut Connection, id: u32) -> Result<(Duration, String), Error> {
        loop {
            match connection.next(id, self.time_left()?)? {
                None => {}
                Some(Reply::Done { ok: true, elapsed_ns, text }) => {
                    return Ok((Duration::from_nanos(elapsed_ns), text));
                }
                Some(Reply::Done { ok: false, text, .. }) => return Err(Error::Incomplete(text)),
                Some(other) => return Err(unexpected(&other)),
            }
        }
    }

    /// A reply that follows its acknowledgement at once.
    fn reply(&self, connection: &mut Connection, id: u32) -> Result<Reply, Error> {
        let patience = self.options.ack_timeout;
        connection.next(id, patience)?.ok_or(Error::NoAck(patience))
    }

    /// The one reply that follows.
    fn answer(&self, message: &Message) -> Result<Reply, Error> {
        self.retry(|| {
            let mut connection = self.connect()?;
            let (id, _) = connection.ask(message, self.token)?;
            self.reply(&mut connection, id)
        })
    }
}

fn ping(task: &Task, out: &mut Output) -> Result<(), Error> {
    let (number, mut took) = (u64::from(std::process::id()), Duration::ZERO);
    let echoed = task.retry(|| {
        let mut connection = task.connect()?;
        let asked = Instant::now();
        let (_, echoed) = connection.ask(&Message::Ping(number), None)?;
        took = asked.elapsed();
        Ok(echoed)
    })?;
    if echoed != number {
        return Err(unexpected(&Reply::Ack { number: echoed }));
    }
    let text = format!("answered in {:.1} ms\n", took.as_secs_f64() * 1e3);
    out.result(true, json!({ "elapsed_ns": nanos(took) }), &text)
}

fn status(task: &Task, out: &mut Output) -> Result<(), Error> {
    let status = match task.answer(&Message::Status)? {
        Reply::Status(status) => status,
        other => return Err(unexpected(&other)),
    };
    let Status { uptime_ns, memory_total, memory_free, cpus, running, waiting, model, model_name, kernel } =
        &status;
    let fields = json!({ "status": {
        "kernel": kernel, "uptime_ns": uptime_ns, "memory_total": memory_total, "memory_free": memory_free,
        "cpus": cpus, "running": running, "waiting": waiting, "model_state": model.name(), "model": model_name,
    } });
    let name = if model_name.is_empty() { "none" } else { model_name };
    let text = format!(
        "kernel   {kernel}\nuptime   {:.1} s\nmemory   {} MiB free of {} MiB\nCPUs     {cpus}\n\
         model    {name} ({})\nrequests {running} running, {waiting} waiting\n",
        *uptime_ns as f64 / 1e9,
        memory_free >> 20,
        memory_total >> 20,
        model.name(),
    );
    out.result(true, fields, &text)
}

/// Load and finetune: acknowledged soon, done later.
fn work(task: &Task, out: &mut Output, message: &Message) -> Result<(), Error> {
    let (mut connection, id, _) = task.begin(message)?;
    if task.options.wait_ack {
        return acknowledged(out, json!({}));
    }
    let (took, text) = task.wait_done(&mut connection, id)?;
    let shown = format!("{text} ({:.1} s)\n", took.as_secs_f64());
    out.result(true, json!({ "text": text, "elapsed_ns": nanos(took) }), &shown)
}

/// The result of `--wait-ack`.
pub(crate) fn acknowledged(out: &mut Output, mut fields: Value) -> Result<(), Error> {
    fields["acknowledged"] = json!(true);
    let number = fields.get("request").map(|number| format!(": request {number}")).unwrap_or_default();
    out.result(true, fields, &format!("acknowledged{number}\n"))
}

fn cancel(task: &Task, out: &mut Output, number: u64) -> Result<(), Error> {
    task.begin(&Message::Cancel { number })?;
    out.result(true, json!({ "request": number }), &format!("request {number} will end\n"))
}

fn audit(task: &Task, out: &mut Output, last: usize) -> Result<(), Error> {
    let mut records: Vec<Record> = Vec::new();
    while records.len() < last {
        let most = (last - records.len()).min(PAGE_RECORDS) as u16;
        let before = records.first().map_or(u64::MAX, |first| first.sequence);
        let page = match task.answer(&Message::Audit { before, most })? {
            Reply::Records(page) if page.len() <= usize::from(most) => page,
            other => return Err(unexpected(&other)),
        };
        if page.is_empty() {
            break;
        }
        if page.iter().any(|record| record.sequence >= before) {
            return Err(unexpected(&Reply::Records(page)));
        }
        records.splice(0..0, page);
    }
    let fields = records.iter().map(|r| {
        json!({
            "number": r.sequence, "ts_ns": r.ts_ns, "client": r.client, "op": r.op, "status": r.status,
            "prompt_len": r.prompt_len, "tokens": r.tokens, "wcet_cycles": r.wcet_cycles,
            "period_ns": r.period_ns, "reason": r.reason,
        })
    });
    let mut text = String::from("  number         s  client  op  status  prompt  tokens  reason\n");
    for r in &records {
        text += &format!(
            "{:>8} {:>9.3} {:>7} {:>3} {:>7} {:>7} {:>7}  {}\n",
            r.sequence,
            r.ts_ns as f64 / 1e9,
            r.client,
            r.op,
            format!("{:03b}", r.status),
            r.prompt_len,
            r.tokens,
            r.reason
        );
    }
    out.result(true, json!({ "records": fields.collect::<Vec<_>>() }), &text)
}

fn metrics(task: &Task, out: &mut Output) -> Result<(), Error> {
    let text = task.retry(|| {
        let mut connection = task.connect()?;
        let (id, _) = connection.ask(&Message::Metrics, task.token)?;
        let (mut text, mut utf8, mut expected) = (String::new(), Utf8::default(), 0);
        loop {
            match task.reply(&mut connection, id)? {
                Reply::Chunk { sequence, bytes, .. } if sequence == expected => {
                    text += &utf8.push(&bytes);
                    expected += 1;
                }
                Reply::Done { ok: true, .. } => return Ok(text + &utf8.finish()),
                Reply::Done { ok: false, text, .. } => return Err(Error::Incomplete(text)),
                other => return Err(unexpected(&other)),
            }
        }
    })?;
    out.result(true, json!({ "metrics": text }), &text)
}

pub(crate) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
