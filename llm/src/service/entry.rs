//! A request on the desk: what is known of it, and how far it is.

use super::request::{ClientId, Job, Outcome, RequestId, RequestInfo, RequestState};
use super::{Operation, Outbox, Priority};

/// Who waits this long counts as of the next higher priority.
const AGE_NS: u64 = 10_000_000_000;

/// How far a request is, for the desk.
pub(super) enum Stage {
    Queued(Job),
    InFlight,
    Over(Outcome),
}

pub(super) struct Request {
    pub(super) id: RequestId,
    pub(super) client: ClientId,
    pub(super) operation: Operation,
    pub(super) priority: Priority,
    pub(super) chunk: u32,
    pub(super) max_tokens: usize,
    pub(super) prompt_len: u32,
    pub(super) submitted: u64,
    pub(super) started: Option<u64>,
    pub(super) first_token: Option<u64>,
    pub(super) deadline: Option<u64>,
    pub(super) tokens: u32,
    pub(super) cancelled: bool,
    /// Its client is gone: it ends soon, and nobody is told.
    pub(super) orphan: bool,
    pub(super) paused_since: Option<u64>,
    /// When it last went on, or was taken.
    pub(super) served: u64,
    pub(super) period_misses: u64,
    /// When it was over.
    pub(super) ended: u64,
    pub(super) outbox: Outbox,
    pub(super) stage: Stage,
}

/// A priority, after so long a wait.
pub(super) fn aged(priority: Priority, waited: u64) -> u64 {
    (priority as u64 + waited / AGE_NS).min(Priority::High as u64)
}

impl Request {
    pub(super) fn is_queued(&self) -> bool {
        matches!(self.stage, Stage::Queued(_))
    }

    pub(super) fn is_in_flight(&self) -> bool {
        matches!(self.stage, Stage::InFlight)
    }

    pub(super) fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Over(_))
    }

    /// Whether its own deadline has passed.
    pub(super) fn is_late(&self, now: u64) -> bool {
        self.deadline.is_some_and(|deadline| now >= deadline)
    }

    /// Whether it wants tokens now.
    pub(super) fn decodes(&self) -> bool {
        self.is_in_flight() && self.first_token.is_some() && !self.cancelled && self.paused_since.is_none()
    }

    /// Whether it waits for its answer to be fetched: from when it is full until half of it was.
    pub(super) fn pauses(&self) -> bool {
        if self.paused_since.is_some() { !self.outbox.is_half_empty() } else { !self.outbox.has_room() }
    }

    pub(super) fn state(&self) -> RequestState {
        match &self.stage {
            Stage::Queued(_) => RequestState::Queued,
            Stage::Over(outcome) => RequestState::Done(outcome.end),
            Stage::InFlight if self.paused_since.is_some() => RequestState::Paused,
            Stage::InFlight if self.first_token.is_none() => RequestState::Reading,
            Stage::InFlight => RequestState::Running,
        }
    }

    pub(super) fn info(&self) -> RequestInfo {
        RequestInfo {
            id: self.id,
            client: self.client,
            operation: self.operation,
            priority: self.priority,
            state: self.state(),
            tokens: self.tokens,
            max_tokens: self.max_tokens,
            submitted_ns: self.submitted,
        }
    }
}
