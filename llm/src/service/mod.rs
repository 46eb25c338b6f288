//! Inference as a service: requests are admitted, queued, paced, streamed, cancelled and audited.
//!
//! [`Service`] is the *desk* between many clients and the one thread that owns the model. It decides who is served
//! and when, and holds the answers until they are fetched; it computes nothing itself, never blocks, and allocates nothing
//! once it is made, so it may be kept behind a spin lock. The model's thread asks it in every turn which requests to start
//! ([`Service::start_next`]), which to continue and which to end ([`Service::turn`]), and gives it what comes of them
//! ([`Service::deliver`], [`Service::complete`]). With several requests in flight, one turn is one batched decoding step for all.
//!
//! Principles
//! 1. *Bounded*: the queue, each client's part of it, and each answer that nobody fetches. A full queue refuses with a sentence; a
//!    full [`Outbox`] pauses its request, and nothing is lost.
//! 2. *Fair*: of the highest priority first, of those the client that was served least (start-time fair queueing by tokens; Goyal,
//!    Vin and Cheng 1996). Who waits long rises by a priority, so that nobody starves.
//! 3. *Paced*: under a [`Budget`] so many tokens are made in every period; the same numbers are the reservation that the scheduler
//!    grants or refuses.
//! 4. *Audited*: whatever was asked leaves a line in the [`AuditRing`], and never a byte of its text.
//!
//! ```
//! use llm::service::{CHUNK_BYTES, CONSOLE, Counts, End, Failure, Fetched, Job, Limits, Operation, Service, Turn};
//!
//! let mut service = Service::new(Limits::default()).unwrap();
//! let job = Job::new(CONSOLE, Operation::Stream, "What is a page?".into(), 2).unwrap();
//! let id = service.submit(job, 0).unwrap();
//!
//! // The model's thread: start what may start, give every request in flight one token, say how it ended.
//! let (started, job) = service.start_next(10).unwrap();
//! assert_eq!((started, job.prompt.as_str()), (id, "What is a page?"));
//! let mut turn = Turn::default();
//! service.turn(10, &mut turn);
//! assert_eq!((turn.reading(), turn.run()), (&[id][..], &[][..]));
//! service.deliver(id, b"A piece of memory.", 1, false, 20);
//! service.complete(id, End::Finished, Counts { tokens: 1, ..Counts::default() }, 30);
//!
//! // The client.
//! let mut bytes = Vec::with_capacity(CHUNK_BYTES);
//! let Ok(Fetched::Chunk(chunk)) = service.fetch(id, CONSOLE, &mut bytes) else { panic!() };
//! assert_eq!((bytes.as_slice(), chunk.tokens), (&b"A piece of memory."[..], 1));
//! assert!(matches!(service.fetch(id, CONSOLE, &mut bytes), Ok(Fetched::End(outcome)) if outcome.end == End::Finished));
//! ```

mod audit;
mod budget;
mod clients;
mod desk;
mod entry;
mod outbox;
mod pace;
mod recent;
mod request;
mod serve;
mod stats;
#[cfg(test)]
mod tests;
mod turns;

pub use audit::{AUDIT_ENTRIES, AUDIT_REFUSALS, AuditEntry, AuditRing, Operation, Status};
pub use budget::{Budget, BudgetError, MARGIN_PERCENT};
pub use clients::ClientStats;
pub use desk::{Limits, Service};
pub use outbox::{CHUNK_BYTES, Chunk, Outbox};
pub use pace::{Pace, PaceState, Spread};
pub use recent::Recent;
pub use request::{
    CONSOLE, ClientId, Counts, End, Failure, Fetched, Form, Job, JobError, MAX_CHUNK, MAX_PROMPT, Outcome,
    Priority, RequestId, RequestInfo, RequestState, SubmitError, UnknownRequest,
};
pub use stats::Stats;
pub use turns::{MAX_RUNNING, Turn};
