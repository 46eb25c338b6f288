//! Who was served how much: start-time fair queueing over clients.

use super::request::ClientId;
use alloc::collections::TryReserveError;
use alloc::vec::Vec;

/// Clients that are remembered; beyond it the one that came last of those without requests is forgotten.
pub(super) const CLIENTS: usize = 64;

/// What a client had of the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ClientStats {
    /// Who.
    pub client: ClientId,
    /// Requests that it has queued or in flight.
    pub open: u32,
    /// Requests that it has in flight.
    pub running: u32,
    /// Requests that were taken.
    pub submitted: u64,
    /// Requests that were refused.
    pub rejected: u64,
    /// Tokens made for it.
    pub tokens: u64,
    /// Its virtual time: tokens served, from the desk's virtual time on at which it last came back with nothing under way.
    virtual_time: u64,
    /// When it was last seen, to forget the oldest.
    seen: u64,
}

/// All clients.
pub(super) struct Clients {
    table: Vec<ClientStats>,
    clock: u64,
    /// The desk's virtual time: that of the client served last, when it was.
    virtual_now: u64,
}

impl Clients {
    /// Nobody yet, and room for all.
    pub(super) fn new() -> Result<Self, TryReserveError> {
        let mut table = Vec::new();
        table.try_reserve_exact(CLIENTS)?;
        Ok(Self { table, clock: 0, virtual_now: 0 })
    }

    /// Those that are remembered.
    pub(super) fn all(&self) -> &[ClientStats] {
        &self.table
    }

    /// Counts a request that was taken. A client that had none begins at the desk's time at least: it gets no credit for its absence.
    pub(super) fn submitted(&mut self, client: ClientId) {
        let virtual_now = self.virtual_now;
        if let Some(entry) = self.entry(client) {
            if entry.open == 0 {
                entry.virtual_time = entry.virtual_time.max(virtual_now);
            }
            entry.open += 1;
            entry.submitted += 1;
        }
    }

    pub(super) fn rejected(&mut self, client: ClientId) {
        if let Some(entry) = self.entry(client) {
            entry.rejected += 1;
        }
    }

    pub(super) fn started(&mut self, client: ClientId) {
        if let Some(entry) = self.find(client) {
            entry.running += 1;
            let started_at = entry.virtual_time;
            self.virtual_now = self.virtual_now.max(started_at);
        }
    }

    /// A started request waits again.
    pub(super) fn put_back(&mut self, client: ClientId) {
        if let Some(entry) = self.find(client) {
            entry.running = entry.running.saturating_sub(1);
        }
    }

    /// Counts a request that is over; `ran`: it was in flight.
    pub(super) fn ended(&mut self, client: ClientId, ran: bool) {
        if let Some(entry) = self.find(client) {
            entry.open = entry.open.saturating_sub(1);
            entry.running = entry.running.saturating_sub(u32::from(ran));
        }
    }

    /// Counts what a client was served: tokens made, and tokens read for it.
    pub(super) fn served(&mut self, client: ClientId, made: u32, read: u32) {
        if let Some(entry) = self.find(client) {
            entry.tokens += u64::from(made);
            entry.virtual_time += u64::from(made) + u64::from(read);
        }
    }

    /// Requests that a client has queued or in flight.
    pub(super) fn open(&self, client: ClientId) -> u32 {
        self.all().iter().find(|c| c.client == client).map_or(0, |c| c.open)
    }

    /// Requests that a client has in flight.
    pub(super) fn running(&self, client: ClientId) -> u32 {
        self.all().iter().find(|c| c.client == client).map_or(0, |c| c.running)
    }

    /// What orders clients: who has the fewest in flight, and of those alike, who was served least.
    pub(super) fn rank(&self, client: ClientId) -> (u32, u64) {
        self.all().iter().find(|c| c.client == client).map_or((0, 0), |c| (c.running, c.virtual_time))
    }

    fn find(&mut self, client: ClientId) -> Option<&mut ClientStats> {
        self.table.iter_mut().find(|c| c.client == client)
    }

    /// The client's entry, made if need be; `None` only while every client in a full table has requests.
    fn entry(&mut self, client: ClientId) -> Option<&mut ClientStats> {
        self.clock += 1;
        let clock = self.clock;
        let known = self.all().iter().position(|c| c.client == client);
        let place = match known {
            Some(place) => place,
            None if self.table.len() < CLIENTS => {
                self.table.push(ClientStats::default());
                self.table.len() - 1
            }
            None => {
                let idle = self.all().iter().enumerate().filter(|(_, c)| c.open == 0);
                idle.min_by_key(|(_, c)| c.seen)?.0
            }
        };
        let entry = self.table.get_mut(place)?;
        if known.is_none() {
            *entry = ClientStats { client, ..ClientStats::default() };
        }
        entry.seen = clock;
        Some(entry)
    }
}
