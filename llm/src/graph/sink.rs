//! The end of a graph: hands chunks to a reader.

use super::chunk::Chunk;
use super::model::STANDARD;
use super::operator::{Input, Operator, Output, Step};
use alloc::string::String;

/// Gives each chunk to a function.
pub struct Sink<F> {
    read: F,
    delay_ns: u64,
    busy_until: u64,
}

impl<F: FnMut(&Chunk)> Sink<F> {
    /// A reader that is always ready.
    pub fn new(read: F) -> Self {
        Self { read, delay_ns: 0, busy_until: 0 }
    }

    /// One that is busy for so many nanoseconds after each chunk.
    pub fn slow(read: F, delay_ns: u64) -> Self {
        Self { read, delay_ns, busy_until: 0 }
    }
}

impl<F: FnMut(&Chunk)> Operator for Sink<F> {
    fn name(&self) -> &str {
        STANDARD[3]
    }

    fn step(&mut self, input: &mut Input<'_>, _: &mut Output) -> Result<Step, String> {
        if input.now_ns() < self.busy_until {
            return Ok(Step::Idle);
        }
        match input.take() {
            Some(chunk) => {
                (self.read)(&chunk);
                self.busy_until = input.now_ns().saturating_add(self.delay_ns);
                Ok(Step::Progress)
            }
            None if input.ended() => Ok(Step::Done),
            None => Ok(Step::Idle),
        }
    }
}
