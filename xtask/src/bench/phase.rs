//! The two kinds of work that an engine's speed has: reading a prompt and writing an answer.

use std::fmt;

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Many known tokens at once.
    Prefill,
    /// One token after the other.
    Decode,
}

impl Phase {
    /// Both, in the order in which they are measured.
    pub const ALL: [Phase; 2] = [Phase::Prefill, Phase::Decode];
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Phase::Prefill => "prefill",
            Phase::Decode => "decode",
        })
    }
}

/// How much of each is measured.
#[derive(Debug, Clone, Copy)]
pub struct Work {
    /// Tokens of the prompt.
    pub prefill: usize,
    /// Tokens that are written, from an empty context.
    pub decode: usize,
}

impl Work {
    /// Tokens of a phase.
    pub fn tokens(&self, phase: Phase) -> usize {
        match phase {
            Phase::Prefill => self.prefill,
            Phase::Decode => self.decode,
        }
    }
}
