//! The messages of the control plane and their payloads.

use alloc::string::String;
use alloc::vec::Vec;

use crate::payload::{Reader, put_text};
use crate::token::Token;

/// Longest name or reason in a message, in bytes; longer ones are cut.
pub const TEXT_LIMIT: u16 = 256;
/// Most bytes of an answer in one [`Reply::Chunk`].
pub const CHUNK_LIMIT: usize = 1024;

/// What the host asks. The id is the frame's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// 0x01: are you there? Answered by [`Reply::Pong`] with the same number.
    Ping(u64),
    /// 0x02: how are you? Answered by [`Reply::Status`].
    Status,
    /// 0x11: ask the model; needs SUBMIT. Answered by [`Reply::Chunk`]s and one [`Reply::End`].
    Infer {
        /// The asker's capability.
        token: Token,
        /// Most tokens to generate.
        max_tokens: u32,
        /// The question, at most a frame long.
        prompt: String,
    },
    /// 0x12: stop the inference that this id began. Needs no token: the session is the asker's own.
    Cancel,
}

/// What the kernel answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// 0x81: the ping's number.
    Pong(u64),
    /// 0x82.
    Status(Status),
    /// 0x91: the next bytes of an answer, numbered from 0. A character may be split between two.
    Chunk {
        /// Number of this chunk in its answer.
        sequence: u32,
        /// At most [`CHUNK_LIMIT`] bytes.
        bytes: Vec<u8>,
    },
    /// 0x92: the answer is over.
    End {
        /// Why.
        reason: EndReason,
        /// Tokens generated.
        tokens: u32,
        /// Time from the request to its end, in nanoseconds.
        elapsed_ns: u64,
    },
    /// 0xFF: the request is not served.
    Refused {
        /// The kind of refusal, for programs.
        reason: Reason,
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
    /// The neural model's state.
    pub model: ModelState,
    /// The model's name, empty where there is none.
    pub model_name: String,
    /// The kernel's version.
    pub kernel: String,
}

/// Declares an enum with a byte for each variant and both conversions.
macro_rules! coded {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $code:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u8)]
        pub enum $name { $($(#[$variant_doc])* $variant = $code,)* }

        impl $name {
            fn from_code(code: u8) -> Option<Self> {
                match code { $($code => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

coded! {
    /// What answers questions.
    ModelState {
        /// No model: the rule engine answers.
        None = 0,
        /// A model is being loaded.
        Loading = 1,
        /// The model answers.
        Ready = 2,
        /// The model could not be loaded: the rule engine answers.
        Failed = 3,
    }
}

coded! {
    /// Why an answer ended.
    EndReason {
        /// The model said so.
        Finished = 0,
        /// `max_tokens` were generated.
        MaxTokens = 1,
        /// The context is full.
        ContextFull = 2,
        /// It was cancelled.
        Cancelled = 3,
        /// The model failed.
        Failed = 4,
    }
}

coded! {
    /// Why a request is not served.
    Reason {
        /// The frame or its payload is not understood.
        Malformed = 1,
        /// Another version of the protocol.
        Version = 2,
        /// The token is unknown or its rights do not suffice.
        Denied = 3,
        /// Something else is being served; ask later.
        Busy = 4,
        /// No model is loaded.
        NoModel = 5,
        /// No request of this id is running.
        UnknownRequest = 6,
        /// The kernel failed to serve it.
        Internal = 7,
    }
}

impl Message {
    /// The frame's type.
    pub const fn kind(&self) -> u8 {
        match self {
            Message::Ping(_) => 0x01,
            Message::Status => 0x02,
            Message::Infer { .. } => 0x11,
            Message::Cancel => 0x12,
        }
    }

    /// The frame's payload. A prompt that is too long makes a payload that [`crate::frame::encode`] refuses.
    pub fn payload(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Message::Ping(number) => out.extend_from_slice(&number.to_le_bytes()),
            Message::Status | Message::Cancel => {}
            Message::Infer { token, max_tokens, prompt } => {
                out.extend_from_slice(&token.to_bits().to_le_bytes());
                out.extend_from_slice(&max_tokens.to_le_bytes());
                out.extend_from_slice(prompt.as_bytes());
            }
        }
        out
    }

    /// Reads a request; `None` where type or payload is not one.
    pub fn parse(kind: u8, payload: &[u8]) -> Option<Message> {
        let mut r = Reader(payload);
        let message = match kind {
            0x01 => Message::Ping(r.u64()?),
            0x02 => Message::Status,
            0x11 => Message::Infer {
                token: Token::from_bits(r.u64()?),
                max_tokens: r.u32()?,
                prompt: String::from(core::str::from_utf8(r.rest()).ok()?),
            },
            0x12 => Message::Cancel,
            _ => return None,
        };
        r.end(message)
    }
}

impl Reply {
    /// The frame's type.
    pub const fn kind(&self) -> u8 {
        match self {
            Reply::Pong(_) => 0x81,
            Reply::Status(_) => 0x82,
            Reply::Chunk { .. } => 0x91,
            Reply::End { .. } => 0x92,
            Reply::Refused { .. } => 0xff,
        }
    }

    /// Whether the request is over with this reply.
    pub const fn is_last(&self) -> bool {
        !matches!(self, Reply::Chunk { .. })
    }

    /// The frame's payload.
    pub fn payload(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Reply::Pong(number) => out.extend_from_slice(&number.to_le_bytes()),
            Reply::Status(s) => {
                for number in [s.uptime_ns, s.memory_total, s.memory_free] {
                    out.extend_from_slice(&number.to_le_bytes());
                }
                out.extend_from_slice(&s.cpus.to_le_bytes());
                out.push(s.model as u8);
                put_text(&mut out, &s.model_name, TEXT_LIMIT);
                put_text(&mut out, &s.kernel, TEXT_LIMIT);
            }
            Reply::Chunk { sequence, bytes } => {
                out.extend_from_slice(&sequence.to_le_bytes());
                out.extend_from_slice(bytes);
            }
            Reply::End { reason, tokens, elapsed_ns } => {
                out.push(*reason as u8);
                out.extend_from_slice(&tokens.to_le_bytes());
                out.extend_from_slice(&elapsed_ns.to_le_bytes());
            }
            Reply::Refused { reason, text } => {
                out.push(*reason as u8);
                put_text(&mut out, text, TEXT_LIMIT);
            }
        }
        out
    }

    /// Reads a reply; `None` where type or payload is not one.
    pub fn parse(kind: u8, payload: &[u8]) -> Option<Reply> {
        let mut r = Reader(payload);
        let reply = match kind {
            0x81 => Reply::Pong(r.u64()?),
            0x82 => Reply::Status(Status {
                uptime_ns: r.u64()?,
                memory_total: r.u64()?,
                memory_free: r.u64()?,
                cpus: r.u16()?,
                model: ModelState::from_code(r.u8()?)?,
                model_name: r.text()?,
                kernel: r.text()?,
            }),
            0x91 => Reply::Chunk { sequence: r.u32()?, bytes: r.rest().into() },
            0x92 => {
                Reply::End { reason: EndReason::from_code(r.u8()?)?, tokens: r.u32()?, elapsed_ns: r.u64()? }
            }
            0xff => Reply::Refused { reason: Reason::from_code(r.u8()?)?, text: r.text()? },
            _ => return None,
        };
        r.end(reply)
    }
}
