//! What the kernel answers, and how it lies in a frame's payload.

use alloc::string::String;
use alloc::vec::Vec;

pub use crate::code::{EndReason, ModelState, Reason};
use crate::frame::{HEADER, MAX_PAYLOAD};
use crate::payload::{Reader, put_text};

/// Longest name or reason in a reply, in bytes; longer ones are cut.
pub const TEXT_LIMIT: u16 = 256;
/// Most bytes of an answer or a text in one [`Reply::Chunk`].
pub const CHUNK_LIMIT: usize = 1024;
/// Most records in one [`Reply::Records`].
pub const PAGE_RECORDS: usize = MAX_PAYLOAD / (RECORD + REASON_LIMIT as usize);
/// Longest reason in a [`Record`], in bytes; longer ones are cut.
pub const REASON_LIMIT: u16 = 32;
/// Longest frame of a [`Reply::Ack`] or [`Reply::Refused`].
pub(crate) const FIRST_REPLY: usize = HEADER + 1 + 4 + 2 + TEXT_LIMIT as usize;

/// Bytes of a record on the line, without its reason.
const RECORD: usize = 48;

/// What the kernel answers. The first reply to a request is [`Reply::Ack`] or [`Reply::Refused`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// 0x80: understood, allowed, and work begins. Nothing but an ack follows to some requests.
    Ack {
        /// Infer: the number by which to cancel it. Ping: its number. Upload: bytes that have arrived. Else 0.
        number: u64,
    },
    /// 0x82: to a status request.
    Status(Status),
    /// 0x91: the next bytes of an answer or of the metrics, numbered from 0. A character may be split between two.
    Chunk {
        /// Number of this chunk in its answer.
        sequence: u32,
        /// Tokens in it; 0 where it is none of the model's.
        tokens: u16,
        /// At most [`CHUNK_LIMIT`] bytes.
        bytes: Vec<u8>,
    },
    /// 0x92: the answer to an inference is over.
    End(End),
    /// 0x93: a page of the audit, oldest first.
    Records(Vec<Record>),
    /// 0x9F: load, metrics, upload or training is over.
    Done {
        /// Whether it was done; the text says why not.
        ok: bool,
        /// Time that it took, in nanoseconds.
        elapsed_ns: u64,
        /// One sentence, for people.
        text: String,
    },
    /// 0xFF: the request is not served. The first and only reply to it.
    Refused {
        /// The kind of refusal, for programs.
        reason: Reason,
        /// Milliseconds after which asking again may help; 0 where that is not known.
        retry_after_ms: u32,
        /// One sentence, for people.
        text: String,
    },
}

/// The machine at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Time since boot, in nanoseconds.
    pub uptime_ns: u64,
    /// Usable memory, in bytes.
    pub memory_total: u64,
    /// Free memory, in bytes.
    pub memory_free: u64,
    /// CPUs that run threads.
    pub cpus: u16,
    /// Inferences under way, of all clients.
    pub running: u16,
    /// Inferences that wait for their turn.
    pub waiting: u16,
    /// The neural model's state.
    pub model: ModelState,
    /// The model's name, empty where there is none.
    pub model_name: String,
    /// The kernel's version.
    pub kernel: String,
}

/// How an inference ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// Why.
    pub reason: EndReason,
    /// Tokens generated.
    pub tokens: u32,
    /// Time from the request to its end, in nanoseconds.
    pub elapsed_ns: u64,
    /// Time from the request to its first token, in nanoseconds; 0 where there was none.
    pub first_token_ns: u64,
}

/// One operation of the audit. It never holds a prompt's text or a token.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Record {
    /// Its number: grows by one for each operation since boot.
    pub sequence: u64,
    /// When, in nanoseconds since boot.
    pub ts_ns: u64,
    /// What: 1 load, 2 budget, 3 infer, 4 stream; further ones are in the kernel's documentation.
    pub op: u8,
    /// Bits: 0b001 done, 0b010 refused, 0b100 deadline missed.
    pub status: u8,
    /// Who asked: 0 for the console, else the port as the kernel numbers it.
    pub client: u32,
    /// Length of the prompt, in bytes.
    pub prompt_len: u32,
    /// Tokens generated.
    pub tokens: u32,
    /// Worst case of cycles per token that the budget stood on.
    pub wcet_cycles: u64,
    /// The budget's period, in nanoseconds.
    pub period_ns: u64,
    /// Why it was refused or failed, in a word or two ([`Reason::name`] for a frame); empty where it was done.
    pub reason: String,
}

impl Record {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.sequence.to_le_bytes());
        out.extend_from_slice(&self.ts_ns.to_le_bytes());
        out.extend_from_slice(&[self.op, self.status]);
        for number in [self.client, self.prompt_len, self.tokens] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&self.wcet_cycles.to_le_bytes());
        out.extend_from_slice(&self.period_ns.to_le_bytes());
        put_text(out, &self.reason, REASON_LIMIT);
    }

    fn parse(r: &mut Reader<'_>) -> Option<Record> {
        let (sequence, ts_ns) = (r.u64()?, r.u64()?);
        let [op, status] = r.take()?;
        Some(Record {
            sequence,
            ts_ns,
            op,
            status,
            client: r.u32()?,
            prompt_len: r.u32()?,
            tokens: r.u32()?,
            wcet_cycles: r.u64()?,
            period_ns: r.u64()?,
            reason: r.text()?,
        })
    }
}

impl Reply {
    /// A refusal that does not say when to ask again.
    pub fn refused(reason: Reason, text: impl Into<String>) -> Reply {
        Reply::Refused { reason, retry_after_ms: 0, text: text.into() }
    }

    /// The frame's type.
    pub const fn kind(&self) -> u8 {
        match self {
            Reply::Ack { .. } => 0x80,
            Reply::Status(_) => 0x82,
            Reply::Chunk { .. } => 0x91,
            Reply::End(_) => 0x92,
            Reply::Records(_) => 0x93,
            Reply::Done { .. } => 0x9f,
            Reply::Refused { .. } => 0xff,
        }
    }

    /// The frame's payload.
    pub fn payload(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Reply::Ack { number } => out.extend_from_slice(&number.to_le_bytes()),
            Reply::Status(s) => {
                for number in [s.uptime_ns, s.memory_total, s.memory_free] {
                    out.extend_from_slice(&number.to_le_bytes());
                }
                for number in [s.cpus, s.running, s.waiting] {
                    out.extend_from_slice(&number.to_le_bytes());
                }
                out.push(s.model.code());
                put_text(&mut out, &s.model_name, TEXT_LIMIT);
                put_text(&mut out, &s.kernel, TEXT_LIMIT);
            }
            Reply::Chunk { sequence, tokens, bytes } => {
                out.extend_from_slice(&sequence.to_le_bytes());
                out.extend_from_slice(&tokens.to_le_bytes());
                out.extend_from_slice(bytes);
            }
            Reply::End(end) => {
                out.push(end.reason.code());
                out.extend_from_slice(&end.tokens.to_le_bytes());
                out.extend_from_slice(&end.elapsed_ns.to_le_bytes());
                out.extend_from_slice(&end.first_token_ns.to_le_bytes());
            }
            Reply::Records(records) => records.iter().for_each(|record| record.put(&mut out)),
            Reply::Done { ok, elapsed_ns, text } => {
                out.push(u8::from(*ok));
                out.extend_from_slice(&elapsed_ns.to_le_bytes());
                put_text(&mut out, text, TEXT_LIMIT);
            }
            Reply::Refused { reason, retry_after_ms, text } => {
                out.push(reason.code());
                out.extend_from_slice(&retry_after_ms.to_le_bytes());
                put_text(&mut out, text, TEXT_LIMIT);
            }
        }
        out
    }

    /// Reads a reply; `None` where type or payload is not one.
    pub fn parse(kind: u8, payload: &[u8]) -> Option<Reply> {
        let mut r = Reader(payload);
        let reply = match kind {
            0x80 => Reply::Ack { number: r.u64()? },
            0x82 => Reply::Status(Status {
                uptime_ns: r.u64()?,
                memory_total: r.u64()?,
                memory_free: r.u64()?,
                cpus: r.u16()?,
                running: r.u16()?,
                waiting: r.u16()?,
                model: ModelState::from_code(r.u8()?)?,
                model_name: r.text()?,
                kernel: r.text()?,
            }),
            0x91 => Reply::Chunk { sequence: r.u32()?, tokens: r.u16()?, bytes: r.rest().into() },
            0x92 => Reply::End(End {
                reason: EndReason::from_code(r.u8()?)?,
                tokens: r.u32()?,
                elapsed_ns: r.u64()?,
                first_token_ns: r.u64()?,
            }),
            0x93 => {
                let mut records = Vec::with_capacity(PAGE_RECORDS);
                while !r.0.is_empty() {
                    records.push(Record::parse(&mut r)?);
                }
                Reply::Records(records)
            }
            0x9f => Reply::Done { ok: r.flag()?, elapsed_ns: r.u64()?, text: r.text()? },
            0xff => Reply::Refused {
                reason: Reason::from_code(r.u8()?)?,
                retry_after_ms: r.u32()?,
                text: r.text()?,
            },
            _ => return None,
        };
        r.end(reply)
    }
}
