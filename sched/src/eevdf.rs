//! EEVDF, the baseline of the fair class: of the tasks that are owed CPU time, the one whose request is due first.
//!
//! After Stoica and Abdel-Wahab, "Earliest Eligible Virtual Deadline First" (1995), as Linux has it since 6.6:
//!
//! - A task's *virtual time* v advances by what it ran, times 1024 / its weight. The queue's virtual time V is the mean of the
//!   competing tasks' v, weighted: where an ideal processor that serves all at once would have taken each of them.
//! - *Lag* is what a task is owed: weight · (V − v). A task is **eligible** while its lag is not negative.
//! - Each task asks for [`SLICE`] at a time; the *virtual deadline* of that request is v at its start + `SLICE` · 1024 / weight.
//!   The eligible task with the earliest deadline runs next. A request that has been served is followed by the next one.
//! - A task that blocks keeps its lag, within one slice either way, and comes back with it: sleeping neither earns nor loses time.
//!   A new task comes with none; one that moves to another CPU takes its lag along.
//!
//! *Bound* (theorem 1 of the paper): while the same tasks compete, no lag leaves −slice..slice, so nobody waits for longer than one
//! slice of every other task.

use crate::ordered::Ordered;
use crate::table::Table;
use crate::{Enqueue, Entity, Luggage, Nanos, Pick, Policy, QueueError, RegisterError, TaskId};

/// What a task asks for at a time: 3 ms, Linux's `base_slice` on an 8-CPU machine.
pub const SLICE: Nanos = 3_000_000;

/// No slice is shorter than this, 10 µs, however little of a request is left.
const SHORTEST: Nanos = 10_000;

const UNIT_WEIGHT: u64 = 1024;
/// Where virtual time starts: so far from 0 that no lag takes a task below it.
const ORIGIN: u64 = 1 << 48;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Does not compete; its lag, in virtual time, waits for it.
    Away {
        lag: i64,
    },
    Queued,
    Running,
}

struct Record {
    weight: u32,
    virtual_time: u64,
    deadline: u64,
    place: Place,
}

impl Record {
    fn scaled(&self, time: Nanos) -> u64 {
        time.saturating_mul(UNIT_WEIGHT) / u64::from(self.weight.max(1))
    }

    fn weight(&self) -> i128 {
        i128::from(self.weight)
    }
}

/// `a / b`. Nearly always both fit in 64 bits, where dividing is an instruction.
fn divided(a: i128, b: i128) -> i128 {
    match (i64::try_from(a), i64::try_from(b)) {
        (Ok(a), Ok(b)) if b > 0 => i128::from(a / b),
        _ => a / b,
    }
}

/// `a / b` rounded down, for a positive `b`.
fn floor_divided(a: i128, b: i128) -> i128 {
    let towards_0 = divided(a, b);
    if towards_0 * b > a { towards_0 - 1 } else { towards_0 }
}

/// The policy; see the head of `eevdf.rs`.
pub struct Eevdf {
    records: Table<Record>,
    /// Queued tasks by virtual deadline.
    queue: Ordered,
    running: Option<TaskId>,
    /// Sum of the competing tasks' weights.
    weight: i128,
    /// V is `base` + `excess` / `weight`.
    base: u64,
    /// Sum of weight · (v − base) over the competing tasks.
    excess: i128,
}

impl Default for Eevdf {
    fn default() -> Self {
        Self::new()
    }
}

impl Eevdf {
    /// An empty queue.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            records: Table::new(),
            queue: Ordered::new(),
            running: None,
            weight: 0,
            base: ORIGIN,
            excess: 0,
        }
    }

    /// Moves `base` to V, rounded down, so that `excess` stays small.
    fn rebase(&mut self) {
        if self.weight > 0 {
            let step = floor_divided(self.excess, self.weight);
            self.base = self.base.saturating_add_signed(i64::try_from(step).unwrap_or(0));
            self.excess -= step * self.weight;
        }
    }

    fn eligible(&self, virtual_time: u64) -> bool {
        (i128::from(virtual_time) - i128::from(self.base)) * self.weight <= self.excess
    }

    /// A task begins to compete at `virtual_time`.
    fn join(&mut self, weight: i128, virtual_time: u64) {
        self.weight += weight;
        self.excess += weight * (i128::from(virtual_time) - i128::from(self.base));
        self.rebase();
    }

    /// A competing task stops competing, and takes its lag with it.
    fn part(&mut self, task: TaskId) {
        let Some(record) = self.records.get_mut(task) else { return };
        let limit = i128::from(record.scaled(SLICE));
        let behind = i128::from(self.base) - i128::from(record.virtual_time);
        let lag = i64::try_from(behind.clamp(-limit, limit)).unwrap_or(0);
        self.weight -= record.weight();
        self.excess -= record.weight() * -behind;
        record.place = Place::Away { lag };
        self.rebase();
    }

    /// The running task was neither queued again nor charged any more: it has blocked.
    fn settle(&mut self) {
        if let Some(task) = self.running.take() {
            self.part(task);
        }
    }

    /// The lag of a competing task in nanoseconds of CPU time: what it is owed.
    #[must_use]
    pub fn lag(&self, task: TaskId) -> Option<i64> {
        let record = self.records.get(task)?;
        if matches!(record.place, Place::Away { .. }) || self.weight == 0 {
            return None;
        }
        let ahead = i128::from(record.virtual_time) - i128::from(self.base);
        let lag = (self.excess - ahead * self.weight) * record.weight() / self.weight;
        i64::try_from(lag / i128::from(UNIT_WEIGHT)).ok()
    }
}

impl Policy for Eevdf {
    fn name(&self) -> &'static str {
        "eevdf"
    }

    fn register(&mut self, entity: &Entity, _now: Nanos) -> Result<(), RegisterError> {
        let task = entity.id();
        self.queue.reserve(self.records.len() + 1, task)?;
        let place = Place::Away { lag: 0 };
        self.records.insert(task, Record { weight: entity.weight(), virtual_time: 0, deadline: 0, place })
    }

    fn unregister(&mut self, task: TaskId) -> bool {
        self.dequeue(task);
        if self.running == Some(task) {
            self.settle();
        }
        self.records.remove(task).is_some()
    }

    fn luggage(&self, task: TaskId) -> Luggage {
        let behind = self.records.get(task).filter(|record| record.place == Place::Queued).map(|record| {
            // `base` is V to less than a nanosecond.
            (i128::from(self.base) - i128::from(record.virtual_time)).clamp(i64::MIN.into(), i64::MAX.into())
        });
        Luggage { lag: behind.unwrap_or(0) as i64, ..Luggage::default() }
    }

    fn enqueue(&mut self, entity: &Entity, why: Enqueue, _now: Nanos) -> Result<(), QueueError> {
        let task = entity.id();
        let record = self.records.get(task).ok_or(QueueError::Unknown { task })?;
        if record.place == Place::Queued {
            return Err(QueueError::AlreadyQueued { task });
        }
        let again = record.place == Place::Running && matches!(why, Enqueue::Preempted | Enqueue::Yielded);
        if self.running == Some(task) {
            self.settle();
        }
        let (base, competing) = (self.base, self.weight);
        let Some(record) = self.records.get_mut(task) else { return Err(QueueError::Unknown { task }) };
        record.weight = entity.weight();
        if !again {
            let lag = match (why, record.place) {
                (Enqueue::Moved, _) => {
                    let limit = record.scaled(SLICE) as i64;
                    entity.luggage().lag.clamp(-limit, limit)
                }
                (Enqueue::New, _) | (_, Place::Queued | Place::Running) => 0,
                (_, Place::Away { lag }) => lag,
            };
            // Coming back with a lag moves V itself; so much more is needed that the lag is as it was once it is there.
            let lag = if competing > 0 {
                divided(i128::from(lag) * (competing + record.weight()), competing)
            } else {
                0
            };
            record.virtual_time = base.saturating_sub_signed(i64::try_from(lag).unwrap_or(0));
            record.deadline = record.virtual_time.saturating_add(record.scaled(SLICE));
        }
        if why == Enqueue::Yielded {
            // It gives up the rest of its request, and is not owed anything while others are.
            record.virtual_time = record.virtual_time.max(base.saturating_add(1));
            record.deadline = record.virtual_time.max(record.deadline).saturating_add(record.scaled(SLICE));
        }
        record.place = Place::Queued;
        let (weight, virtual_time, deadline) = (record.weight(), record.virtual_time, record.deadline);
        self.queue.insert(deadline, task);
        self.join(weight, virtual_time);
        Ok(())
    }

    fn dequeue(&mut self, task: TaskId) -> bool {
        let Some(record) = self.records.get(task).filter(|record| record.place == Place::Queued) else {
            return false;
        };
        self.queue.remove(record.deadline, task);
        self.part(task);
        true
    }

    fn pick(&mut self, now: Nanos) -> Option<Pick> {
        self.settle();
        let virtual_time = |task| self.records.get(task).map_or(u64::MAX, |record| record.virtual_time);
        let task = self.queue.iter().find(|&task| self.eligible(virtual_time(task)));
        let task = task.or_else(|| self.queue.iter().min_by_key(|&task| virtual_time(task)))?;
        Some(Pick { task, slice: self.take(task, now)? })
    }

    fn take(&mut self, task: TaskId, _now: Nanos) -> Option<Nanos> {
        let record = self.records.get(task).filter(|record| record.place == Place::Queued)?;
        self.queue.remove(record.deadline, task);
        self.settle();
        let record = self.records.get_mut(task)?;
        record.place = Place::Running;
        self.running = Some(task);
        let left = record.deadline.saturating_sub(record.virtual_time);
        // Rounded up: what is left must be used up by running for that long.
        Some(left.saturating_mul(u64::from(record.weight)).div_ceil(UNIT_WEIGHT).clamp(SHORTEST, SLICE))
    }

    fn charge(&mut self, task: TaskId, ran: Nanos, _now: Nanos) {
        let Some(record) = self.records.get_mut(task) else { return };
        let before = record.deadline;
        let passed = record.scaled(ran);
        record.virtual_time = record.virtual_time.saturating_add(passed);
        if record.virtual_time >= record.deadline {
            record.deadline = record.virtual_time.saturating_add(record.scaled(SLICE));
        }
        let (after, weight) = (record.deadline, record.weight());
        match record.place {
            Place::Away { .. } => return,
            Place::Running => {}
            Place::Queued => {
                self.queue.remove(before, task);
                self.queue.insert(after, task);
            }
        }
        self.excess += weight * i128::from(passed);
        self.rebase();
    }

    fn preempts(&self, woken: TaskId, current: TaskId, _now: Nanos) -> bool {
        match (self.records.get(woken), self.records.get(current)) {
            (Some(woken), Some(current)) => {
                self.eligible(woken.virtual_time) && woken.deadline < current.deadline
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
