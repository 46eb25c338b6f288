//! The simplest policies, as one: tasks stand in a line, and a *rule* says at which place a task joins it.

use crate::ordered::Ordered;
use crate::table::Table;
use crate::{Enqueue, Entity, Luggage, Nanos, Pick, Policy, QueueError, RegisterError, TaskId};

/// Where a task joins the line, and how long it may run when its turn comes.
pub trait Rule: Send + 'static {
    /// What the rule remembers of a task.
    type Memory: Default + Send;
    /// A word for tables.
    const NAME: &'static str;

    /// The place of a task that is queued now: the smallest goes first. `turn` grows with every call.
    fn place(&mut self, memory: &mut Self::Memory, why: Enqueue, turn: u64, now: Nanos) -> u64;

    /// How long a task may run.
    fn slice(&self, memory: &Self::Memory) -> Nanos;

    /// A task has run for `ran` more.
    fn ran(&mut self, _memory: &mut Self::Memory, _ran: Nanos) {}

    /// What a task takes along to another CPU, and has taken along from there.
    fn pack(&self, _memory: &Self::Memory) -> Luggage {
        Luggage::default()
    }

    /// See [`pack`](Self::pack).
    fn unpack(&self, _memory: &mut Self::Memory, _luggage: &Luggage) {}

    /// Whether a woken task takes the CPU from another.
    fn preempts(&self, _woken: &Self::Memory, _current: &Self::Memory) -> bool {
        false
    }
}

struct Record<M> {
    memory: M,
    /// Its key in the queue, while it is queued.
    place: Option<u64>,
}

/// The policy of a [`Rule`].
pub struct Line<R: Rule> {
    rule: R,
    records: Table<Record<R::Memory>>,
    queue: Ordered,
    turn: u64,
}

impl<R: Rule> Line<R> {
    /// An empty line.
    #[must_use]
    pub const fn with_rule(rule: R) -> Self {
        Self { rule, records: Table::new(), queue: Ordered::new(), turn: 0 }
    }
}

impl<R: Rule> Policy for Line<R> {
    fn name(&self) -> &'static str {
        R::NAME
    }

    fn register(&mut self, entity: &Entity, _now: Nanos) -> Result<(), RegisterError> {
        let task = entity.id();
        self.queue.reserve(self.records.len() + 1, task)?;
        self.records.insert(task, Record { memory: R::Memory::default(), place: None })
    }

    fn unregister(&mut self, task: TaskId) -> bool {
        self.dequeue(task);
        self.records.remove(task).is_some()
    }

    fn luggage(&self, task: TaskId) -> Luggage {
        self.records.get(task).map(|record| self.rule.pack(&record.memory)).unwrap_or_default()
    }

    fn enqueue(&mut self, entity: &Entity, why: Enqueue, now: Nanos) -> Result<(), QueueError> {
        let task = entity.id();
        let record = self.records.get_mut(task).ok_or(QueueError::Unknown { task })?;
        if record.place.is_some() {
            return Err(QueueError::AlreadyQueued { task });
        }
        self.turn += 1;
        if why == Enqueue::Moved {
            self.rule.unpack(&mut record.memory, &entity.luggage());
        }
        let place = self.rule.place(&mut record.memory, why, self.turn, now);
        record.place = Some(place);
        self.queue.insert(place, task);
        Ok(())
    }

    fn dequeue(&mut self, task: TaskId) -> bool {
        let place = self.records.get_mut(task).and_then(|record| record.place.take());
        place.is_some_and(|place| self.queue.remove(place, task))
    }

    fn pick(&mut self, now: Nanos) -> Option<Pick> {
        let (_, task) = self.queue.first()?;
        Some(Pick { task, slice: self.take(task, now)? })
    }

    fn take(&mut self, task: TaskId, _now: Nanos) -> Option<Nanos> {
        if !self.dequeue(task) {
            return None;
        }
        self.records.get(task).map(|record| self.rule.slice(&record.memory).max(1))
    }

    fn charge(&mut self, task: TaskId, ran: Nanos, _now: Nanos) {
        if let Some(record) = self.records.get_mut(task) {
            self.rule.ran(&mut record.memory, ran);
        }
    }

    fn preempts(&self, woken: TaskId, current: TaskId, _now: Nanos) -> bool {
        match (self.records.get(woken), self.records.get(current)) {
            (Some(woken), Some(current)) => self.rule.preempts(&woken.memory, &current.memory),
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
