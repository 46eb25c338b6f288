//! `cargo xtask datactl`: asks a running kernel over its control plane, which `cargo xtask run --control-socket PATH`
//! serves on a Unix socket.

use anyhow::{Context, Result, bail};
use clap::Subcommand;
use control::{Client, Message, Reply};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// What can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Whether the kernel answers, and how fast.
    Ping,
    /// Uptime, memory, CPUs and model.
    Status,
}

/// Sends one request to the kernel behind `socket` and prints its answer.
pub fn run(socket: &Path, command: &Command) -> Result<()> {
    let stream = UnixStream::connect(socket)
        .with_context(|| format!("{} does not take connections; is the kernel running?", socket.display()))?;
    println!("{}", ask(stream, *command, PATIENCE)?);
    Ok(())
}

fn ask(mut stream: UnixStream, command: Command, patience: Duration) -> Result<String> {
    // Answers to an earlier client may still arrive; theirs have other numbers.
    let mut client = Client::starting_after(std::process::id().wrapping_mul(1000));
    let asked = Instant::now();
    let message = match command {
        Command::Ping => Message::Ping(u64::from(std::process::id())),
        Command::Status => Message::Status,
    };
    let id = client.ask(&message, None)?;
    stream.write_all(client.outgoing()).context("the request cannot be sent")?;
    client.sent(client.outgoing().len());
    let mut buffer = [0; 1024];
    let mut answer = None;
    while answer.is_none() {
        let left = patience.saturating_sub(asked.elapsed());
        if left.is_zero() {
            bail!("the kernel did not answer within {patience:?}");
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut buffer) {
            Ok(0) => bail!("the connection was closed before an answer came"),
            Ok(n) => client.receive(&buffer[..n], |from, reply| {
                let ack_is_all = control::message::is_answered_by_ack(message.kind());
                if from == id && (ack_is_all || !matches!(reply, Reply::Ack { .. })) {
                    answer = Some(reply);
                }
            }),
            Err(error)
                if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {}
            Err(error) => return Err(error).context("the connection broke"),
        }
    }
    match answer {
        Some(reply) => describe(reply, asked.elapsed()),
        None => bail!("no answer came"),
    }
}

fn describe(reply: Reply, took: Duration) -> Result<String> {
    match reply {
        Reply::Ack { .. } => Ok(format!("answered in {:.1} ms", took.as_secs_f64() * 1e3)),
        Reply::Status(status) => {
            let model = if status.model_name.is_empty() { "none" } else { &status.model_name };
            Ok(format!(
                "kernel   {}\nuptime   {:.1} s\nmemory   {} MiB free of {} MiB\nCPUs     {}\nmodel    {model} ({:?})",
                status.kernel,
                status.uptime_ns as f64 / 1e9,
                status.memory_free >> 20,
                status.memory_total >> 20,
                status.cpus,
                status.model,
            ))
        }
        Reply::Refused { text, .. } => bail!("the kernel refused: {text}"),
        other => bail!("the kernel gave an answer that does not belong to this request: {other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use control::{Authority, Event, ModelState, Session, Status};

    /// The kernel's end of a socket, answering requests until the other end closes.
    fn kernel(mut stream: UnixStream) {
        let (mut session, mut authority) = (Session::new(0), Authority::new());
        let mut buffer = [0; 256];
        while let Ok(n @ 1..) = stream.read(&mut buffer) {
            assert_eq!(session.feed(&buffer[..n]), n);
            while let Some(event) = session.poll(0, &mut authority) {
                if let Event::Request(request) = event {
                    let status = Status {
                        uptime_ns: 2_500_000_000,
                        memory_total: 1 << 30,
                        memory_free: 1 << 29,
                        cpus: 2,
                        running: 0,
                        waiting: 0,
                        model: ModelState::None,
                        model_name: String::new(),
                        kernel: "0.1.0".to_owned(),
                    };
                    session.reply(request.id, &Reply::Ack { number: 0 }).unwrap();
                    session.reply(request.id, &Reply::Status(status)).unwrap();
                }
            }
            stream.write_all(session.outgoing()).unwrap();
            session.sent(session.outgoing().len());
        }
    }

    #[test]
    fn a_kernel_is_asked() {
        let answer = |command| {
            let (ours, theirs) = UnixStream::pair().unwrap();
            let kernel = std::thread::spawn(move || kernel(theirs));
            let text = ask(ours, command, PATIENCE).unwrap();
            kernel.join().unwrap();
            text
        };
        let text = answer(Command::Status);
        assert!(text.contains("512 MiB free of 1024 MiB") && text.contains("uptime   2.5 s"), "{text}");
        assert!(answer(Command::Ping).starts_with("answered in"));
    }

    #[test]
    fn silence_has_an_end() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let error = ask(ours, Command::Ping, Duration::from_millis(20)).unwrap_err().to_string();
        assert!(error.contains("did not answer"), "{error}");
    }
}
