//! The host's end of the control plane.

use alloc::vec::Vec;
use core::fmt;
use thiserror::Error;

use crate::frame::{self, Decoder, PayloadTooLong};
use crate::message::Message;
use crate::reply::Reply;
use crate::token::{Rights, Token};

/// A question that was not queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum AskError {
    /// It needs a token.
    #[error("this needs a token; `ctlkey` on the kernel's console shows it")]
    NoToken,
    /// It does not fit a frame.
    #[error(transparent)]
    TooLong(#[from] PayloadTooLong),
    /// All ids of this connection are used up.
    #[error("this connection has no request ids left; connect again")]
    NoIds,
}

/// Asks and reads answers. Send what [`Client::outgoing`] holds, say [`Client::sent`], and hand what
/// arrives to [`Client::receive`]; time-outs and retries belong to the caller.
#[derive(Default)]
pub struct Client {
    decoder: Decoder,
    outgoing: Vec<u8>,
    last_id: u32,
}

/// Without the bytes, which may hold a token.
impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Client({} bytes to send)", self.outgoing.len())
    }
}

impl Client {
    /// A client that has asked nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// A client whose request ids follow `last_id`: for one that comes back to a port where answers to an
    /// earlier client may still arrive.
    pub fn starting_after(last_id: u32) -> Self {
        Client { last_id, ..Self::default() }
    }

    /// Queues a request; returns its id. Ids grow, as the kernel wants them.
    pub fn ask(&mut self, message: &Message, token: Option<Token>) -> Result<u32, AskError> {
        let token = match token {
            Some(token) => token,
            None if message.needed_rights() == Rights::NONE => Token::from_bits(0),
            None => return Err(AskError::NoToken),
        };
        let id = self.last_id.checked_add(1).ok_or(AskError::NoIds)?;
        frame::encode(message.kind(), id, &message.payload(token), &mut self.outgoing)?;
        self.last_id = id;
        Ok(id)
    }

    /// Bytes that wait to be sent.
    pub fn outgoing(&self) -> &[u8] {
        &self.outgoing
    }

    /// Says that the first `n` of [`Self::outgoing`] are sent.
    pub fn sent(&mut self, n: usize) {
        self.outgoing.drain(..n.min(self.outgoing.len()));
    }

    /// Takes bytes as they arrived and calls `each` with id and reply for every sound one. What is
    /// damaged is passed over: the request it answered runs into its caller's time-out.
    pub fn receive(&mut self, mut bytes: &[u8], mut each: impl FnMut(u32, Reply)) {
        loop {
            let taken = self.decoder.push(bytes);
            bytes = bytes.get(taken..).unwrap_or_default();
            while let Some(frame) = self.decoder.next() {
                let reply = frame.ok().and_then(|f| Some((f.id, Reply::parse(f.kind, f.payload)?)));
                if let Some((id, reply)) = reply {
                    each(id, reply);
                }
            }
            if bytes.is_empty() {
                return;
            }
        }
    }
}
