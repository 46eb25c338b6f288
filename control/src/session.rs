//! The kernel's end of the control plane.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use thiserror::Error;

use crate::frame::{self, Decoder, FrameError};
use crate::message::{Message, Reason, Reply};
use crate::token::{Keys, Rights};

/// Most bytes that wait to be sent. A host that never reads fills it and then gets nothing more.
pub const OUTGOING_LIMIT: usize = 16 * 1024;

/// A request for the kernel to answer by [`Session::reply`] with the same id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Answer by [`Reply::Status`].
    Status {
        /// For the reply.
        id: u32,
    },
    /// Ask the model; the token has been checked. Answer by chunks and an end, or a refusal.
    Infer {
        /// For the replies.
        id: u32,
        /// The question.
        prompt: String,
        /// Most tokens to generate.
        max_tokens: u32,
    },
    /// End the running inference soon; its [`Reply::End`] is the answer.
    Cancel {
        /// Id of the inference.
        id: u32,
    },
}

/// A reply that was not queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ReplyError {
    /// Too many bytes wait already.
    #[error("the host does not read: {OUTGOING_LIMIT} bytes wait to be sent; try again after sending")]
    Full,
    /// The reply is too long for a frame.
    #[error("the reply is longer than a frame; cut it into chunks")]
    TooLong,
}

/// What a session has seen, for the metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Sound frames received.
    pub frames: u64,
    /// Requests refused, whoever refused them.
    pub refused: u64,
    /// Of these: for a wrong or too weak token.
    pub denied: u64,
    /// Replies lost because the host did not read.
    pub dropped: u64,
}

/// One byte stream's state. Pings, malformed requests and wrong tokens are answered here; the rest
/// is handed on as [`Request`]s.
#[derive(Debug)]
pub struct Session {
    decoder: Decoder,
    keys: Keys,
    outgoing: Vec<u8>,
    running: Option<u32>,
    counts: Counts,
}

impl Session {
    /// A session that knows these tokens.
    pub fn new(keys: Keys) -> Self {
        let outgoing = Vec::with_capacity(OUTGOING_LIMIT);
        Session { decoder: Decoder::new(), keys, outgoing, running: None, counts: Counts::default() }
    }

    /// Replaces the tokens: the old ones are refused from now on.
    pub fn set_keys(&mut self, keys: Keys) {
        self.keys = keys;
    }

    /// Takes bytes as they arrived, in pieces of any size, and calls `each` for every request in them.
    pub fn receive(&mut self, bytes: &[u8], mut each: impl FnMut(Request)) {
        // The decoder lends its buffer to the frames while the rest of the session answers them.
        let mut decoder = core::mem::take(&mut self.decoder);
        decoder.feed(bytes, |frame| self.take(frame, &mut each));
        self.decoder = decoder;
    }

    /// To be called when the line has been silent for a while (a second): a frame that began is given up,
    /// so that the next one is not taken for its continuation.
    pub fn idle(&mut self, mut each: impl FnMut(Request)) {
        let mut decoder = core::mem::take(&mut self.decoder);
        decoder.give_up(|frame| self.take(frame, &mut each));
        self.decoder = decoder;
    }

    /// Queues a reply. [`ReplyError::Full`] leaves everything as it was: send, then try again.
    pub fn reply(&mut self, id: u32, reply: &Reply) -> Result<(), ReplyError> {
        let payload = reply.payload();
        if self.outgoing.len() + frame::HEADER + payload.len() > OUTGOING_LIMIT {
            return Err(ReplyError::Full);
        }
        frame::encode(reply.kind(), id, &payload, &mut self.outgoing).map_err(|_| ReplyError::TooLong)?;
        if reply.is_last() && self.running == Some(id) {
            self.running = None;
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

    /// The id of the inference that has not ended.
    pub fn running(&self) -> Option<u32> {
        self.running
    }

    /// What has been seen so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    fn take(&mut self, frame: Result<frame::Frame<'_>, FrameError>, each: &mut impl FnMut(Request)) {
        let frame = match frame {
            Ok(frame) => frame,
            Err(fault) => {
                let (reason, id) = match fault {
                    FrameError::Version { id, .. } => (Reason::Version, id),
                    FrameError::TooLong { id, .. } | FrameError::Damaged { id } => (Reason::Malformed, id),
                };
                return self.refuse(id, reason, &fault.to_string());
            }
        };
        self.counts.frames += 1;
        let id = frame.id;
        match Message::parse(frame.kind, frame.payload) {
            Some(Message::Ping(number)) => self.answer(id, &Reply::Pong(number)),
            Some(Message::Status) => each(Request::Status { id }),
            Some(Message::Infer { token, max_tokens, prompt }) => {
                if !self.keys.rights(token).allow(Rights::SUBMIT) {
                    self.counts.denied += 1;
                    self.refuse(id, Reason::Denied, "the token is unknown or has no SUBMIT right");
                } else if let Some(running) = self.running {
                    let text =
                        alloc::format!("request {running} is still being answered; ask again after it");
                    self.refuse(id, Reason::Busy, &text);
                } else {
                    self.running = Some(id);
                    each(Request::Infer { id, prompt, max_tokens });
                }
            }
            Some(Message::Cancel) if self.running == Some(id) => each(Request::Cancel { id }),
            Some(Message::Cancel) => self.refuse(id, Reason::UnknownRequest, "no such request is running"),
            None => self.refuse(id, Reason::Malformed, "the request's type or payload is not understood"),
        }
    }

    fn refuse(&mut self, id: u32, reason: Reason, text: &str) {
        let refusal = Reply::Refused { reason, text: text.into() };
        // A refusal must not end the inference whose id it happens to carry.
        let running = self.running;
        self.answer(id, &refusal);
        self.running = running;
    }

    fn answer(&mut self, id: u32, reply: &Reply) {
        if self.reply(id, reply).is_err() {
            self.counts.dropped += 1;
        }
    }
}
