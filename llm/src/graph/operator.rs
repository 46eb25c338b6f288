//! What an operator is, and what it sees of the graph.

use super::channel::Channel;
use super::chunk::Chunk;
use alloc::string::String;
use thiserror::Error;

/// One operator of a graph: takes chunks, makes chunks, a little at a time.
pub trait Operator {
    /// A word for pictures and counters.
    fn name(&self) -> &str;

    /// Does a little work, without waiting. Called again and again by one thread, only while a chunk can be put out, until it says
    /// [`Step::Done`]. Puts out one chunk at most; what it makes beyond that it keeps for the next step.
    ///
    /// While there is something to take it takes, puts out, or waits for the world outside: a graph goes on because each of its
    /// operators does.
    ///
    /// # Errors
    /// Why it cannot go on: a clause. The whole graph ends then.
    fn step(&mut self, input: &mut Input<'_>, output: &mut Output) -> Result<Step, String>;

    /// The graph ends before this operator is done: nobody wants more of it.
    fn stop(&mut self) {}
}

/// What came of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nothing to do at the moment.
    Idle,
    /// Something was done.
    Progress,
    /// Something may have been done, and it was the last.
    Done,
}

/// The channel before an operator; the first one has none.
pub struct Input<'a> {
    channel: Option<&'a mut Channel>,
    taken: u64,
    now_ns: u64,
}

impl<'a> Input<'a> {
    pub(super) fn new(channel: Option<&'a mut Channel>, now_ns: u64) -> Self {
        Self { channel, taken: 0, now_ns }
    }

    /// The next chunk.
    pub fn take(&mut self) -> Option<Chunk> {
        let chunk = self.channel.as_mut()?.take();
        self.taken += u64::from(chunk.is_some());
        chunk
    }

    /// Whether all was taken, and nothing more will come.
    pub fn ended(&self) -> bool {
        self.channel.as_ref().is_none_or(|channel| channel.closed && channel.is_empty())
    }

    /// The time at which the step began, in nanoseconds since some fixed moment.
    pub fn now_ns(&self) -> u64 {
        self.now_ns
    }

    pub(super) fn taken(&self) -> u64 {
        self.taken
    }
}

/// There is room for one chunk in a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("it puts out a second chunk in one step; it has to keep that for the next step")]
pub struct SecondChunk;

/// Room for the one chunk that a step may put out.
#[derive(Default)]
pub struct Output {
    chunk: Option<Chunk>,
}

impl Output {
    /// Puts a chunk out.
    ///
    /// # Errors
    /// It is the second one of this step, and was not taken.
    pub fn put(&mut self, chunk: Chunk) -> Result<(), SecondChunk> {
        match self.chunk {
            Some(_) => Err(SecondChunk),
            None => {
                self.chunk = Some(chunk);
                Ok(())
            }
        }
    }

    pub(super) fn into_chunk(self) -> Option<Chunk> {
        self.chunk
    }
}
