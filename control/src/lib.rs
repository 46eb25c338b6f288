#![no_std]
#![forbid(unsafe_code)]
//! The control plane: how a program outside drives the kernel over a byte stream (a virtio-console port, a socket).
//!
//! The same code runs at both ends and does no input or output itself: bytes go in, requests or replies
//! come out, and bytes to send are fetched (the "sans-I/O" style). [`Session`] is the kernel's end of one port,
//! [`Authority`] the tokens that all of them share, [`Client`] the host's end.
//!
//! Principles
//! 1. A length is believed only after its checksum holds, so noise on the line costs the damaged frame
//!    and nothing after it.
//! 2. Memory is bounded at both ends: one frame being received, [`session::OUTGOING_LIMIT`] bytes being sent,
//!    [`session::LIVE_LIMIT`] requests being served. A frame is taken only when there is room to answer it.
//! 3. Every frame whose header holds is answered by one [`Reply::Ack`], before work begins, or one
//!    [`Reply::Refused`] with the reason.
//! 4. Rights come from a secret token in each frame that needs one, compared in constant time; no `Debug` prints
//!    it. Wrong ones lock out for longer and longer.
//! 5. The ids of a connection grow: a frame sent again, by whomever, is refused.
//!
//! Every frame is [`frame`]'s 24 bytes of header and a payload. Numbers are little-endian; `token` is 8 bytes; a text at
//! a payload's end has no length before it.
//!
//! | type | request | needs | payload | answer after the ack |
//! |---|---|---|---|---|
//! | 0x01 | ping | – | number u64 | none; the ack carries the number |
//! | 0x02 | status | – | – | 0x82 status |
//! | 0x10 | load | ADMIN | token, wcet_cycles u64 (0: measure), name | 0x9F done |
//! | 0x11 | infer | SUBMIT | token, max_tokens u32, chunk_tokens u16, priority u8, stream u8, deadline_ms u32 (0: none), prompt | 0x91 chunks, 0x92 end; the ack carries the request's number |
//! | 0x12 | cancel | SUBMIT: own; ADMIN: all | token, number u64 | none; the inference's own end still comes |
//! | 0x13 | audit | ADMIN | token, before u64, most u16 | 0x93 records |
//! | 0x14 | metrics | SUBMIT | token | 0x91 chunks, 0x9F done |
//! | 0x20 | upload begin | ADMIN | token, size u64, SHA-256, name | none; the ack carries the bytes that are there |
//! | 0x21 | upload chunk | ADMIN | token, offset u64, bytes | none; as above |
//! | 0x22 | upload end | ADMIN | token | 0x9F done |
//! | 0x30 | finetune | ADMIN | token, steps u32, data | 0x9F done |
//!
//! | type | reply | payload |
//! |---|---|---|
//! | 0x80 | ack | number u64 |
//! | 0x82 | status | uptime_ns, memory_total, memory_free u64; cpus, running, waiting u16; model state u8; model, kernel: texts |
//! | 0x91 | chunk | sequence u32, tokens u16, bytes |
//! | 0x92 | end | reason u8, tokens u32, elapsed_ns u64, first_token_ns u64 (0: none) |
//! | 0x93 | records | each: the fields of [`reply::Record`] in their order |
//! | 0x9F | done | ok u8, elapsed_ns u64, text |
//! | 0xFF | refused | reason u8 ([`Reason`]), retry_after_ms u32, text |
//!
//! A text in a reply is its length (u16) and its UTF-8 bytes.
//!
//! Honest limits: the stream is neither encrypted nor authenticated beyond the tokens (the port is the machine's own),
//! so whoever reads it can take tokens from it. A replay on the same connection is refused; frames recorded on one
//! connection and sent on another are as good as the token in them, until it is rotated.
//!
//! ```
//! use control::{Authority, Client, Event, Kind, Message, Reason, Reply, Session, Status, ModelState};
//!
//! let mut authority = Authority::new();
//! let submit = authority.rotate(Kind::Submit, 0x3fe2_77b1_90ad_44).unwrap(); // from a random source
//! let mut kernel = Session::new(0);
//! let mut host = Client::new();
//! let asked = host.ask(&Message::Status, None).unwrap();
//! let refused = host.ask(&Message::UploadEnd, Some(submit)).unwrap();
//!
//! // What the host sends, the kernel receives: a request, which it answers, and one that it refused.
//! kernel.feed(host.outgoing());
//! while let Some(event) = kernel.poll(0, &mut authority) {
//!     let Event::Request(request) = event else { continue };
//!     assert_eq!(request.message, Message::Status);
//!     let status = Status { uptime_ns: 5_000_000_000, memory_total: 1 << 30, memory_free: 1 << 29, cpus: 2,
//!         running: 0, waiting: 0, model: ModelState::Ready, model_name: "SmolLM2".into(), kernel: "0.1.0".into() };
//!     kernel.reply(request.id, &Reply::Ack { number: 0 }).unwrap();
//!     kernel.reply(request.id, &Reply::Status(status)).unwrap();
//! }
//!
//! // What the kernel sends, the host receives.
//! let mut replies = Vec::new();
//! host.receive(kernel.outgoing(), |id, reply| replies.push((id, reply)));
//! assert!(matches!(&replies[0], (id, Reply::Ack { .. }) if *id == asked));
//! assert!(matches!(&replies[1], (id, Reply::Status(status)) if *id == asked && status.model_name == "SmolLM2"));
//! assert!(matches!(&replies[2], (id, Reply::Refused { reason: Reason::Weak, .. }) if *id == refused));
//! ```

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod authority;
pub mod client;
mod code;
pub mod export;
pub mod frame;
mod lockout;
pub mod message;
mod payload;
pub mod reply;
pub mod session;
pub mod token;
pub mod upload;

pub use authority::{Authority, Denial, KeyError, Kind};
pub use client::{AskError, Client};
pub use frame::{Decoder, Frame};
pub use message::{Infer, Message, Priority};
pub use reply::{End, EndReason, ModelState, Reason, Record, Reply, Status};
pub use session::{Event, Refusal, ReplyError, Request, RequestId, Running, Session};
pub use token::{Rights, Token};
pub use upload::{Upload, UploadError};
