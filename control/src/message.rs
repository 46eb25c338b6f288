//! What the host asks, and how it lies in a frame's payload.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

pub use crate::code::Priority;
use crate::frame::MAX_PAYLOAD;
use crate::payload::Reader;
use crate::token::{Rights, Token};

/// Bytes of the token that a privileged message's payload begins with.
pub const TOKEN: usize = 8;
/// Longest prompt, in bytes.
pub const MAX_PROMPT: usize = MAX_PAYLOAD - TOKEN - 12;
/// Most bytes of a model in one [`Message::UploadChunk`].
pub const MAX_UPLOAD_CHUNK: usize = MAX_PAYLOAD - TOKEN - 8;
/// Longest name of a model, in bytes.
pub const MAX_NAME: usize = 256;

/// What the host asks. The request's id is the frame's; see the table in the crate's documentation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// 0x01: are you there? The acknowledgement carries the same number.
    Ping(u64),
    /// 0x02: how are you?
    Status,
    /// 0x10: load a model.
    Load {
        /// Which; empty for the one that the kernel was booted with.
        name: String,
        /// Worst case of cycles per token, for admission; 0 to measure it.
        wcet_cycles: u64,
    },
    /// 0x11: ask the model.
    Infer(Infer),
    /// 0x12: end an inference soon, by the number in its acknowledgement. Its own [`crate::Reply::End`] still
    /// comes. With SUBMIT only those of this connection, with ADMIN everyone's.
    Cancel {
        /// The inference's number.
        number: u64,
    },
    /// 0x13: the newest operations of the audit before a certain one. A reader who wants more pages asks again
    /// with the first record's number.
    Audit {
        /// Only records numbered below this; `u64::MAX` for the newest.
        before: u64,
        /// Records wanted; [`crate::reply::PAGE_RECORDS`] at most are sent.
        most: u16,
    },
    /// 0x14: all metrics, as OpenMetrics text.
    Metrics,
    /// 0x20: a model will be sent in pieces. Asked again with the same words, the acknowledgement says how much
    /// of it has arrived already.
    UploadBegin {
        /// Its size in bytes.
        size: u64,
        /// Its SHA-256.
        sha256: [u8; 32],
        /// What to call it.
        name: String,
    },
    /// 0x21: the next piece; the acknowledgement says how many bytes are there now.
    UploadChunk {
        /// Where in the file it begins.
        offset: u64,
        /// At most [`MAX_UPLOAD_CHUNK`].
        bytes: Vec<u8>,
    },
    /// 0x22: all pieces were sent: check and keep the model.
    UploadEnd,
    /// 0x30: train an adapter.
    Finetune {
        /// Optimiser steps.
        steps: u32,
        /// Name of the training text.
        data: String,
    },
}

/// A question to the model.
#[derive(Clone, PartialEq, Eq)]
pub struct Infer {
    /// Most tokens to generate.
    pub max_tokens: u32,
    /// Tokens in one [`crate::Reply::Chunk`].
    pub chunk_tokens: u16,
    /// How soon among those that wait.
    pub priority: Priority,
    /// Whether chunks are wanted as they come; else all are sent when the answer is complete.
    pub stream: bool,
    /// Milliseconds from now after which the answer ends, complete or not; 0 for never.
    pub deadline_ms: u32,
    /// The question, at most [`MAX_PROMPT`] bytes.
    pub prompt: String,
}

/// Shows everything but the prompt: logs and audits are not to hold it.
impl fmt::Debug for Infer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Infer")
            .field("max_tokens", &self.max_tokens)
            .field("chunk_tokens", &self.chunk_tokens)
            .field("priority", &self.priority)
            .field("stream", &self.stream)
            .field("deadline_ms", &self.deadline_ms)
            .field("prompt_len", &self.prompt.len())
            .finish()
    }
}

/// The rights that a message of this type needs: `None` if there is no such type.
pub const fn needed_rights(kind: u8) -> Option<Rights> {
    match kind {
        0x01 | 0x02 => Some(Rights::NONE),
        0x11 | 0x12 | 0x14 => Some(Rights::SUBMIT),
        0x10 | 0x13 | 0x20..=0x22 | 0x30 => Some(Rights::ADMIN),
        _ => None,
    }
}

/// Whether the acknowledgement is all the answer there is to a message of this type.
pub const fn is_answered_by_ack(kind: u8) -> bool {
    matches!(kind, 0x01 | 0x12 | 0x20 | 0x21)
}

impl Message {
    /// The frame's type.
    pub const fn kind(&self) -> u8 {
        match self {
            Message::Ping(_) => 0x01,
            Message::Status => 0x02,
            Message::Load { .. } => 0x10,
            Message::Infer(_) => 0x11,
            Message::Cancel { .. } => 0x12,
            Message::Audit { .. } => 0x13,
            Message::Metrics => 0x14,
            Message::UploadBegin { .. } => 0x20,
            Message::UploadChunk { .. } => 0x21,
            Message::UploadEnd => 0x22,
            Message::Finetune { .. } => 0x30,
        }
    }

    /// The rights that it needs; where it needs none it carries no token.
    pub fn needed_rights(&self) -> Rights {
        needed_rights(self.kind()).unwrap_or(Rights::ADMIN)
    }

    /// The frame's payload, `token` first where one is needed. One with too long a text is a payload that
    /// [`crate::frame::encode`] or the kernel refuses.
    pub fn payload(&self, token: Token) -> Vec<u8> {
        let mut out = Vec::new();
        if self.needed_rights() != Rights::NONE {
            out.extend_from_slice(&token.to_bits().to_le_bytes());
        }
        match self {
            Message::Ping(number) | Message::Cancel { number } => {
                out.extend_from_slice(&number.to_le_bytes());
            }
            Message::Status | Message::Metrics | Message::UploadEnd => {}
            Message::Load { name, wcet_cycles } => {
                out.extend_from_slice(&wcet_cycles.to_le_bytes());
                out.extend_from_slice(name.as_bytes());
            }
            Message::Infer(infer) => {
                out.extend_from_slice(&infer.max_tokens.to_le_bytes());
                out.extend_from_slice(&infer.chunk_tokens.to_le_bytes());
                out.extend_from_slice(&[infer.priority.code(), u8::from(infer.stream)]);
                out.extend_from_slice(&infer.deadline_ms.to_le_bytes());
                out.extend_from_slice(infer.prompt.as_bytes());
            }
            Message::Audit { before, most } => {
                out.extend_from_slice(&before.to_le_bytes());
                out.extend_from_slice(&most.to_le_bytes());
            }
            Message::UploadBegin { size, sha256, name } => {
                out.extend_from_slice(&size.to_le_bytes());
                out.extend_from_slice(sha256);
                out.extend_from_slice(name.as_bytes());
            }
            Message::UploadChunk { offset, bytes } => {
                out.extend_from_slice(&offset.to_le_bytes());
                out.extend_from_slice(bytes);
            }
            Message::Finetune { steps, data } => {
                out.extend_from_slice(&steps.to_le_bytes());
                out.extend_from_slice(data.as_bytes());
            }
        }
        out
    }

    /// Reads what follows the token; `None` where type or payload is not one.
    pub fn parse(kind: u8, body: &[u8]) -> Option<Message> {
        let mut r = Reader(body);
        let message = match kind {
            0x01 => Message::Ping(r.u64()?),
            0x02 => Message::Status,
            0x10 => Message::Load { wcet_cycles: r.u64()?, name: r.rest_text(MAX_NAME)? },
            0x11 => Message::Infer(Infer {
                max_tokens: r.u32()?,
                chunk_tokens: r.u16()?,
                priority: Priority::from_code(r.u8()?)?,
                stream: r.flag()?,
                deadline_ms: r.u32()?,
                prompt: r.rest_text(MAX_PROMPT)?,
            }),
            0x12 => Message::Cancel { number: r.u64()? },
            0x13 => Message::Audit { before: r.u64()?, most: r.u16()? },
            0x14 => Message::Metrics,
            0x20 => Message::UploadBegin { size: r.u64()?, sha256: r.take()?, name: r.rest_text(MAX_NAME)? },
            0x21 => Message::UploadChunk { offset: r.u64()?, bytes: r.rest().into() },
            0x22 => Message::UploadEnd,
            0x30 => Message::Finetune { steps: r.u32()?, data: r.rest_text(MAX_NAME)? },
            _ => return None,
        };
        r.end(message)
    }
}
