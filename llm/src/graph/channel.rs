//! Between two operators: a queue of so many chunks and no more.

use super::chunk::Chunk;
use alloc::collections::{TryReserveError, VecDeque};

/// Most chunks of a channel: about 36 KiB.
pub const MAX_CAPACITY: usize = 64;

/// What happens to a chunk for which there is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenFull {
    /// There is none: the operator before waits (back-pressure).
    Wait,
    /// It is dropped and counted: what comes before is never held up by a slow reader.
    Drop,
}

impl WhenFull {
    /// As printed.
    pub const fn name(self) -> &'static str {
        match self {
            WhenFull::Wait => "waits",
            WhenFull::Drop => "drops",
        }
    }
}

/// How two operators are joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edge {
    /// Chunks that may wait, 1 to [`MAX_CAPACITY`].
    pub capacity: usize,
    /// What happens when as many do.
    pub when_full: WhenFull,
}

impl Edge {
    /// One that holds the operator before it up. A capacity out of its range is the nearest one in it.
    pub fn waiting(capacity: usize) -> Self {
        Self { capacity: capacity.clamp(1, MAX_CAPACITY), when_full: WhenFull::Wait }
    }

    /// One that drops what does not fit.
    pub fn dropping(capacity: usize) -> Self {
        Self { when_full: WhenFull::Drop, ..Self::waiting(capacity) }
    }
}

/// A channel's counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChannelState {
    /// Its bounds.
    pub edge: Edge,
    /// Chunks that wait in it.
    pub waiting: usize,
    /// Most that ever did.
    pub high_water: usize,
    /// Chunks that were put in, those dropped not counted.
    pub passed: u64,
    /// Chunks that were dropped.
    pub dropped: u64,
}

impl ChannelState {
    pub(super) const fn new(edge: Edge) -> Self {
        Self { edge, waiting: 0, high_water: 0, passed: 0, dropped: 0 }
    }
}

/// The queue.
pub(super) struct Channel {
    queue: VecDeque<Chunk>,
    /// Nothing more will be put in.
    pub(super) closed: bool,
    state: ChannelState,
}

impl Channel {
    /// Takes all the memory that it will ever need.
    pub(super) fn new(edge: Edge) -> Result<Self, TryReserveError> {
        let edge = Edge { capacity: edge.capacity.clamp(1, MAX_CAPACITY), ..edge };
        let mut queue = VecDeque::new();
        queue.try_reserve_exact(edge.capacity)?;
        Ok(Self { queue, closed: false, state: ChannelState::new(edge) })
    }

    /// Whether the operator before may make another chunk.
    pub(super) fn accepts(&self) -> bool {
        self.state.edge.when_full == WhenFull::Drop || self.has_room()
    }

    fn has_room(&self) -> bool {
        self.queue.len() < self.state.edge.capacity
    }

    /// Puts a chunk in, or drops it where there is no room.
    pub(super) fn put(&mut self, chunk: Chunk) {
        if self.has_room() {
            self.queue.push_back(chunk);
            self.state.passed += 1;
            self.state.high_water = self.state.high_water.max(self.queue.len());
        } else {
            self.state.dropped += 1;
        }
    }

    pub(super) fn take(&mut self) -> Option<Chunk> {
        self.queue.pop_front()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(super) fn state(&self) -> ChannelState {
        ChannelState { waiting: self.queue.len(), ..self.state }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_channel_keeps_the_order_and_its_size(puts in prop::collection::vec(any::<bool>(), 0..300), capacity in 0usize..100) {
            let mut channel = Channel::new(Edge { capacity, when_full: WhenFull::Drop }).unwrap();
            let memory = channel.queue.capacity();
            let (mut next, mut seen) = (0, None);
            for put in puts {
                if put {
                    channel.put(Chunk::new(next));
                    next += 1;
                } else if let Some(chunk) = channel.take() {
                    prop_assert!(seen.is_none_or(|seen| seen < chunk.sequence));
                    seen = Some(chunk.sequence);
                }
            }
            let state = channel.state();
            prop_assert_eq!(state.passed + state.dropped, u64::from(next));
            prop_assert!(state.high_water <= state.edge.capacity && (1..=MAX_CAPACITY).contains(&state.edge.capacity));
            prop_assert_eq!(channel.queue.capacity(), memory);
        }
    }
}
