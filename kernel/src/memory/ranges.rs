//! Which part of a virtual area is taken.

use super::OutOfMemory;
use crate::sync::IrqMutex;
use alloc::vec::Vec;

/// A virtual area from which ranges are taken and given back: first fit, neighbours merge.
pub struct Ranges(IrqMutex<State>);

struct State {
    /// Never used from here on.
    next: u64,
    end: u64,
    /// Ranges given back, by address: (start, bytes).
    free: Vec<(u64, u64)>,
}

impl Ranges {
    /// The whole area is free.
    pub const fn new(start: u64, end: u64) -> Self {
        Self(IrqMutex::new(State { next: start, end, free: Vec::new() }))
    }

    /// A range of `len` bytes, as aligned as all lengths ever asked for.
    pub fn take(&self, len: u64) -> Result<u64, OutOfMemory> {
        let mut state = self.0.lock();
        // Room for giving it back, so that giving back cannot fail.
        state.free.try_reserve(1).map_err(|_| OutOfMemory { bytes: len })?;
        if let Some(at) = state.free.iter().position(|&(_, free)| free >= len) {
            let (start, free) = state.free[at];
            if free > len {
                state.free[at] = (start + len, free - len);
            } else {
                state.free.remove(at);
            }
            return Ok(start);
        }
        let start = state.next;
        if state.end - start < len {
            return Err(OutOfMemory { bytes: len });
        }
        state.next += len;
        Ok(start)
    }

    /// Gives a range back that was taken.
    pub fn give(&self, start: u64, len: u64) {
        let mut state = self.0.lock();
        let mut at = state.free.partition_point(|&(free, _)| free < start);
        let (mut start, mut len) = (start, len);
        if state.free.get(at).is_some_and(|&(next, _)| start + len == next) {
            len += state.free.remove(at).1;
        }
        if at > 0 && state.free[at - 1].0 + state.free[at - 1].1 == start {
            at -= 1;
            let before = state.free.remove(at);
            (start, len) = (before.0, before.1 + len);
        }
        // One that was taken apart may need a place more than was reserved; without it the addresses are lost, of
        // which there are plenty.
        if state.free.try_reserve(1).is_ok() {
            state.free.insert(at, (start, len));
        }
    }
}
