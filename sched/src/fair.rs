//! The plain weighted fair policy: the task that has had least goes next.
//!
//! A task's *virtual runtime* is the time that it ran, times 1024 / its weight; the queued task with the smallest runs next. Tasks
//! that are always runnable so share the CPU in proportion to their weights: at any time the virtual runtimes of two
//! of them differ by at most one slice each. This is the scheme of Linux's CFS (2007–2023), without its groups.
//!
//! - *Slice*: every runnable task is to run once in a period of [`LATENCY`], for a share by weight, but never for less
//!   than [`MIN_SLICE`]: with many tasks the period stretches.
//! - *Sleepers* keep their virtual runtime, but are moved up to the queue's minimum less [`SLEEPER_CREDIT`]: they run soon
//!   after they wake, and can't save up more than that.
//! - *New tasks* start one [`MIN_SLICE`] behind the minimum, so that making tasks does not buy CPU time.
//! - *Starvation* is impossible: while a task is queued, no other can run for longer than one slice (plus what it is behind in
//!   virtual runtime) before the queued one is the smallest.

use crate::ordered::Ordered;
use crate::table::Table;
use crate::{Enqueue, Entity, Nanos, Pick, Policy, QueueError, RegisterError, TaskId};

/// In this time every runnable task is to run once: 12 ms.
const LATENCY: Nanos = 12_000_000;
/// No slice is shorter: 1.5 ms.
const MIN_SLICE: Nanos = 1_500_000;
/// How far before the minimum a woken task may start: half of `LATENCY`.
const SLEEPER_CREDIT: Nanos = LATENCY / 2;
/// How far ahead a woken task must be to take the CPU at once: 1 ms of its own virtual time.
const WAKEUP_GRANULARITY: Nanos = 1_000_000;

const UNIT_WEIGHT: u64 = 1024;

struct Record {
    weight: u32,
    /// Virtual runtime; the key in the queue while `queued`.
    virtual_time: u64,
    queued: bool,
}

impl Record {
    /// `time` of this task in virtual time.
    fn scaled(&self, time: Nanos) -> u64 {
        time.saturating_mul(UNIT_WEIGHT) / u64::from(self.weight.max(1))
    }
}

/// The policy of the fair class; see the list of what it does in the crate's `fair.rs`.
pub struct Fair {
    records: Table<Record>,
    /// Queued tasks by virtual runtime.
    queue: Ordered,
    /// Sum of the weights of the queued tasks.
    queued_weight: u64,
    /// The task that was picked last, until it is queued again.
    running: Option<TaskId>,
    /// Where tasks that come in start; never goes back, and never passes the smallest virtual runtime.
    minimum: u64,
}

impl Default for Fair {
    fn default() -> Self {
        Self::new()
    }
}

impl Fair {
    /// An empty queue.
    #[must_use]
    pub const fn new() -> Self {
        Self { records: Table::new(), queue: Ordered::new(), queued_weight: 0, running: None, minimum: 0 }
    }

    /// The slice of a task of this weight among the queued tasks and itself.
    fn slice(&self, weight: u32) -> Nanos {
        let tasks = self.queue.len() as u64 + 1;
        let period = LATENCY.max(tasks * MIN_SLICE);
        let weight = u64::from(weight);
        (period * weight / (self.queued_weight + weight).max(1)).max(MIN_SLICE)
    }

    /// Moves the minimum up to the smallest virtual runtime of the tasks that compete.
    fn advance_minimum(&mut self) {
        let running = self.running.and_then(|task| self.records.get(task)).map(|record| record.virtual_time);
        let queued = self.queue.first().map(|(key, _)| key);
        if let Some(smallest) = running.into_iter().chain(queued).min() {
            self.minimum = self.minimum.max(smallest);
        }
    }
}

impl Policy for Fair {
    fn name(&self) -> &'static str {
        "fair"
    }

    fn register(&mut self, entity: &Entity, _now: Nanos) -> Result<(), RegisterError> {
        let task = entity.id();
        self.queue.reserve(self.records.len() + 1, task)?;
        self.records.insert(task, Record { weight: entity.weight(), virtual_time: 0, queued: false })
    }

    fn unregister(&mut self, task: TaskId) -> bool {
        self.dequeue(task);
        if self.running == Some(task) {
            self.running = None;
        }
        self.records.remove(task).is_some()
    }

    fn enqueue(&mut self, entity: &Entity, why: Enqueue, _now: Nanos) -> Result<(), QueueError> {
        let task = entity.id();
        let first = self.queue.first();
        let record = self.records.get_mut(task).ok_or(QueueError::Unknown { task })?;
        if record.queued {
            return Err(QueueError::AlreadyQueued { task });
        }
        record.weight = entity.weight();
        // A task that was running is never further back than this; one that is queued for the first time may be.
        let floor = self.minimum.saturating_sub(SLEEPER_CREDIT);
        let start = match why {
            Enqueue::New | Enqueue::Moved => self.minimum.saturating_add(record.scaled(MIN_SLICE)),
            Enqueue::Wakeup | Enqueue::Preempted => floor,
            Enqueue::Yielded => first.map_or(floor, |(key, _)| floor.max(key.saturating_add(1))),
        };
        record.virtual_time = record.virtual_time.max(start);
        record.queued = true;
        self.queue.insert(record.virtual_time, task);
        self.queued_weight += u64::from(record.weight);
        if self.running == Some(task) {
            self.running = None;
        }
        Ok(())
    }

    fn dequeue(&mut self, task: TaskId) -> bool {
        let Some(record) = self.records.get_mut(task).filter(|record| record.queued) else { return false };
        record.queued = false;
        self.queued_weight -= u64::from(record.weight);
        self.queue.remove(record.virtual_time, task)
    }

    fn pick(&mut self, now: Nanos) -> Option<Pick> {
        self.running = None;
        self.advance_minimum();
        let (_, task) = self.queue.first()?;
        Some(Pick { task, slice: self.take(task, now)? })
    }

    fn take(&mut self, task: TaskId, _now: Nanos) -> Option<Nanos> {
        if !self.dequeue(task) {
            return None;
        }
        self.running = Some(task);
        self.records.get(task).map(|record| self.slice(record.weight))
    }

    fn charge(&mut self, task: TaskId, ran: Nanos, _now: Nanos) {
        let Some(record) = self.records.get_mut(task) else { return };
        let before = record.virtual_time;
        record.virtual_time = before.saturating_add(record.scaled(ran));
        if record.queued {
            let after = record.virtual_time;
            self.queue.remove(before, task);
            self.queue.insert(after, task);
        }
        self.advance_minimum();
    }

    fn preempts(&self, woken: TaskId, current: TaskId, _now: Nanos) -> bool {
        match (self.records.get(woken), self.records.get(current)) {
            (Some(woken), Some(current)) => {
                let lead = woken.scaled(WAKEUP_GRANULARITY);
                woken.virtual_time.saturating_add(lead) < current.virtual_time
            }
            _ => false,
        }
    }

    fn knows(&self, task: TaskId) -> bool {
        self.records.get(task).is_some()
    }

    fn len(&self) -> usize {
        self.queue.len()
    }

    fn for_each(&self, visit: &mut dyn FnMut(TaskId)) {
        self.queue.iter().for_each(visit);
    }
}
