//! A kernel's end of the control plane on a Unix socket: the true session and authority, and a model that answers with
//! the words of its prompt, one a chunk.

use control::message::MAX_UPLOAD_CHUNK;
use control::reply::CHUNK_LIMIT;
use control::{
    Authority, End, EndReason, Event, Infer, Kind, Message, ModelState, Reason, Record, Reply, Request,
    RequestId, Session, Status, Upload,
};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What is wrong with this kernel.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    /// So many connections are taken and never read.
    pub deaf: u32,
    /// So many are closed at once, after the deaf ones.
    pub closed: u32,
    /// The connection closes at the first upload chunk that would go past this offset.
    pub upload_breaks_at: Option<u64>,
}

pub struct Kernel {
    pub path: PathBuf,
    pub admin: String,
    pub submit: String,
    pub uploaded: Arc<Mutex<Vec<u8>>>,
    /// Inferences that were acknowledged.
    pub begun: Arc<AtomicU32>,
}

impl Kernel {
    pub fn start(name: &str, faults: Faults) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.sock"));
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).unwrap();
        let mut authority = Authority::new();
        let admin = authority.rotate(Kind::Admin, 0xa11ce).unwrap().reveal().to_string();
        let submit = authority.rotate(Kind::Submit, 0xb0b).unwrap().reveal().to_string();
        let (uploaded, begun) = (Arc::default(), Arc::default());
        let mut machine = Machine {
            authority,
            faults,
            upload: None,
            uploaded: Arc::clone(&uploaded),
            begun: Arc::clone(&begun),
        };
        std::thread::spawn(move || {
            let mut deaf = Vec::new();
            for (n, stream) in (0..).zip(listener.incoming()) {
                match stream.unwrap() {
                    stream if n < faults.deaf => deaf.push(stream),
                    stream if n < faults.deaf + faults.closed => drop(stream),
                    stream => machine.serve(stream),
                }
            }
        });
        Kernel { path, admin, submit, uploaded, begun }
    }
}

struct Machine {
    authority: Authority,
    faults: Faults,
    upload: Option<Upload>,
    uploaded: Arc<Mutex<Vec<u8>>>,
    begun: Arc<AtomicU32>,
}

/// An answer on its way.
struct Running {
    id: RequestId,
    number: u64,
    infer: Infer,
    words: Vec<String>,
    sent: u32,
    cancelled: bool,
}

impl Machine {
    /// Serves one connection until it ends or is to break.
    fn serve(&mut self, mut stream: UnixStream) {
        stream.set_read_timeout(Some(Duration::from_millis(2))).unwrap();
        let mut session = Session::new(1);
        let mut running: Vec<Running> = Vec::new();
        let mut buffer = [0; 512];
        loop {
            match stream.read(&mut buffer) {
                Ok(0) => return,
                Ok(n) => {
                    let mut rest = &buffer[..n];
                    while !rest.is_empty() {
                        rest = &rest[session.feed(rest)..];
                        while let Some(event) = session.poll(0, &mut self.authority) {
                            if let Event::Request(request) = event
                                && !self.answer(&mut session, request, &mut running)
                            {
                                return;
                            }
                        }
                    }
                }
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(_) => return,
            }
            running.retain_mut(|answer| answer.step(&mut session));
            if running.iter().any(|answer| answer.infer.prompt == "break" && answer.sent > 0) {
                let _ = stream.write_all(session.outgoing());
                return;
            }
            if stream.write_all(session.outgoing()).is_err() {
                return;
            }
            session.sent(session.outgoing().len());
        }
    }

    /// `false` where the connection is to break.
    fn answer(&mut self, session: &mut Session, request: Request, running: &mut Vec<Running>) -> bool {
        let id = request.id;
        let mut reply = |reply: Reply| session.reply(id, &reply).unwrap();
        let done = |ok, text: &str| Reply::Done { ok, elapsed_ns: 7, text: text.into() };
        const ACK: Reply = Reply::Ack { number: 0 };
        match request.message {
            Message::Status => {
                reply(ACK);
                reply(Reply::Status(Status {
                    uptime_ns: 2_500_000_000,
                    memory_total: 1 << 30,
                    memory_free: 1 << 29,
                    cpus: 2,
                    running: running.len() as u16,
                    waiting: 0,
                    model: ModelState::Ready,
                    model_name: "SmolLM2".into(),
                    kernel: "0.1.0".into(),
                }));
            }
            Message::Load { name, .. } => {
                reply(ACK);
                reply(if name == "missing" {
                    done(false, "there is no such model")
                } else {
                    done(true, "loaded")
                });
            }
            Message::Infer(infer) if infer.prompt == "busy" => {
                reply(Reply::Refused {
                    reason: Reason::Busy,
                    retry_after_ms: 50,
                    text: "the queue is full".into(),
                });
            }
            Message::Infer(infer) => {
                let number = u64::from(self.begun.fetch_add(1, Ordering::SeqCst)) + 1;
                reply(Reply::Ack { number });
                let words = infer.prompt.split_inclusive(' ').map(str::to_owned).rev().collect();
                running.push(Running { id, number, infer, words, sent: 0, cancelled: false });
            }
            Message::Cancel { number } => {
                reply(ACK);
                running.iter_mut().for_each(|answer| answer.cancelled |= answer.number == number);
            }
            Message::Audit { before, most } => {
                // 130 operations have been: the page before `before`.
                let end = before.min(131);
                let page = (end.saturating_sub(u64::from(most)).max(1)..end).map(|sequence| Record {
                    sequence,
                    op: 3,
                    status: 0b010,
                    client: 1,
                    prompt_len: 12,
                    reason: Reason::Busy.name().into(),
                    ..Record::default()
                });
                reply(ACK);
                reply(Reply::Records(page.collect()));
            }
            Message::Metrics => {
                reply(ACK);
                let text = "# HELP speed café\nspeed 1\n".repeat(200);
                for (sequence, bytes) in (0..).zip(text.as_bytes().chunks(CHUNK_LIMIT - 1)) {
                    reply(Reply::Chunk { sequence, tokens: 0, bytes: bytes.into() });
                }
                reply(done(true, ""));
            }
            Message::UploadBegin { size, sha256, name } => {
                let again = self.upload.take().filter(|upload| upload.is_same(&name, size, &sha256));
                if again.is_none() {
                    self.uploaded.lock().unwrap().clear();
                }
                let upload = self.upload.insert(again.unwrap_or_else(|| Upload::new(name, size, sha256)));
                reply(Reply::Ack { number: upload.received() });
            }
            Message::UploadChunk { offset, bytes } => {
                assert!(bytes.len() <= MAX_UPLOAD_CHUNK);
                if self.faults.upload_breaks_at.is_some_and(|at| offset + bytes.len() as u64 > at) {
                    self.faults.upload_breaks_at = None;
                    return false;
                }
                let upload = self.upload.as_mut().unwrap();
                match upload.take(offset, &bytes) {
                    Ok(new) => {
                        self.uploaded.lock().unwrap().extend_from_slice(&bytes[bytes.len() - new..]);
                        reply(Reply::Ack { number: upload.received() });
                    }
                    Err(error) => reply(Reply::refused(Reason::OutOfOrder, error.to_string())),
                }
            }
            Message::UploadEnd => {
                let result = self.upload.take().unwrap().verify();
                reply(ACK);
                reply(match result {
                    Ok(()) => done(true, "stored"),
                    Err(error) => done(false, &error.to_string()),
                });
            }
            Message::Finetune { .. } => reply(Reply::refused(Reason::Unsupported, "no training here yet")),
            Message::Ping(_) => unreachable!("the session answers pings"),
        }
        true
    }
}

impl Running {
    /// Sends the next chunk or the end; `false` when it is over.
    fn step(&mut self, session: &mut Session) -> bool {
        let word = match self.infer.prompt.as_str() {
            // An answer without end.
            "forever" => Some("on ".to_owned()),
            _ => self.words.pop(),
        };
        let reason = match (self.cancelled, &word, self.infer.prompt.as_str()) {
            (true, ..) => Some(EndReason::Cancelled),
            (_, _, "late") => Some(EndReason::Deadline),
            (_, None, _) => Some(EndReason::Finished),
            _ if self.sent == self.infer.max_tokens => Some(EndReason::MaxTokens),
            _ => None,
        };
        if let Some(reason) = reason {
            let end = End { reason, tokens: self.sent, elapsed_ns: 9, first_token_ns: 3 };
            session.reply(self.id, &Reply::End(end)).unwrap();
            return false;
        }
        let bytes = word.unwrap_or_default().into_bytes();
        session.reply(self.id, &Reply::Chunk { sequence: self.sent, tokens: 1, bytes }).unwrap();
        self.sent += 1;
        true
    }
}
