//! What the model's thread does next.

use super::request::{End, RequestId};

/// Most requests in flight, whatever the limits say.
pub const MAX_RUNNING: usize = 16;

/// One turn: which requests go on by a token, and which are to be ended. Reused, so that no turn allocates.
#[derive(Debug, Clone, Copy, Default)]
pub struct Turn {
    run: [RequestId; MAX_RUNNING],
    runs: usize,
    end: [Option<(RequestId, End)>; MAX_RUNNING],
    ends: usize,
}

impl Turn {
    pub(super) fn clear(&mut self) {
        (self.runs, self.ends) = (0, 0);
    }

    pub(super) fn push_run(&mut self, id: RequestId) {
        if let Some(place) = self.run.get_mut(self.runs) {
            *place = id;
            self.runs += 1;
        }
    }

    pub(super) fn push_end(&mut self, id: RequestId, end: End) {
        if let Some(place) = self.end.get_mut(self.ends) {
            *place = Some((id, end));
            self.ends += 1;
        }
    }

    /// Requests that go on.
    pub fn run(&self) -> &[RequestId] {
        self.run.get(..self.runs).unwrap_or_default()
    }

    /// Requests to be ended, and why. They stay in flight until [`Service::complete`](super::Service::complete).
    pub fn end(&self) -> impl Iterator<Item = (RequestId, End)> + '_ {
        self.end.iter().take(self.ends).copied().flatten()
    }
}
