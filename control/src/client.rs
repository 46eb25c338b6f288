//! The host's end of the control plane.

use alloc::string::String;
use alloc::vec::Vec;

use crate::frame::{self, Decoder, PayloadTooLong};
use crate::message::{Message, Reply};
use crate::token::Token;

/// Asks and reads answers. Send what [`Client::outgoing`] holds, say [`Client::sent`], and hand what
/// arrives to [`Client::receive`]; time-outs and retries belong to the caller.
#[derive(Debug, Default)]
pub struct Client {
    decoder: Decoder,
    outgoing: Vec<u8>,
    last_id: u32,
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

    /// Queues a ping; returns the request's id.
    pub fn ping(&mut self, number: u64) -> u32 {
        self.short(&Message::Ping(number))
    }

    /// Queues a status request; returns its id.
    pub fn status(&mut self) -> u32 {
        self.short(&Message::Status)
    }

    /// Queues a question; returns the request's id, or an error where the prompt is too long for a frame.
    pub fn infer(&mut self, token: Token, prompt: &str, max_tokens: u32) -> Result<u32, PayloadTooLong> {
        let message = Message::Infer { token, max_tokens, prompt: String::from(prompt) };
        let id = self.next_id();
        frame::encode(message.kind(), id, &message.payload(), &mut self.outgoing).map(|()| id)
    }

    /// Queues the cancellation of a question.
    pub fn cancel(&mut self, id: u32) {
        self.put(id, &Message::Cancel);
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
    pub fn receive(&mut self, bytes: &[u8], mut each: impl FnMut(u32, Reply)) {
        self.decoder.feed(bytes, |frame| {
            if let Some((id, reply)) = frame.ok().and_then(|f| Some((f.id, Reply::parse(f.kind, f.payload)?)))
            {
                each(id, reply);
            }
        });
    }

    fn next_id(&mut self) -> u32 {
        self.last_id = self.last_id.wrapping_add(1);
        self.last_id
    }

    fn short(&mut self, message: &Message) -> u32 {
        let id = self.next_id();
        self.put(id, message);
        id
    }

    /// Queues a message whose payload has a fixed, small size, so that it always fits.
    fn put(&mut self, id: u32, message: &Message) {
        let fits = frame::encode(message.kind(), id, &message.payload(), &mut self.outgoing);
        debug_assert!(fits.is_ok());
    }
}
