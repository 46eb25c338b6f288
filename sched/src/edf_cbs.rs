//! Reservations: earliest deadline first (EDF) among constant bandwidth servers (CBS).
//!
//! Every task of this class has a *server* of its own with a budget Q in every period T: bandwidth Q/T. The rules are those of Abeni
//! and Buttazzo ("Integrating multimedia applications in hard real-time systems", RTSS 1998), with budget c and deadline d:
//!
//! 1. *Wake-up* at time r: if c ≥ (d − r)·Q/T, using up c until d would exceed the bandwidth: then d = r + T and c = Q.
//!    Else the server goes on with the c and d that it has.
//! 2. *Running* for a time uses up as much budget.
//! 3. *c = 0*: the deadline is postponed by T and the budget is Q again, as in the paper. Other than there, and as in Linux's
//!    `SCHED_DEADLINE`, the server is **throttled** until the old deadline: it sits above the fair class, which it would starve if
//!    it could go on at once. So a server gets its bandwidth and never more, even on an otherwise idle CPU. What a task runs past its
//!    budget (timers are late) is taken off the next one.
//!
//! *Admission*: the sum of Q/T over the servers of this CPU stays at or below [`Utilisation::LIMIT`], 95 %. EDF meets every deadline up
//! to 100 % (Liu and Layland 1973); the rest keeps the fair class, and with it the shell, alive.
//!
//! *Misses*: a job is what a task does from a wake-up to the next block; its deadline is the wake-up + T. A job that is found running
//! past its deadline is one miss, however late it ends.

use crate::ordered::Ordered;
use crate::table::Table;
use crate::{AdmissionError, Class, Enqueue, Entity, Nanos, Pick, Policy, QueueError, RegisterError};
use crate::{Reservation, TaskId, Utilisation};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Running, or blocked.
    Away,
    /// In `ready`, by deadline.
    Ready,
    /// In `throttled`, by the time of replenishment (which is the deadline).
    Throttled,
}

struct Server {
    reservation: Reservation,
    /// Rest of the budget; below 0 after an overrun.
    budget: i64,
    deadline: Nanos,
    place: Place,
    /// Deadline of the job at hand; `None` once it has been missed.
    job_deadline: Option<Nanos>,
    misses: u64,
    throttles: u64,
}

impl Server {
    fn full_budget(&self) -> i64 {
        // Admission bounds it by 10 s.
        self.reservation.budget as i64
    }

    /// Rule 1. A budget that is used up needs none: the server goes on with the deadline that it has, throttled.
    fn wake(&mut self, now: Nanos) {
        self.job_deadline = Some(now.saturating_add(self.reservation.period));
        let left = u128::from(self.deadline.saturating_sub(now));
        let Reservation { budget, period } = self.reservation;
        let overcommits = u128::try_from(self.budget)
            .is_ok_and(|rest| rest * u128::from(period) >= left * u128::from(budget));
        if left == 0 || overcommits {
            self.deadline = now.saturating_add(period);
            self.budget = self.full_budget();
        }
    }

    /// Rule 3, at the end of throttling.
    fn replenish(&mut self, now: Nanos) {
        self.budget = self.budget.saturating_add(self.full_budget()).min(self.full_budget());
        self.deadline = self.deadline.saturating_add(self.reservation.period);
        if self.deadline <= now {
            // Woken so late that a whole period has passed: begin anew, or it would catch up at the others' cost.
            self.deadline = now.saturating_add(self.reservation.period);
            self.budget = self.full_budget();
        }
    }
}

/// A server as it is now, for tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerStatus {
    /// Whose server.
    pub task: TaskId,
    /// What is reserved.
    pub reservation: Reservation,
    /// Rest of the current budget.
    pub budget_left: Nanos,
    /// End of the current period.
    pub deadline: Nanos,
    /// Whether the task waits for its next budget.
    pub throttled: bool,
    /// Jobs that ran past their deadline.
    pub misses: u64,
    /// Times that a budget was used up.
    pub throttles: u64,
}

/// The policy of the reserved class.
pub struct Reservations {
    servers: Table<Server>,
    ready: Ordered,
    throttled: Ordered,
    admitted: Utilisation,
}

impl Default for Reservations {
    fn default() -> Self {
        Self::new()
    }
}

impl Reservations {
    /// No servers.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            servers: Table::new(),
            ready: Ordered::new(),
            throttled: Ordered::new(),
            admitted: Utilisation::ZERO,
        }
    }

    /// What the admitted servers add up to.
    #[must_use]
    pub fn admitted(&self) -> Utilisation {
        self.admitted
    }

    /// Every server, by task id.
    pub fn servers(&self) -> impl Iterator<Item = ServerStatus> {
        self.servers.iter().map(|(task, server)| ServerStatus {
            task,
            reservation: server.reservation,
            budget_left: u64::try_from(server.budget).unwrap_or(0),
            deadline: server.deadline,
            throttled: server.place == Place::Throttled,
            misses: server.misses,
            throttles: server.throttles,
        })
    }

    /// Whether this task may run now: it has a server with budget left that is not throttled.
    #[must_use]
    pub fn eligible(&self, task: TaskId) -> bool {
        self.servers.get(task).is_some_and(|server| server.budget > 0 && server.place != Place::Throttled)
    }

    /// Puts the throttled servers whose time has come back among the ready ones.
    fn release(&mut self, now: Nanos) {
        while let Some((at, task)) = self.throttled.first().filter(|&(at, _)| at <= now) {
            self.throttled.remove(at, task);
            if let Some(server) = self.servers.get_mut(task) {
                server.replenish(now);
                server.place = Place::Away;
                self.place(task);
            }
        }
    }

    /// Queues a server that is away: among the ready ones, or, without budget, until its deadline.
    fn place(&mut self, task: TaskId) {
        let Some(server) = self.servers.get_mut(task) else { return };
        let (place, queue) = if server.budget > 0 {
            (Place::Ready, &mut self.ready)
        } else {
            (Place::Throttled, &mut self.throttled)
        };
        server.place = place;
        queue.insert(server.deadline, task);
    }
}

impl Policy for Reservations {
    fn name(&self) -> &'static str {
        "edf-cbs"
    }

    fn register(&mut self, entity: &Entity, now: Nanos) -> Result<(), RegisterError> {
        let task = entity.id();
        let Class::Reserved(reservation) = entity.class() else {
            return Err(RegisterError::NotReserved { task });
        };
        if self.knows(task) {
            return Err(RegisterError::Duplicate { task });
        }
        let reservation = reservation.check()?;
        let sum = self.admitted.plus(reservation.utilisation());
        if sum > Utilisation::LIMIT {
            return Err(AdmissionError::Overload { reservation, admitted: self.admitted }.into());
        }
        let tasks = self.servers.len() + 1;
        self.ready.reserve(tasks, task)?;
        self.throttled.reserve(tasks, task)?;
        let server = Server {
            reservation,
            budget: 0,
            deadline: now,
            place: Place::Away,
            job_deadline: None,
            misses: 0,
            throttles: 0,
        };
        self.servers.insert(task, server)?;
        self.admitted = sum;
        Ok(())
    }

    fn unregister(&mut self, task: TaskId) -> bool {
        self.dequeue(task);
        let Some(server) = self.servers.remove(task) else { return false };
        self.admitted = self.admitted.minus(server.reservation.utilisation());
        true
    }

    fn enqueue(&mut self, entity: &Entity, why: Enqueue, now: Nanos) -> Result<(), QueueError> {
        let task = entity.id();
        let server = self.servers.get_mut(task).ok_or(QueueError::Unknown { task })?;
        if server.place != Place::Away {
            return Err(QueueError::AlreadyQueued { task });
        }
        if matches!(why, Enqueue::New | Enqueue::Moved | Enqueue::Wakeup) {
            server.wake(now);
        }
        self.place(task);
        Ok(())
    }

    fn dequeue(&mut self, task: TaskId) -> bool {
        let Some(server) = self.servers.get_mut(task) else { return false };
        let place = core::mem::replace(&mut server.place, Place::Away);
        match place {
            Place::Away => false,
            Place::Ready => self.ready.remove(server.deadline, task),
            Place::Throttled => self.throttled.remove(server.deadline, task),
        }
    }

    fn pick(&mut self, now: Nanos) -> Option<Pick> {
        self.release(now);
        let (_, task) = self.ready.first()?;
        Some(Pick { task, slice: self.take(task, now)? })
    }

    fn take(&mut self, task: TaskId, _now: Nanos) -> Option<Nanos> {
        let server = self.servers.get_mut(task).filter(|server| server.place == Place::Ready)?;
        server.place = Place::Away;
        self.ready.remove(server.deadline, task);
        Some(u64::try_from(server.budget).unwrap_or(0).max(1))
    }

    fn charge(&mut self, task: TaskId, ran: Nanos, now: Nanos) {
        let Some(server) = self.servers.get_mut(task) else { return };
        let ran_out = server.budget > 0;
        server.budget = server.budget.saturating_sub_unsigned(ran);
        if ran_out && server.budget <= 0 {
            server.throttles += 1;
        }
        if ran > 0 && server.job_deadline.is_some_and(|deadline| now > deadline) {
            server.misses += 1;
            server.job_deadline = None;
        }
        if server.place == Place::Ready && server.budget <= 0 {
            self.dequeue(task);
            self.place(task);
        }
    }

    fn preempts(&self, woken: TaskId, current: TaskId, _now: Nanos) -> bool {
        match (self.servers.get(woken), self.servers.get(current)) {
            (Some(first), Some(second)) => self.eligible(woken) && first.deadline < second.deadline,
            _ => false,
        }
    }

    fn next_event(&self) -> Option<Nanos> {
        self.throttled.first().map(|(at, _)| at)
    }

    fn knows(&self, task: TaskId) -> bool {
        self.servers.get(task).is_some()
    }

    fn len(&self) -> usize {
        self.ready.len() + self.throttled.len()
    }

    fn for_each(&self, visit: &mut dyn FnMut(TaskId)) {
        self.ready.iter().chain(self.throttled.iter()).for_each(visit);
    }
}
