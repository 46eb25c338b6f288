//! A port, the session with its client, and the work that the client waits for.

use super::keys;
use super::receiver::Receiver;
use super::work::{self, Work};
use crate::arch::time;
use crate::drivers::virtio::console::Port;
use crate::services::slm::desk;
use alloc::vec::Vec;
use control::{Event, Session};
use llm::service::ClientId;

/// A frame that was begun is given up after this silence.
const SILENCE_NANOS: u64 = 1_000_000_000;
/// Bytes taken from a port at once.
const PIECE: usize = 256;

/// See the module.
pub struct Line {
    port: &'static Port,
    client: ClientId,
    session: Session,
    work: Vec<Work>,
    /// Which client the session is with.
    connection: u64,
    /// Bytes that the session has not taken yet.
    unread: heapless::Vec<u8, PIECE>,
    /// When the frame that was perhaps begun is given up.
    give_up_at: Option<u64>,
}

impl Line {
    /// A port that was found just now.
    pub fn new(port: &'static Port, client: ClientId) -> Self {
        Self {
            port,
            client,
            session: Session::new(client),
            work: Vec::new(),
            connection: port.connections(),
            unread: heapless::Vec::new(),
            give_up_at: None,
        }
    }

    /// Its port.
    pub fn port(&self) -> &'static Port {
        self.port
    }

    /// When it is to be served though nothing came. Where answers wait for the client to read, its silence says nothing.
    pub fn deadline(&self) -> Option<u64> {
        self.give_up_at.filter(|_| self.session.outgoing().is_empty())
    }

    /// Answers what the client has sent, and goes on with what it waits for, as far as it takes the answers.
    pub fn serve(&mut self, receiver: &mut Receiver) {
        let connection = self.port.connections();
        let gone = !self.port.is_open() && !self.work.is_empty();
        if connection != self.connection || gone {
            self.connection = connection;
            self.session.disconnected();
            self.work.clear();
            desk::leave(self.client);
            self.unread.clear();
            self.give_up_at = None;
        }
        loop {
            let all_sent = self.send();
            let worked = work::go_on(&mut self.work, &mut self.session, self.client);
            // Who does not read the answers that he has is asked for no more questions, and loses none. A stream that nobody reads is
            // something else: it does not keep its cancellation from coming.
            if self.work.iter().any(Work::is_held_up) && !all_sent {
                break;
            }
            let event = keys::with(|authority| self.session.poll(time::uptime_nanos(), authority));
            match event {
                Some(Event::Request(request)) => {
                    let (client, port) = (self.client, self.port);
                    super::answer::answer(&mut self.session, &mut self.work, client, port, request, receiver);
                }
                Some(Event::Refused(refusal)) => super::answer::audit(refusal),
                None if self.session.has_room() && self.feed() => {}
                None if worked && all_sent => {}
                None => break,
            }
        }
        self.send();
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
