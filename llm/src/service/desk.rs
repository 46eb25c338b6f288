//! The desk: the table of all requests, and the clients' side of it. The side of the model's thread is [`super::serve`].

use super::audit::{AuditEntry, AuditRing, Operation, Status};
use super::budget::Budget;
use super::clients::{ClientStats, Clients};
use super::entry::{Request, Stage};
use super::pace::{Pace, PaceState, Spread};
use super::request::{
    ClientId, Counts, End, Failure, Fetched, Job, RequestId, RequestInfo, SubmitError, UnknownRequest,
};
use super::stats::Stats;
use super::turns::MAX_RUNNING;
use alloc::collections::TryReserveError;
use alloc::vec::Vec;

/// Bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Requests that wait.
    pub queue: usize,
    /// Requests of one client that wait or are in flight.
    pub of_client: u32,
    /// Requests in flight, at most [`MAX_RUNNING`].
    pub running: usize,
    /// Answers that are over and not fetched.
    pub done: usize,
    /// How long an answer waits to be fetched before it is given up, in nanoseconds.
    pub patience_ns: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { queue: 32, of_client: 8, running: 4, done: 16, patience_ns: 60_000_000_000 }
    }
}

/// See the [module](super).
pub struct Service {
    pub(super) limits: Limits,
    pub(super) requests: Vec<Request>,
    pub(super) clients: Clients,
    pub(super) pace: Option<Pace>,
    pub(super) spread: Spread,
    pub(super) audit: AuditRing,
    pub(super) stats: Stats,
    pub(super) last_id: RequestId,
    /// In flight, the one that goes first in the next turn in front.
    pub(super) order: Vec<RequestId>,
    /// The model had no room for the request that was put back: nobody is started before one has ended.
    pub(super) full: bool,
    pub(super) changes: u64,
    /// There is a model.
    pub(super) open: bool,
    /// In the last turn, rows of prompts were units of the period's.
    pub(super) units: bool,
}

impl Service {
    /// A desk with nothing on it; takes all the memory that it will ever need, but for the jobs.
    ///
    /// # Errors
    /// There is no memory.
    pub fn new(limits: Limits) -> Result<Self, TryReserveError> {
        let limits = Limits { running: limits.running.clamp(1, MAX_RUNNING), ..limits };
        let (mut requests, mut order) = (Vec::new(), Vec::new());
        requests.try_reserve_exact(limits.queue + limits.running + limits.done)?;
        order.try_reserve_exact(limits.running)?;
        Ok(Self {
            limits,
            requests,
            clients: Clients::new()?,
            pace: None,
            spread: Spread::default(),
            audit: AuditRing::new()?,
            stats: Stats::default(),
            last_id: 0,
            order,
            full: false,
            changes: 0,
            open: true,
            units: false,
        })
    }

    /// Takes a request.
    ///
    /// # Errors
    /// The queue or the client's part of it is full. The refusal is audited.
    pub fn submit(&mut self, job: Job, now: u64) -> Result<RequestId, SubmitError> {
        let queued = self.requests.iter().filter(|r| r.is_queued()).count();
        let open = self.clients.open(job.client);
        let refusal = match (self.open, queued >= self.limits.queue, open >= self.limits.of_client) {
            (false, ..) => Some(SubmitError::NoModel),
            (_, true, _) => Some(SubmitError::Busy { queued }),
            (_, _, true) => Some(SubmitError::TooManyOfClient { open }),
            _ => None,
        };
        if let Some(error) = refusal {
            self.refuse(&job, error, now);
            return Err(error);
        }
        self.make_room(now);
        self.last_id = self.last_id.checked_add(1).unwrap_or(1);
        self.clients.submitted(job.client);
        self.stats.submitted += 1;
        self.changes += 1;
        // An empty one takes no memory: the job's own comes along with the request.
        let Job { client, operation, priority, chunk, max_tokens, .. } = job;
        let deadline = job.deadline_ns.map(|after| now.saturating_add(after));
        let prompt_len = job.prompt_len();
        self.requests.push(Request {
            id: self.last_id,
            client,
            operation,
            priority,
            chunk,
            max_tokens,
            prompt_len,
            submitted: now,
            started: None,
            first_token: None,
            deadline,
            tokens: 0,
            cancelled: false,
            orphan: false,
            paused_since: None,
            served: now,
            period_misses: 0,
            ended: 0,
            outbox: super::Outbox::empty(),
            stage: Stage::Queued(job),
        });
        Ok(self.last_id)
    }

    fn refuse(&mut self, job: &Job, error: SubmitError, now: u64) {
        self.clients.rejected(job.client);
        self.stats.rejected += 1;
        let entry = AuditEntry::new(job.client, job.operation, Status::REJECT);
        self.record(AuditEntry { prompt_len: job.prompt_len(), reason: error.reason(), ..entry }, now);
    }

    /// Fetches what is there of an answer; a chunk's bytes go to the end of `out`, with room for [`super::CHUNK_BYTES`].
    ///
    /// # Errors
    /// The client has no such request.
    pub fn fetch(
        &mut self,
        id: RequestId,
        client: ClientId,
        out: &mut Vec<u8>,
    ) -> Result<Fetched, UnknownRequest> {
        let at = self
            .requests
            .iter()
            .position(|r| r.id == id && r.client == client && !r.orphan)
            .ok_or(UnknownRequest(id))?;
        let request = &mut self.requests[at];
        if let Some(chunk) = request.outbox.take(out) {
            self.changes += u64::from(request.paused_since.is_some());
            return Ok(Fetched::Chunk(chunk));
        }
        let Stage::Over(_) = request.stage else { return Ok(Fetched::Nothing(request.state())) };
        let Stage::Over(outcome) = self.requests.remove(at).stage else { return Err(UnknownRequest(id)) };
        Ok(Fetched::End(outcome))
    }

    /// Has a request end soon, on behalf of `by`; what it answered so far can be fetched. `any`: another client's, too.
    ///
    /// # Errors
    /// There is no such request under way. That is audited as well.
    pub fn cancel(&mut self, id: RequestId, by: ClientId, any: bool, now: u64) -> Result<(), UnknownRequest> {
        let found = self
            .requests
            .iter_mut()
            .find(|r| r.id == id && (any || r.client == by) && !r.orphan && !r.is_over());
        let entry = AuditEntry::new(by, Operation::Cancel, Status::OK);
        let Some(request) = found else {
            self.record(AuditEntry { status: Status::REJECT, reason: "unknown-request", ..entry }, now);
            return Err(UnknownRequest(id));
        };
        request.cancelled = true;
        if request.is_queued() {
            self.complete(id, End::Cancelled, Counts::default(), now);
        }
        self.changes += 1;
        self.record(entry, now);
        Ok(())
    }

    /// A client is gone: ends what it has under way and forgets what it did not fetch.
    pub fn leave(&mut self, client: ClientId, now: u64) {
        let mine = |r: &Request| r.client == client;
        let open = |r: &Request| mine(r) && !r.cancelled && !r.is_over();
        while let Some(id) = self.requests.iter().find(|r| open(r)).map(|r| r.id) {
            // Its own, and looked at just now.
            let _ = self.cancel(id, client, false, now);
        }
        self.requests.retain(|r| !(mine(r) && r.is_over()));
        self.requests.iter_mut().filter(|r| mine(r)).for_each(|r| r.orphan = true);
    }

    /// Sets the budget, which the scheduler has granted, or takes it away.
    pub fn set_budget(&mut self, budget: Option<Budget>, now: u64) {
        self.keep_time(now);
        self.stats.admissions += u64::from(budget.is_some());
        self.pace = budget.map(|budget| Pace::new(budget, self.spread, now));
        self.changes += 1;
    }

    /// Counts a budget that the scheduler refused.
    pub fn count_refused_budget(&mut self) {
        self.stats.refusals += 1;
    }

    /// How the tokens of a period are spread, now and under later budgets.
    pub fn set_spread(&mut self, spread: Spread) {
        self.spread = spread;
        if let Some(pace) = &mut self.pace {
            pace.set_spread(spread);
        }
        self.changes += 1;
    }

    /// How the tokens of a period are spread.
    pub fn spread(&self) -> Spread {
        self.spread
    }

    /// The budget and how it is kept.
    pub fn pace(&self) -> Option<PaceState> {
        self.pace.as_ref().map(Pace::state)
    }

    /// Counts chunks that a graph dropped.
    pub fn count_graph_drops(&mut self, chunks: u64) {
        self.stats.graph_drops += chunks;
    }

    /// Adds an operation that is not a request of this desk.
    pub fn record(&mut self, entry: AuditEntry, now: u64) {
        let budget = self.pace.as_ref().map(Pace::budget);
        let (wcet_cycles, period_ns) = budget.map_or((0, 0), |budget| (budget.wcet_cycles, budget.period_ns));
        self.audit.add(AuditEntry { ts_ns: now, wcet_cycles, period_ns, ..entry });
    }

    /// The audit.
    pub fn audit(&self) -> &AuditRing {
        &self.audit
    }

    /// What was done since boot.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// The clients that are remembered.
    pub fn clients(&self) -> &[ClientStats] {
        self.clients.all()
    }

    /// All requests, in the order in which they came.
    pub fn requests(&self) -> impl Iterator<Item = RequestInfo> {
        self.requests.iter().map(Request::info)
    }

    /// The bounds.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Requests in flight.
    pub fn running(&self) -> usize {
        self.order.len()
    }

    /// A number that changes whenever the model's thread may have something new to do.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// Lets the periods go by.
    pub(super) fn keep_time(&mut self, now: u64) {
        let Some(pace) = &mut self.pace else { return };
        let demand = self.requests.iter().any(Request::decodes);
        let broken = pace.advance(now, demand);
        if broken > 0 {
            self.stats.period_misses += broken;
            self.requests.iter_mut().filter(|r| r.decodes()).for_each(|r| r.period_misses += broken);
        }
    }

    /// Whether there is a model, from now on (there is, when the desk is made). Without one all requests fail, and new ones are refused.
    pub fn set_open(&mut self, open: bool, now: u64) {
        self.open = open;
        let under_way = |r: &Request| !r.is_over();
        while let (false, Some(id)) = (open, self.requests.iter().find(|r| under_way(r)).map(|r| r.id)) {
            self.fail(id, Failure::Unloaded, Counts::default(), now);
        }
    }

    /// Forgets answers that nobody fetched: those over their time, and the oldest ones beyond the bound.
    fn make_room(&mut self, now: u64) {
        let patience = self.limits.patience_ns;
        let over = |r: &Request| r.is_over();
        self.requests.retain(|r| !over(r) || now.saturating_sub(r.ended) < patience);
        while self.requests.iter().filter(|r| over(r)).count() >= self.limits.done {
            let oldest =
                self.requests.iter().enumerate().filter(|(_, r)| over(r)).min_by_key(|(_, r)| r.ended);
            let Some((at, _)) = oldest else { return };
            self.requests.remove(at);
        }
    }
}
