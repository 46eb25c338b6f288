#![no_std]
#![forbid(unsafe_code)]
//! The control plane: how a program outside drives the kernel over a byte stream (a serial port, a socket).
//!
//! The same code runs at both ends and does no input or output itself: bytes go in, requests or replies
//! come out, and bytes to send are fetched (the "sans-I/O" style). [`Session`] is the kernel's end,
//! [`Client`] the host's.
//!
//! Principles
//! 1. A length is believed only after its checksum holds, so noise on the line costs the damaged frame
//!    and nothing after it.
//! 2. Memory is bounded at both ends: one frame being received, [`session::OUTGOING_LIMIT`] bytes being sent.
//! 3. Every request is answered or refused with a reason.
//! 4. Rights come from a secret token, compared in constant time, which no `Debug` ever prints.
//!
//! Honest limits: the stream is neither encrypted nor protected against replay (the port is the machine's
//! own); a session serves one inference at a time; wrong tokens are refused but not yet slowed down.
//!
//! ```
//! use control::{Client, Keys, ModelState, Reply, Request, Session, Status};
//!
//! let mut kernel = Session::new(Keys::default());
//! let mut host = Client::new();
//! let asked = host.status();
//!
//! // What the host sends, the kernel receives: one request, which it answers.
//! let mut requests = Vec::new();
//! kernel.receive(host.outgoing(), |request| requests.push(request));
//! let [Request::Status { id }] = requests[..] else { panic!() };
//! let status = Status { uptime_ns: 5_000_000_000, memory_total: 1 << 30, memory_free: 1 << 29, cpus: 2,
//!     model: ModelState::Ready, model_name: "SmolLM2".into(), kernel: "0.1.0".into() };
//! kernel.reply(id, &Reply::Status(status)).unwrap();
//!
//! // What the kernel sends, the host receives.
//! host.receive(kernel.outgoing(), |id, reply| {
//!     assert_eq!(id, asked);
//!     let Reply::Status(status) = reply else { panic!() };
//!     assert_eq!(status.model_name, "SmolLM2");
//! });
//! ```

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod client;
pub mod frame;
pub mod message;
mod payload;
pub mod session;
pub mod token;

pub use client::Client;
pub use frame::{Decoder, Frame};
pub use message::{EndReason, Message, ModelState, Reason, Reply, Status};
pub use session::{Request, Session};
pub use token::{Keys, Rights, Token};
