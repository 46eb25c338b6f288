//! What the model's thread does next.

use super::request::{End, RequestId};

/// Most requests in flight, whatever the limits say.
pub const MAX_RUNNING: usize = 16;

/// One turn: which requests go on by a token, which may have their prompts read, and which are to be ended. Reused, so that no turn
/// allocates.
#[derive(Debug, Clone, Copy, Default)]
pub struct Turn {
    run: [RequestId; MAX_RUNNING],
    runs: usize,
    read: [RequestId; MAX_RUNNING],
    reads: usize,
    rows: u32,
    first_tokens: u32,
    paced: bool,
    end: [Option<(RequestId, End)>; MAX_RUNNING],
    ends: usize,
}

impl Turn {
    pub(super) fn clear(&mut self) {
        (self.runs, self.reads, self.ends) = (0, 0, 0);
    }

    pub(super) fn push_run(&mut self, id: RequestId) {
        if let Some(place) = self.run.get_mut(self.runs) {
            *place = id;
            self.runs += 1;
        }
    }

    pub(super) fn push_read(&mut self, id: RequestId) {
        if let Some(place) = self.read.get_mut(self.reads) {
            *place = id;
            self.reads += 1;
        }
    }

    pub(super) fn limit(&mut self, rows: u32, first_tokens: u32) {
        (self.rows, self.first_tokens) = (rows, first_tokens);
    }

    pub(super) fn push_end(&mut self, id: RequestId, end: End) {
        if let Some(place) = self.end.get_mut(self.ends) {
            *place = Some((id, end));
            self.ends += 1;
        }
    }

    pub(super) fn set_paced(&mut self, paced: bool) {
        self.paced = paced;
    }

    /// Whether a budget is set.
    pub fn paced(&self) -> bool {
        self.paced
    }

    /// Requests whose prompts may be read, first things first: up to [`rows`](Self::rows) rows in all, and only
    /// [`first_tokens`](Self::first_tokens) of them to the end, for the last row makes a token.
    pub fn reading(&self) -> &[RequestId] {
        self.read.get(..self.reads).unwrap_or_default()
    }

    /// Rows of prompts that may be read.
    pub fn rows(&self) -> u32 {
        self.rows
    }

    /// Prompts that may be read to their end.
    pub fn first_tokens(&self) -> u32 {
        self.first_tokens
    }

    /// Requests that go on by a token.
    pub fn run(&self) -> &[RequestId] {
        self.run.get(..self.runs).unwrap_or_default()
    }

    /// Requests to be ended, and why. They stay in flight until [`Service::complete`](super::Service::complete).
    pub fn end(&self) -> impl Iterator<Item = (RequestId, End)> + '_ {
        self.end.iter().take(self.ends).copied().flatten()
    }
}
