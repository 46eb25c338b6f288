//! The kernel's end of the control plane: one for each port.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use thiserror::Error;

use crate::authority::{Authority, Denial};
use crate::frame::{self, Decoder, Fault, Frame, FrameError};
use crate::message::{self, Message};
use crate::reply::{FIRST_REPLY, Reason, Reply};
use crate::token::{Rights, Token};

/// Most bytes that wait to be sent. A host that never reads fills it; then it is sent nothing and heard no more.
pub const OUTGOING_LIMIT: usize = 16 * 1024;
/// Of these the bytes that only acknowledgements and refusals may use: a blocked stream does not keep
/// a cancellation from being heard.
pub const CONTROL_ROOM: usize = 4 * 1024;
/// Most inferences of one connection that have not ended.
pub const INFER_LIMIT: usize = 8;
/// Most requests of one connection that have not ended, inferences and others.
pub const LIVE_LIMIT: usize = 12;

const _: () = assert!(LIVE_LIMIT * FIRST_REPLY <= CONTROL_ROOM);

/// Names a request of one connection: a reply to one of an earlier connection reaches nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId {
    connection: u32,
    frame: u32,
}

impl RequestId {
    /// The frame's id, as the host knows it.
    pub const fn frame(self) -> u32 {
        self.frame
    }
}

/// What [`Session::poll`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// To be answered by [`Session::reply`].
    Request(Request),
    /// Refused already: for the audit.
    Refused(Refusal),
}

/// A request whose token is good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// For the replies.
    pub id: RequestId,
    /// All that its token allows.
    pub rights: Rights,
    /// What is asked. Never a ping: those are answered by the session.
    pub message: Message,
}

/// A frame that was refused, without any of its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// Whose.
    pub client: u32,
    /// The frame's type.
    pub frame: u8,
    /// Why.
    pub reason: Reason,
}

/// A request that was alive when the host went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Running {
    /// Its name; replies to it are [`ReplyError::Gone`] from now on.
    pub id: RequestId,
    /// The message's type.
    pub kind: u8,
    /// The number in its acknowledgement, if it has been acknowledged.
    pub number: Option<u64>,
}

/// A reply that was not queued; nothing has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ReplyError {
    /// Too many bytes wait already. Never for a first reply.
    #[error("the host does not read: {OUTGOING_LIMIT} bytes wait to be sent; try again after sending")]
    Full,
    /// The reply is too long for a frame.
    #[error("the reply is longer than a frame; cut it into chunks")]
    TooLong,
    /// The request has ended, or its connection has.
    #[error("the request has ended or its host is gone; stop working on it")]
    Gone,
    /// Only an ack or a refusal may come first, and neither may come later.
    #[error("a request is acknowledged or refused first, and once; this reply is out of order")]
    OutOfOrder,
}

/// What a session has seen, for the metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Sound frames received.
    pub frames: u64,
    /// Requests refused, whoever refused them.
    pub refused: u64,
    /// Of these: for their token.
    pub denied: u64,
    /// Bytes that belonged to no frame.
    pub skipped: u64,
}

/// One byte stream's state. Pings, malformed requests and bad tokens are answered here; the rest is handed on.
pub struct Session {
    client: u32,
    connection: u32,
    decoder: Decoder,
    outgoing: Vec<u8>,
    /// The largest id that a sound frame had: what is not above it is a replay.
    last_id: u32,
    live: Vec<Running>,
    counts: Counts,
}

/// Without the bytes to be sent: they are between the model and its asker.
impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Session { client, connection, live, counts, .. } = self;
        write!(f, "Session({client}, connection {connection}, {live:?}, {counts:?})")
    }
}

impl Session {
    /// The session of a port; `client` is its name in the audit and in the count of wrong tokens.
    pub fn new(client: u32) -> Self {
        Session {
            client,
            connection: 0,
            decoder: Decoder::new(),
            outgoing: Vec::with_capacity(OUTGOING_LIMIT),
            last_id: 0,
            live: Vec::with_capacity(LIVE_LIMIT),
            counts: Counts::default(),
        }
    }

    /// Takes bytes as they arrived, in pieces of any size, and says how many. Ask [`Self::poll`] until it gives
    /// `None` before feeding more; fewer than all are taken only where a frame's worth is held.
    pub fn feed(&mut self, bytes: &[u8]) -> usize {
        self.decoder.push(bytes)
    }

    /// The next thing to know; `None` when more bytes are needed, or when [`Self::has_room`] is false.
    pub fn poll(&mut self, now_ns: u64, authority: &mut Authority) -> Option<Event> {
        // The decoder lends its buffer to the frame while the rest of the session answers it.
        let mut decoder = core::mem::take(&mut self.decoder);
        let mut event = None;
        while let (None, true) = (&event, self.has_room()) {
            let Some(frame) = decoder.next() else { break };
            event = self.take(frame, now_ns, authority);
        }
        self.decoder = decoder;
        event
    }

    /// Whether another frame could be answered. Where it could not, send before you read from the host.
    pub fn has_room(&self) -> bool {
        let unanswered = self.live.iter().filter(|live| live.number.is_none()).count();
        self.outgoing.len() + (unanswered + 1) * FIRST_REPLY <= OUTGOING_LIMIT
    }

    /// To be called when the line has been silent for a while (a second): a frame that began is given up,
    /// so that the next one is not taken for its continuation. Then ask [`Self::poll`].
    pub fn idle(&mut self) {
        self.decoder.give_up();
    }

    /// The host is gone: forgets what it sent and what was to be sent, and names the requests that nobody
    /// waits for any more.
    pub fn disconnected(&mut self) -> Vec<Running> {
        self.counts.skipped = self.counts().skipped;
        self.decoder = Decoder::new();
        self.outgoing.clear();
        self.last_id = 0;
        self.connection = self.connection.wrapping_add(1);
        core::mem::replace(&mut self.live, Vec::with_capacity(LIVE_LIMIT))
    }

    /// Queues a reply. An error leaves everything as it was; after [`ReplyError::Full`] send, then try again.
    pub fn reply(&mut self, id: RequestId, reply: &Reply) -> Result<(), ReplyError> {
        let at = self.live.iter().position(|live| live.id == id).ok_or(ReplyError::Gone)?;
        let live = self.live.get_mut(at).ok_or(ReplyError::Gone)?;
        let (first, ack_only) = (live.number.is_none(), message::is_answered_by_ack(live.kind));
        let (number, is_last) = match reply {
            Reply::Ack { number } if first => (Some(*number), ack_only),
            Reply::Refused { .. } if first => (None, true),
            Reply::Ack { .. } | Reply::Refused { .. } => return Err(ReplyError::OutOfOrder),
            _ if first => return Err(ReplyError::OutOfOrder),
            Reply::Chunk { .. } => (live.number, false),
            _ => (live.number, true),
        };
        let payload = reply.payload();
        if !first && self.outgoing.len() + frame::HEADER + payload.len() > OUTGOING_LIMIT - CONTROL_ROOM {
            return Err(ReplyError::Full);
        }
        frame::encode(reply.kind(), id.frame, &payload, &mut self.outgoing)
            .map_err(|_| ReplyError::TooLong)?;
        live.number = number;
        if is_last {
            self.live.remove(at);
        }
        self.counts.refused += u64::from(matches!(reply, Reply::Refused { .. }));
        Ok(())
    }

    /// Bytes that wait to be sent.
    pub fn outgoing(&self) -> &[u8] {
        &self.outgoing
    }

    /// Says that the first `n` of [`Self::outgoing`] are sent.
    pub fn sent(&mut self, n: usize) {
        self.outgoing.drain(..n.min(self.outgoing.len()));
    }

    /// The requests that have not ended.
    pub fn live(&self) -> &[Running] {
        &self.live
    }

    /// What has been seen so far, on all connections.
    pub fn counts(&self) -> Counts {
        Counts { skipped: self.counts.skipped + self.decoder.skipped(), ..self.counts }
    }

    fn take(
        &mut self,
        frame: Result<Frame<'_>, FrameError>,
        now_ns: u64,
        authority: &mut Authority,
    ) -> Option<Event> {
        let frame = match frame {
            Ok(frame) => frame,
            Err(FrameError { kind, id, fault }) => {
                let reason = match fault {
                    Fault::Version(_) => Reason::Version,
                    Fault::TooLong(_) => Reason::TooLong,
                    Fault::Damaged => Reason::Malformed,
                };
                return Some(self.refuse(id, kind, reason, 0, fault.to_string()));
            }
        };
        self.counts.frames += 1;
        match self.judge(frame, now_ns, authority) {
            Ok(Request { message: Message::Ping(number), .. }) => {
                self.answer(frame.id, &Reply::Ack { number });
                None
            }
            Ok(request) => {
                self.live.push(Running { id: request.id, kind: frame.kind, number: None });
                Some(Event::Request(request))
            }
            Err((reason, retry_after_ms, text)) => {
                let denied = [Reason::Denied, Reason::Expired, Reason::LockedOut, Reason::Weak];
                self.counts.denied += u64::from(denied.contains(&reason) || reason == Reason::Truncated);
                Some(self.refuse(frame.id, frame.kind, reason, retry_after_ms, text))
            }
        }
    }

    /// The request in a sound frame, or why it is refused: reason, when to come back, and a sentence.
    fn judge(
        &mut self,
        frame: Frame<'_>,
        now_ns: u64,
        authority: &mut Authority,
    ) -> Result<Request, (Reason, u32, String)> {
        let refused = |reason, text: &str| (reason, 0, String::from(text));
        if frame.id <= self.last_id {
            let text =
                alloc::format!("id {} is not above {}, the last of this connection", frame.id, self.last_id);
            return Err((Reason::Replayed, 0, text));
        }
        self.last_id = frame.id;
        let needed = message::needed_rights(frame.kind)
            .ok_or_else(|| refused(Reason::Unsupported, "frames of this type are not known here"))?;
        let mut body = frame.payload;
        let mut rights = Rights::NONE;
        if needed != Rights::NONE {
            let (token, rest) = body
                .split_first_chunk()
                .ok_or_else(|| refused(Reason::Truncated, "the payload ends before its token does"))?;
            let token = Token::from_bits(u64::from_le_bytes(*token));
            rights = authority.check(token, needed, now_ns, self.client).map_err(denied)?;
            body = rest;
        }
        let message = Message::parse(frame.kind, body)
            .ok_or_else(|| refused(Reason::Malformed, "the payload is not what its type asks for"))?;
        let live = |kind| self.live.iter().filter(|live| live.kind == kind).count();
        let infers = live(INFER);
        if matches!(message, Message::Infer(_)) && infers >= INFER_LIMIT
            || !matches!(message, Message::Infer(_) | Message::Ping(_))
                && self.live.len() - infers >= LIVE_LIMIT - INFER_LIMIT
        {
            let text = "as many requests of this connection are being served as may be; wait for one to end";
            return Err(refused(Reason::Busy, text));
        }
        if let Message::Cancel { number } = message {
            let own = self.live.iter().any(|live| live.kind == INFER && live.number == Some(number));
            if !own && !rights.allow(Rights::ADMIN) {
                let text = "no inference of this number runs on this connection; another's needs ADMIN";
                return Err(refused(Reason::UnknownRequest, text));
            }
        }
        let id = RequestId { connection: self.connection, frame: frame.id };
        Ok(Request { id, rights, message })
    }

    fn refuse(&mut self, id: u32, kind: u8, reason: Reason, retry_after_ms: u32, text: String) -> Event {
        self.counts.refused += 1;
        self.answer(id, &Reply::Refused { reason, retry_after_ms, text });
        Event::Refused(Refusal { client: self.client, frame: kind, reason })
    }

    /// Queues a first reply, for which [`Self::poll`] saw that there is room.
    fn answer(&mut self, id: u32, reply: &Reply) {
        let fits = frame::encode(reply.kind(), id, &reply.payload(), &mut self.outgoing);
        debug_assert!(fits.is_ok() && self.outgoing.len() <= OUTGOING_LIMIT);
    }
}

const INFER: u8 = 0x11;

fn denied(denial: Denial) -> (Reason, u32, String) {
    let (reason, retry_after_ms) = match denial {
        Denial::Wrong => (Reason::Denied, 0),
        Denial::Expired => (Reason::Expired, 0),
        Denial::Weak => (Reason::Weak, 0),
        Denial::LockedOut { retry_after_ms } => (Reason::LockedOut, retry_after_ms),
    };
    (reason, retry_after_ms, denial.to_string())
}
