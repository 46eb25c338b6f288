//! The desk: the table of all requests, and the two sides of it, clients and the model's thread.

use super::audit::{AuditEntry, AuditRing, Operation, Status};
use super::budget::Budget;
use super::clients::{ClientStats, Clients};
use super::pace::{Pace, PaceState, Spread};
use super::request::{
    ClientId, Counts, End, Failure, Fetched, Job, Outcome, RequestId, RequestInfo, RequestState, SubmitError,
    UnknownRequest,
};
use super::stats::Stats;
use super::turns::{MAX_RUNNING, Turn};
use alloc::collections::TryReserveError;
use alloc::vec::Vec;
use core::cmp::Reverse;

/// Who waits this long counts as of the next higher priority.
const AGE_NS: u64 = 10_000_000_000;

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

/// How far a request is, for the desk.
enum Stage {
    Queued(Job),
    InFlight,
    Over(Outcome),
}

struct Request {
    id: RequestId,
    client: ClientId,
    operation: Operation,
    priority: super::Priority,
    chunk: u32,
    max_tokens: usize,
    prompt_len: u32,
    submitted: u64,
    started: Option<u64>,
    first_token: Option<u64>,
    deadline: Option<u64>,
    tokens: u32,
    cancelled: bool,
    /// Its client is gone: it ends soon, and nobody is told.
    orphan: bool,
    paused_since: Option<u64>,
    /// When it last went on, or was taken.
    served: u64,
    period_misses: u64,
    /// When it was over.
    ended: u64,
    outbox: super::Outbox,
    stage: Stage,
}

/// See the [module](super).
pub struct Service {
    limits: Limits,
    requests: Vec<Request>,
    clients: Clients,
    pace: Option<Pace>,
    spread: Spread,
    audit: AuditRing,
    stats: Stats,
    last_id: RequestId,
    /// In flight, the one that goes first in the next turn in front.
    order: Vec<RequestId>,
    /// The model had no room for the request that was put back: nobody is started before one has ended.
    full: bool,
    changes: u64,
    /// There is a model.
    open: bool,
    /// In the last turn, rows of prompts were units of the period's.
    units: bool,
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

    // What clients ask.

    /// Takes a request.
    ///
    /// # Errors
    /// The queue or the client's part of it is full. The refusal is audited.
    pub fn submit(&mut self, job: Job, now: u64) -> Result<RequestId, SubmitError> {
        let queued = self.requests.iter().filter(|r| matches!(r.stage, Stage::Queued(_))).count();
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
        let state = request.state();
        if !matches!(request.stage, Stage::Over(_)) {
            return Ok(Fetched::Nothing(state));
        }
        match self.requests.remove(at).stage {
            Stage::Over(outcome) => Ok(Fetched::End(outcome)),
            // Looked at just now.
            _ => Ok(Fetched::Nothing(state)),
        }
    }

    /// Has a request end soon, on behalf of `by`; what it answered so far can be fetched. `any`: another client's, too.
    ///
    /// # Errors
    /// There is no such request under way. That is audited as well.
    pub fn cancel(&mut self, id: RequestId, by: ClientId, any: bool, now: u64) -> Result<(), UnknownRequest> {
        let found = self.requests.iter_mut().find(|r| {
            r.id == id && (any || r.client == by) && !r.orphan && !matches!(r.stage, Stage::Over(_))
        });
        let entry = AuditEntry::new(by, Operation::Cancel, Status::OK);
        let Some(request) = found else {
            self.record(AuditEntry { status: Status::REJECT, reason: "unknown-request", ..entry }, now);
            return Err(UnknownRequest(id));
        };
        request.cancelled = true;
        if matches!(request.stage, Stage::Queued(_)) {
            self.complete(id, End::Cancelled, Counts::default(), now);
        }
        self.changes += 1;
        self.record(entry, now);
        Ok(())
    }

    /// A client is gone: ends what it has under way and forgets what it did not fetch.
    pub fn leave(&mut self, client: ClientId, now: u64) {
        let mine = |r: &Request| r.client == client;
        let open = |r: &Request| mine(r) && !r.cancelled && !matches!(r.stage, Stage::Over(_));
        while let Some(id) = self.requests.iter().find(|r| open(r)).map(|r| r.id) {
            // Its own, and looked at just now.
            let _ = self.cancel(id, client, false, now);
        }
        self.requests.retain(|r| !(mine(r) && matches!(r.stage, Stage::Over(_))));
        self.requests.iter_mut().filter(|r| mine(r)).for_each(|r| r.orphan = true);
    }

    // What the model's thread asks.

    /// Takes the next request into flight, if one may be started now: the job, for the model.
    pub fn start_next(&mut self, now: u64) -> Option<(RequestId, Job)> {
        self.end_late(now);
        if self.order.len() >= self.limits.running || self.full {
            return None;
        }
        let clients = &self.clients;
        // No client has all places: one who does not read his answers holds nobody up.
        let most = self.limits.running.saturating_sub(1).max(1) as u32;
        let may_start = |r: &Request| matches!(r.stage, Stage::Queued(_)) && clients.running(r.client) < most;
        let waiting = self.requests.iter_mut().filter(|r| may_start(r));
        let next = waiting.min_by_key(|r| {
            (Reverse(aged(r.priority, now.saturating_sub(r.submitted))), clients.rank(r.client), r.id)
        })?;
        let Stage::Queued(mut job) = core::mem::replace(&mut next.stage, Stage::InFlight) else {
            return None;
        };
        core::mem::swap(&mut next.outbox, &mut job.outbox);
        next.started = next.started.or(Some(now));
        let (id, client) = (next.id, next.client);
        self.order.push(id);
        self.clients.started(client);
        Some((id, job))
    }

    /// Puts a started request back in its place in the queue: the model has no room for it before another one ends.
    pub fn put_back(&mut self, id: RequestId, mut job: Job) {
        self.order.retain(|other| *other != id);
        self.full = !self.order.is_empty();
        if let Some(request) = self.requests.iter_mut().find(|r| r.id == id) {
            core::mem::swap(&mut request.outbox, &mut job.outbox);
            request.stage = Stage::Queued(job);
            self.clients.put_back(request.client);
        }
    }

    /// Says in `turn` what to do now. Higher priorities go first, and who was served longest ago goes first among those alike.
    ///
    /// Under a budget, while anybody decodes, a token and a row of a prompt are one *unit* of the period's each: either takes a token's time
    /// at most. Units are shared in that order, so the prompts of others cost a stream its share and no more; what the budget
    /// promises, it promises to all of them together. While nobody decodes, prompts are read as fast as the reservation lets them be.
    pub fn turn(&mut self, now: u64, turn: &mut Turn) {
        turn.clear();
        self.keep_time(now);
        let requests = &self.requests;
        self.order.sort_unstable_by_key(|id| {
            let request = requests.iter().find(|r| r.id == *id);
            request.map(|r| (Reverse(aged(r.priority, now.saturating_sub(r.served))), r.served, *id))
        });
        for request in self.requests.iter_mut().filter(|r| matches!(r.stage, Stage::InFlight)) {
            let pauses = request.pauses();
            self.stats.pauses += u64::from(pauses && request.paused_since.is_none());
            request.paused_since = pauses.then(|| request.paused_since.unwrap_or(now));
        }
        // Who pauses from now on wants nothing.
        self.keep_time(now);
        let mut allowed = self.pace.as_ref().map_or(u32::MAX, |pace| pace.allowed(now));
        self.units = self.pace.is_some() && self.requests.iter().any(Request::decodes);
        let mut rows = 0;
        for id in &self.order {
            let Some(request) = self.requests.iter_mut().find(|r| r.id == *id) else { continue };
            let patience = self.limits.patience_ns;
            let abandoned = request.paused_since.is_some_and(|since| now.saturating_sub(since) >= patience);
            if request.cancelled {
                turn.push_end(*id, End::Cancelled);
            } else if request.deadline.is_some_and(|deadline| now >= deadline) {
                turn.push_end(*id, End::Deadline);
            } else if abandoned {
                turn.push_end(*id, End::Abandoned);
            } else if request.paused_since.is_some() {
                // It waits for its reader.
            } else if request.first_token.is_none() && !self.units {
                turn.push_read(*id);
            } else if allowed > 0 {
                allowed -= 1;
                if request.first_token.is_none() {
                    rows += 1;
                    turn.push_read(*id);
                } else {
                    request.served = now;
                    turn.push_run(*id);
                }
            }
        }
        match self.units {
            // The unit of a last row is that of the token which it makes.
            true => turn.limit(rows, rows),
            false => turn.limit(u32::MAX, allowed),
        }
        turn.set_paced(self.pace.is_some());
    }

    /// Rows of a prompt were read in the turn. Where they are units of the period's, the row that the first token came of is counted with
    /// the token.
    pub fn read(&mut self, id: RequestId, rows: u32, now: u64) {
        let Some(request) = self.requests.iter_mut().find(|r| r.id == id) else { return };
        request.served = now;
        let rows = rows.saturating_sub(u32::from(request.first_token.is_some()));
        if let Some(pace) = self.pace.as_mut().filter(|_| self.units) {
            pace.made(rows, now);
        }
    }

    /// Whether a request in flight is to be ended now: reason enough to give a long batch up.
    pub fn must_end(&self, now: u64) -> bool {
        let ends = |r: &Request| r.cancelled || r.deadline.is_some_and(|deadline| now >= deadline);
        self.requests.iter().any(|r| matches!(r.stage, Stage::InFlight) && ends(r))
    }

    /// When there is something to do though nobody asks for it: a token of the next slot, a deadline.
    pub fn next_event(&self) -> Option<u64> {
        let open = self.requests.iter().filter(|r| !matches!(r.stage, Stage::Over(_)));
        let deadline = open.filter_map(|r| r.deadline).min();
        let paused = self
            .requests
            .iter()
            .filter(|r| matches!(r.stage, Stage::InFlight))
            .filter_map(|r| r.paused_since);
        let patience = paused.min().map(|since| since.saturating_add(self.limits.patience_ns));
        let wants = |r: &Request| matches!(r.stage, Stage::InFlight) && r.paused_since.is_none();
        let wanted = self.requests.iter().any(wants);
        let due = self.pace.as_ref().filter(|_| wanted).map(Pace::next_due);
        [deadline, patience, due].into_iter().flatten().min()
    }

    /// Takes `tokens` tokens of an answer (0: a part of one), of a record or the model's own.
    pub fn deliver(&mut self, id: RequestId, text: &[u8], tokens: u32, record: bool, now: u64) {
        let Some(request) = self.requests.iter_mut().find(|r| r.id == id) else { return };
        let chunks = request.outbox.put(text, tokens, record, request.chunk);
        request.tokens += tokens;
        if tokens > 0 && request.first_token.is_none() && !record {
            request.first_token = Some(now);
            self.stats.first_token.add(now.saturating_sub(request.submitted));
        }
        if request.operation == Operation::Stream {
            self.stats.stream_chunks += u64::from(chunks);
            self.stats.stream_chunk_tokens += u64::from(tokens);
        }
        if !record {
            self.clients.served(request.client, tokens, 0);
            self.stats.tokens += u64::from(tokens);
            if let Some(pace) = &mut self.pace {
                pace.made(tokens, now);
            }
        }
    }

    /// Counts a step of the model, in which tokens were made.
    pub fn stepped(&mut self) {
        self.stats.steps += 1;
    }

    /// A request is over. Unknown ones are ignored.
    pub fn complete(&mut self, id: RequestId, end: End, counts: Counts, now: u64) {
        self.finish(id, end, counts, None, now);
    }

    /// A request failed.
    pub fn fail(&mut self, id: RequestId, error: Failure, counts: Counts, now: u64) {
        self.finish(id, End::Failed, counts, Some(error), now);
    }

    fn finish(&mut self, id: RequestId, end: End, counts: Counts, error: Option<Failure>, now: u64) {
        self.keep_time(now);
        let Some(request) = self.requests.iter_mut().find(|r| r.id == id) else { return };
        if matches!(request.stage, Stage::Over(_)) {
            return;
        }
        let in_flight = matches!(request.stage, Stage::InFlight);
        let chunks = request.outbox.close();
        let since = |at: u64| at.saturating_sub(request.submitted);
        let outcome = Outcome {
            end,
            counts,
            queued_ns: since(request.started.unwrap_or(now)),
            first_token_ns: request.first_token.map(since),
            total_ns: since(now),
            period_misses: request.period_misses,
            error,
        };
        if in_flight {
            self.stats.queued.add(outcome.queued_ns);
        }
        self.stats.total.add(outcome.total_ns);
        if request.operation == Operation::Stream {
            self.stats.stream_chunks += u64::from(chunks);
        }
        let missed = end == End::Deadline || request.period_misses > 0;
        let (status, reason) = match end {
            End::Finished | End::MaxTokens | End::ContextFull | End::NoToken => (Status::OK, ""),
            End::Cancelled => (Status::OK, "cancelled"),
            End::Deadline => (Status::default(), "deadline"),
            End::Abandoned => (Status::REJECT, "not fetched"),
            End::Failed => (Status::REJECT, "failed"),
        };
        let status = if missed { status.and(Status::DEADLINE_MISS) } else { status };
        let entry = AuditEntry::new(request.client, request.operation, status);
        let entry = AuditEntry { prompt_len: request.prompt_len, tokens: request.tokens, reason, ..entry };
        request.ended = now;
        request.stage = Stage::Over(outcome);
        let (client, orphan) = (request.client, request.orphan);
        self.stats.prompt_tokens += u64::from(counts.prompt_tokens);
        self.stats.requests_with_misses += u64::from(request.period_misses > 0);
        *match end {
            End::Cancelled | End::Abandoned => &mut self.stats.cancelled,
            End::Deadline => &mut self.stats.deadlines_missed,
            End::Failed => &mut self.stats.failed,
            _ => &mut self.stats.completed,
        } += 1;
        self.clients.served(client, 0, counts.prompt_tokens.saturating_sub(counts.reused_tokens));
        self.clients.ended(client, in_flight);
        self.order.retain(|other| *other != id);
        self.full = false;
        self.changes += 1;
        // It wants nothing any more.
        self.keep_time(now);
        self.record(entry, now);
        if orphan {
            self.requests.retain(|r| r.id != id);
        }
    }

    // Budget, audit, tables.

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
    fn keep_time(&mut self, now: u64) {
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
        let under_way = |r: &Request| !matches!(r.stage, Stage::Over(_));
        while let (false, Some(id)) = (open, self.requests.iter().find(|r| under_way(r)).map(|r| r.id)) {
            self.fail(id, Failure::Unloaded, Counts::default(), now);
        }
    }

    /// Ends queued requests whose deadline has passed; whether there were any.
    pub fn end_late(&mut self, now: u64) -> bool {
        let before = self.stats.deadlines_missed;
        let late = |r: &Request| {
            matches!(r.stage, Stage::Queued(_)) && r.deadline.is_some_and(|deadline| now >= deadline)
        };
        while let Some(id) = self.requests.iter().find(|r| late(r)).map(|r| r.id) {
            self.complete(id, End::Deadline, Counts::default(), now);
        }
        self.stats.deadlines_missed > before
    }

    /// Forgets answers that nobody fetched: those over their time, and the oldest ones beyond the bound.
    fn make_room(&mut self, now: u64) {
        let patience = self.limits.patience_ns;
        let over = |r: &Request| matches!(r.stage, Stage::Over(_));
        self.requests.retain(|r| !over(r) || now.saturating_sub(r.ended) < patience);
        while self.requests.iter().filter(|r| over(r)).count() >= self.limits.done {
            let oldest =
                self.requests.iter().enumerate().filter(|(_, r)| over(r)).min_by_key(|(_, r)| r.ended);
            let Some((at, _)) = oldest else { return };
            self.requests.remove(at);
        }
    }
}

/// A priority, after so long a wait.
fn aged(priority: super::Priority, waited: u64) -> u64 {
    (priority as u64 + waited / AGE_NS).min(super::Priority::High as u64)
}

impl Request {
    /// Whether it wants tokens now.
    fn decodes(&self) -> bool {
        let in_flight = matches!(self.stage, Stage::InFlight);
        in_flight && self.first_token.is_some() && !self.cancelled && self.paused_since.is_none()
    }

    /// Whether it waits for its answer to be fetched: from when it is full until half of it was.
    fn pauses(&self) -> bool {
        if self.paused_since.is_some() { !self.outbox.is_half_empty() } else { !self.outbox.has_room() }
    }

    fn state(&self) -> RequestState {
        match &self.stage {
            Stage::Queued(_) => RequestState::Queued,
            Stage::Over(outcome) => RequestState::Done(outcome.end),
            Stage::InFlight if self.paused_since.is_some() => RequestState::Paused,
            Stage::InFlight if self.first_token.is_none() => RequestState::Reading,
            Stage::InFlight => RequestState::Running,
        }
    }

    fn info(&self) -> RequestInfo {
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
