//! The desk's side of the model's thread: what to start, what to go on with, and what came of it.

use super::audit::{AuditEntry, Operation, Status};
use super::desk::Service;
use super::entry::{Request, Stage, aged};
use super::pace::Pace;
use super::request::{Counts, End, Failure, Job, Outcome, RequestId};
use super::turns::Turn;
use core::cmp::Reverse;

impl Service {
    /// Takes the next request into flight, if one may be started now: the job, for the model.
    pub fn start_next(&mut self, now: u64) -> Option<(RequestId, Job)> {
        self.end_late(now);
        if self.order.len() >= self.limits.running || self.full {
            return None;
        }
        let clients = &self.clients;
        // No client has all places: one who does not read his answers holds nobody up.
        let most = self.limits.running.saturating_sub(1).max(1) as u32;
        let may_start = |r: &Request| r.is_queued() && clients.running(r.client) < most;
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
        for request in self.requests.iter_mut().filter(|r| r.is_in_flight()) {
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
            } else if request.is_late(now) {
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
        let ends = |r: &Request| r.cancelled || r.is_late(now);
        self.requests.iter().any(|r| r.is_in_flight() && ends(r))
    }

    /// When there is something to do though nobody asks for it: a token of the next slot, a deadline.
    pub fn next_event(&self) -> Option<u64> {
        let open = self.requests.iter().filter(|r| !r.is_over());
        let deadline = open.filter_map(|r| r.deadline).min();
        let paused = self.requests.iter().filter(|r| r.is_in_flight()).filter_map(|r| r.paused_since);
        let patience = paused.min().map(|since| since.saturating_add(self.limits.patience_ns));
        let wants = |r: &Request| r.is_in_flight() && r.paused_since.is_none();
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
        if request.is_over() {
            return;
        }
        let in_flight = request.is_in_flight();
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

    /// Ends queued requests whose deadline has passed; whether there were any.
    pub fn end_late(&mut self, now: u64) -> bool {
        let before = self.stats.deadlines_missed;
        let late = |r: &Request| r.is_queued() && r.is_late(now);
        while let Some(id) = self.requests.iter().find(|r| late(r)).map(|r| r.id) {
            self.complete(id, End::Deadline, Counts::default(), now);
        }
        self.stats.deadlines_missed > before
    }
}
