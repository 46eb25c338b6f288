//! What a client waits for after its acknowledgement, and how it goes on: as far as the client reads.

use crate::arch::time;
use crate::services::slm::desk;
use crate::sync::IrqMutex;
use crate::tasks;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use control::reply::{CHUNK_LIMIT, End as EndReply};
use control::{EndReason, Reply, RequestId, Session};
use llm::service::{CHUNK_BYTES, ClientId, End, Fetched, Outcome, RequestId as Number};

/// Bytes of an answer that is wanted as a whole; a longer one is sent in part before it is complete.
const WHOLE_LIMIT: usize = 32 << 10;

/// Where the thread that does something leaves what came of it, before it says that it did.
pub type Promise = Arc<IrqMutex<Option<Result<String, String>>>>;

/// One request's work.
pub struct Work {
    id: RequestId,
    /// A reply that did not fit yet.
    pending: Option<Reply>,
    kind: Kind,
}

enum Kind {
    /// An answer of the model's.
    Inference {
        /// Of the service.
        number: Number,
        /// Chunks are wanted as they come.
        stream: bool,
        /// Those that came of an answer that is wanted as a whole.
        kept: Vec<u8>,
        kept_tokens: u32,
        sequence: u32,
        /// How it ended.
        outcome: Option<Outcome>,
    },
    /// A text.
    #[cfg(feature = "ai-ops")]
    Text { text: String, sent: usize, sequence: u32, since: u64 },
    /// Something that a thread of its own does.
    Elsewhere { result: Promise, since: u64 },
    /// Nothing after the pending reply.
    Last,
}

impl Work {
    /// An inference that the service has taken.
    pub fn inference(id: RequestId, number: Number, stream: bool) -> Self {
        let kind =
            Kind::Inference { number, stream, kept: Vec::new(), kept_tokens: 0, sequence: 0, outcome: None };
        Self { id, pending: None, kind }
    }

    /// A text to be sent in chunks.
    #[cfg(feature = "ai-ops")]
    pub fn text(id: RequestId, text: String) -> Self {
        Self {
            id,
            pending: None,
            kind: Kind::Text { text, sent: 0, sequence: 0, since: time::uptime_nanos() },
        }
    }

    /// Something under way in a thread.
    pub fn elsewhere(id: RequestId, result: Promise) -> Self {
        Self { id, pending: None, kind: Kind::Elsewhere { result, since: time::uptime_nanos() } }
    }

    /// One reply.
    pub fn reply(id: RequestId, reply: Reply) -> Self {
        Self { id, pending: Some(reply), kind: Kind::Last }
    }

    /// Whether its one reply waits for the client to read.
    pub fn is_held_up(&self) -> bool {
        self.pending.is_some() && matches!(self.kind, Kind::Last)
    }

    /// The next reply, if there is one now; and whether it is the last.
    fn next(&mut self, client: ClientId) -> Option<Reply> {
        match &mut self.kind {
            Kind::Last => None,
            Kind::Elsewhere { result, since } => {
                let result = result.lock().take()?;
                let reply = done(result, *since);
                self.kind = Kind::Last;
                Some(reply)
            }
            #[cfg(feature = "ai-ops")]
            Kind::Text { text, sent, sequence, since } => {
                let rest = text.as_bytes().get(*sent..).unwrap_or_default();
                if rest.is_empty() {
                    let reply = done(Ok(alloc::format!("{} bytes", text.len())), *since);
                    self.kind = Kind::Last;
                    return Some(reply);
                }
                let bytes = Vec::from(rest.get(..CHUNK_LIMIT.min(rest.len())).unwrap_or_default());
                *sent += bytes.len();
                *sequence += 1;
                Some(Reply::Chunk { sequence: *sequence - 1, tokens: 0, bytes })
            }
            Kind::Inference { .. } => self.next_of_answer(client),
        }
    }

    fn next_of_answer(&mut self, client: ClientId) -> Option<Reply> {
        let Kind::Inference { number, stream, kept, kept_tokens, sequence, outcome } = &mut self.kind else {
            return None;
        };
        while outcome.is_none() && kept.len() < WHOLE_LIMIT {
            let mut bytes = Vec::with_capacity(CHUNK_BYTES);
            match desk::try_fetch(*number, client, &mut bytes) {
                Ok(Fetched::Chunk(chunk)) if *stream => {
                    let tokens = u16::try_from(chunk.tokens).unwrap_or(u16::MAX);
                    return Some(Reply::Chunk { sequence: chunk.sequence, tokens, bytes });
                }
                Ok(Fetched::Chunk(chunk)) => {
                    kept.append(&mut bytes);
                    *kept_tokens += chunk.tokens;
                }
                Ok(Fetched::End(ended)) => *outcome = Some(ended),
                Ok(Fetched::Nothing(_)) => return None,
                // It was given up because nobody fetched it for too long.
                Err(_) => {
                    self.kind = Kind::Last;
                    return Some(Reply::End(EndReply {
                        reason: EndReason::Cancelled,
                        tokens: 0,
                        elapsed_ns: 0,
                        first_token_ns: 0,
                    }));
                }
            }
        }
        if !kept.is_empty() {
            let bytes: Vec<u8> = kept.drain(..CHUNK_LIMIT.min(kept.len())).collect();
            // All tokens count with the first piece.
            let tokens = u16::try_from(core::mem::take(kept_tokens)).unwrap_or(u16::MAX);
            *sequence += 1;
            return Some(Reply::Chunk { sequence: *sequence - 1, tokens, bytes });
        }
        let outcome = outcome.take()?;
        self.kind = Kind::Last;
        Some(Reply::End(EndReply {
            reason: match outcome.end {
                End::Finished | End::NoToken => EndReason::Finished,
                End::MaxTokens => EndReason::MaxTokens,
                End::ContextFull => EndReason::ContextFull,
                End::Cancelled | End::Abandoned => EndReason::Cancelled,
                End::Deadline => EndReason::Deadline,
                End::Failed => EndReason::Failed,
            },
            tokens: outcome.counts.tokens.saturating_add(outcome.counts.record_tokens),
            elapsed_ns: outcome.total_ns,
            first_token_ns: outcome.first_token_ns.unwrap_or(0),
        }))
    }
}

/// Goes on with all work in turn, a reply each, until the client's buffer is full or nothing is left to say. Whether anything was said.
pub fn go_on(work: &mut Vec<Work>, session: &mut Session, client: ClientId) -> bool {
    let mut said = false;
    let mut full = false;
    while !full {
        let mut any = false;
        work.retain_mut(|one| {
            let Some(reply) = one.pending.take().or_else(|| one.next(client)) else {
                return !matches!(one.kind, Kind::Last);
            };
            match session.reply(one.id, &reply) {
                Ok(()) => any = true,
                Err(control::session::ReplyError::Full) => {
                    full = true;
                    one.pending = Some(reply);
                }
                // The request is gone; nobody waits.
                Err(_) => return false,
            }
            one.pending.is_some() || !matches!(one.kind, Kind::Last)
        });
        said |= any;
        if !any {
            break;
        }
    }
    said
}

/// The last reply to what was done elsewhere.
fn done(result: Result<String, String>, since: u64) -> Reply {
    let elapsed_ns = time::uptime_nanos().saturating_sub(since);
    let ok = result.is_ok();
    Reply::Done { ok, elapsed_ns, text: result.unwrap_or_else(|error| error) }
}

/// Starts a thread for something that takes long; the control plane hears of its end.
pub fn start_elsewhere(
    what: impl FnOnce() -> Result<String, String> + Send + 'static,
) -> Result<Promise, tasks::SpawnError> {
    let promise = Promise::new(IrqMutex::new(None));
    let result = Arc::clone(&promise);
    tasks::spawn("control/work", tasks::Options::default(), move || {
        let found = what();
        *result.lock() = Some(found);
        desk::tell_clients();
    })?;
    Ok(promise)
}
