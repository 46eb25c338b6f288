//! A question, and its answer as it comes.

use crate::cli::InferOptions;
use crate::connection::{Connection, unexpected};
use crate::error::Error;
use crate::output::Output;
use crate::run::{Task, acknowledged};
use crate::text::Utf8;
use control::message::MAX_PROMPT;
use control::{End, EndReason, Infer, Message, Reply};
use indicatif::ProgressBar;
use serde_json::json;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

pub fn infer(task: &Task, out: &mut Output, question: &InferOptions) -> Result<(), Error> {
    if question.prompt.len() > MAX_PROMPT {
        let text = format!("the prompt has {} bytes; {MAX_PROMPT} are the most", question.prompt.len());
        return Err(Error::Usage(text));
    }
    let message = Message::Infer(Infer {
        max_tokens: question.max_tokens,
        chunk_tokens: question.chunk,
        priority: question.priority.into(),
        stream: question.stream,
        deadline_ms: question.deadline_ms,
        prompt: question.prompt.clone(),
    });
    let interrupted = on_interrupt()?;
    let (connection, id, number) = task.begin(&message)?;
    if task.options.wait_ack {
        return acknowledged(out, json!({ "request": number }));
    }
    if question.stream {
        out.event("ack", json!({ "request": number }))?;
    }
    let spinner = if out.is_json() { ProgressBar::hidden() } else { ProgressBar::new_spinner() };
    spinner.set_message("waiting for the first token");
    spinner.enable_steady_tick(Duration::from_millis(100));
    let mut answer = Answer { number, text: String::new(), utf8: Utf8::default(), chunks: 0 };
    let ended = answer.receive(task, connection, id, out, question.stream, &spinner, &interrupted);
    spinner.finish_and_clear();
    answer.print(out, question.stream, ended?)
}

/// What has come so far.
struct Answer {
    number: u64,
    text: String,
    utf8: Utf8,
    chunks: u32,
}

impl Answer {
    #[expect(clippy::too_many_arguments, reason = "one call, and each is of another kind")]
    fn receive(
        &mut self,
        task: &Task,
        mut connection: Connection,
        id: u32,
        out: &mut Output,
        stream: bool,
        spinner: &ProgressBar,
        interrupted: &AtomicBool,
    ) -> Result<End, Error> {
        let cancel = Message::Cancel { number: self.number };
        let mut cancelled = false;
        loop {
            let left = match task.time_left() {
                Ok(left) => left,
                Err(late) => {
                    // The kernel is told; what it says to that changes nothing.
                    let _ = connection.ask(&cancel, task.token);
                    return Err(late);
                }
            };
            if interrupted.load(Ordering::Relaxed) && !cancelled {
                cancelled = true;
                connection.send(&cancel, task.token)?;
            }
            match connection.next(id, left)? {
                None => {}
                Some(Reply::Chunk { sequence, tokens, bytes }) => {
                    if sequence != self.chunks {
                        let text = format!("chunk {sequence} came where {} was due", self.chunks);
                        return Err(Error::Broken(io::Error::new(io::ErrorKind::InvalidData, text)));
                    }
                    self.chunks += 1;
                    spinner.finish_and_clear();
                    let piece = self.utf8.push(&bytes);
                    self.text += &piece;
                    if stream {
                        out.event("chunk", json!({ "sequence": sequence, "tokens": tokens, "text": piece }))?;
                        if !out.is_json() {
                            out.text(&piece)?;
                        }
                    }
                }
                Some(Reply::End(end)) => return Ok(end),
                Some(other) => return Err(unexpected(&other)),
            }
        }
    }

    fn print(&mut self, out: &mut Output, streamed: bool, end: End) -> Result<(), Error> {
        let rest = self.utf8.finish();
        self.text += &rest;
        let complete = matches!(end.reason, EndReason::Finished | EndReason::MaxTokens);
        let fields = json!({
            "request": self.number, "answer": self.text, "chunks": self.chunks, "reason": end.reason.name(),
            "tokens": end.tokens, "elapsed_ns": end.elapsed_ns, "first_token_ns": end.first_token_ns,
        });
        let shown = if streamed { format!("{rest}\n") } else { format!("{}\n", self.text) };
        out.result(complete, fields, &shown)?;
        if !out.is_json() {
            let (elapsed, first) = (end.elapsed_ns as f64 / 1e9, end.first_token_ns as f64 / 1e9);
            eprintln!(
                "{} tokens in {elapsed:.2} s ({:.1}/s), the first after {first:.2} s; ended: {}",
                end.tokens,
                f64::from(end.tokens) / elapsed.max(1e-9),
                end.reason.name()
            );
        }
        match complete {
            true => Ok(()),
            false => Err(Error::Incomplete(format!("the answer is not complete: {}", end.reason.name()))),
        }
    }
}

/// Set by the first Ctrl-C; the second ends the program.
fn on_interrupt() -> Result<Arc<AtomicBool>, Error> {
    use signal_hook::consts::SIGINT;
    let flag = Arc::new(AtomicBool::new(false));
    // In this order: the first signal finds the flag unset, and sets it.
    signal_hook::flag::register_conditional_shutdown(SIGINT, 130, Arc::clone(&flag))
        .and_then(|_| signal_hook::flag::register(SIGINT, Arc::clone(&flag)))
        .map_err(|source| Error::Local { what: "Ctrl-C cannot be handled".into(), source })?;
    Ok(flag)
}
