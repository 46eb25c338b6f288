//! A graph's form and counters, for those who look at it.

use super::channel::{ChannelState, Edge};
use super::model::STANDARD;
use alloc::string::String;
use alloc::vec::Vec;

/// An operator's counters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperatorState {
    /// Its name.
    pub name: String,
    /// Chunks that it took.
    pub taken: u64,
    /// Chunks that it made.
    pub made: u64,
    /// Steps in which it did something.
    pub steps: u64,
    /// Times that its turn came while the channel behind it was full.
    pub held_up: u64,
    /// Time in its steps, in nanoseconds.
    pub busy_ns: u64,
}

impl OperatorState {
    pub(super) fn new(name: &str) -> Self {
        Self { name: name.into(), taken: 0, made: 0, steps: 0, held_up: 0, busy_ns: 0 }
    }
}

/// A graph as it is or was: channel `i` lies between the operators `i` and `i + 1`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// The operators, in the order in which chunks pass them.
    pub operators: Vec<OperatorState>,
    /// The channels between them.
    pub channels: Vec<ChannelState>,
}

impl Picture {
    /// The standard graph before anything went through it.
    pub fn standard(capacity: usize) -> Self {
        let waiting = Edge::waiting(capacity);
        let channels = [waiting, waiting, Edge::dropping(capacity)];
        Self {
            operators: STANDARD.iter().map(|name| OperatorState::new(name)).collect(),
            channels: channels.map(ChannelState::new).to_vec(),
        }
    }

    /// Chunks that were dropped in all channels.
    pub fn dropped(&self) -> u64 {
        self.channels.iter().map(|channel| channel.dropped).sum()
    }
}
