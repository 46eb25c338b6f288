//! The control plane on the ports of virtio-consoles: programs outside ask, the kernel answers.
//!
//! One thread serves all ports, each with a session of its own, which begins anew with each client. A port whose client does not
//! read what it asked for is not read either, until it does; the others are served meanwhile.
//!
//! No tokens are given out yet, so pings and status questions are answered and all else is refused by the session.

use super::slm;
use crate::arch::{percpu, time};
use crate::drivers::virtio::console::{self, Port};
use crate::memory::frames;
use crate::tasks::{self, SpawnError};
use alloc::vec::Vec;
use control::{Authority, Event, Message, ModelState, Reason, Reply, Request, Session, Status};
use shell::slm::SlmState;

/// A frame that was begun is given up after this silence.
const SILENCE_NANOS: u64 = 1_000_000_000;
/// Bytes taken from a port at once.
const PIECE: usize = 256;

/// Starts the thread, if there is a console.
pub fn start() -> Result<(), SpawnError> {
    if console::is_present() {
        tasks::spawn("control", tasks::Options::default(), serve)?;
    }
    Ok(())
}

fn serve() {
    let mut authority = Authority::new();
    let mut lines: Vec<Line> = Vec::new();
    loop {
        for port in console::ports() {
            if !lines.iter().any(|line| core::ptr::eq(line.port, port)) {
                lines.push(Line::new(port, lines.len() as u32));
            }
        }
        lines.iter_mut().for_each(|line| line.serve(&mut authority));
        // Where answers wait for the client to read, its silence says nothing.
        let heard = lines.iter().filter(|line| line.session.outgoing().is_empty());
        let deadline = heard.filter_map(|line| line.give_up_at).min();
        console::wait(deadline, || false);
    }
}

/// A port, and the session with its client.
struct Line {
    port: &'static Port,
    session: Session,
    /// Which client the session is with.
    connection: u64,
    /// Bytes that the session has not taken yet.
    unread: heapless::Vec<u8, PIECE>,
    /// When the frame that was perhaps begun is given up.
    give_up_at: Option<u64>,
}

impl Line {
    fn new(port: &'static Port, client: u32) -> Self {
        let connection = port.connections();
        Self {
            port,
            session: Session::new(client),
            connection,
            unread: heapless::Vec::new(),
            give_up_at: None,
        }
    }

    /// Answers what the client has sent, for as long as it takes the answers.
    fn serve(&mut self, authority: &mut Authority) {
        let connection = self.port.connections();
        if connection != self.connection {
            self.connection = connection;
            // Nothing of it runs on: what is asked is answered at once.
            self.session.disconnected();
            self.unread.clear();
            self.give_up_at = None;
        }
        while self.send() {
            if let Some(event) = self.session.poll(time::uptime_nanos(), authority) {
                if let Event::Request(request) = event {
                    answer(&mut self.session, &request);
                }
            } else if self.session.outgoing().is_empty() && !self.feed() {
                return;
            }
        }
    }

    /// Sends what is to be sent; whether all of it is.
    fn send(&mut self) -> bool {
        let sent = self.port.write(self.session.outgoing());
        self.session.sent(sent);
        self.session.outgoing().is_empty()
    }

    /// Feeds the session with what the client has sent, or with its silence. `false` when there is neither.
    fn feed(&mut self) -> bool {
        if self.unread.is_empty() {
            let mut bytes = [0; PIECE];
            let count = self.port.read(&mut bytes);
            let _ = self.unread.extend_from_slice(&bytes[..count]);
        }
        let now = time::uptime_nanos();
        if self.unread.is_empty() {
            let silent = self.give_up_at.is_some_and(|at| now >= at);
            if silent {
                self.session.idle();
                self.give_up_at = None;
            }
            return silent;
        }
        let taken = self.session.feed(&self.unread);
        self.unread.rotate_left(taken);
        self.unread.truncate(self.unread.len() - taken);
        self.give_up_at = Some(now.saturating_add(SILENCE_NANOS));
        true
    }
}

fn answer(session: &mut Session, request: &Request) {
    let answered = match request.message {
        Message::Status => session
            .reply(request.id, &Reply::Ack { number: 0 })
            .and_then(|()| session.reply(request.id, &Reply::Status(status()))),
        _ => {
            let text = "this kernel takes questions on its console only";
            session.reply(request.id, &Reply::refused(Reason::Unsupported, text))
        }
    };
    if let Err(error) = answered {
        log::warn!("control: {error}");
    }
}

fn status() -> Status {
    let memory = frames::stats();
    let slm = slm::status();
    Status {
        uptime_ns: time::uptime_nanos(),
        memory_total: super::system::total_memory(),
        memory_free: memory.free_bytes(),
        cpus: u16::try_from(percpu::count()).unwrap_or(u16::MAX),
        running: 0,
        waiting: 0,
        model: match (&slm.state, &slm.model) {
            (SlmState::Loaded, _) => ModelState::Ready,
            (SlmState::Unloaded { .. }, Some(_)) if slm::load_failed() => ModelState::Failed,
            _ => ModelState::None,
        },
        model_name: slm.model.map(|model| model.name).unwrap_or_default(),
        kernel: env!("CARGO_PKG_VERSION").into(),
    }
}
