//! The control plane on COM2: a program outside asks, the kernel answers.
//!
//! No tokens are given out yet, so pings and status questions are answered and all else is refused by the session.

use super::slm;
use crate::arch::{percpu, time};
use crate::drivers::serial::COM2;
use crate::memory::frames;
use crate::tasks::{self, SpawnError};
use control::{Authority, Event, Message, ModelState, Reason, Reply, Request, Session, Status};
use shell::slm::SlmState;

/// A frame that was begun is given up after this silence.
const SILENCE_NANOS: u64 = 1_000_000_000;
/// Bytes taken from the port at once.
const PIECE: usize = 256;

/// Starts the thread, if there is a COM2.
pub fn start() -> Result<(), SpawnError> {
    if COM2.is_present() {
        tasks::spawn("control", tasks::Options::default(), serve)?;
    }
    Ok(())
}

fn serve() {
    let mut authority = Authority::new();
    let mut session = Session::new(0);
    // Whether a frame may have been begun: only then is there something to give up.
    let mut fresh = false;
    loop {
        let deadline = fresh.then(|| time::uptime_nanos().saturating_add(SILENCE_NANOS));
        let mut bytes = heapless::Vec::<u8, PIECE>::new();
        match COM2.read(deadline) {
            Some(first) => {
                let _ = bytes.push(first);
                while let (false, Some(byte)) = (bytes.is_full(), COM2.pop()) {
                    let _ = bytes.push(byte);
                }
                fresh = true;
            }
            None => {
                session.idle();
                fresh = false;
            }
        }
        let mut rest = bytes.as_slice();
        loop {
            let taken = session.feed(rest);
            rest = rest.get(taken..).unwrap_or_default();
            while let Some(event) = session.poll(time::uptime_nanos(), &mut authority) {
                if let Event::Request(request) = event {
                    answer(&mut session, &request);
                }
            }
            let blocked = !session.has_room();
            send(&mut session);
            if rest.is_empty() && !blocked {
                break;
            }
        }
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

fn send(session: &mut Session) {
    let len = session.outgoing().len();
    COM2.write(session.outgoing());
    session.sent(len);
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
