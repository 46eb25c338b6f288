//! The policy around the network.

use super::decisions::{Decision, Decisions, Seen};
use super::network::{TOKENS, Tokens, Weights};
use super::versions::Versions;
use crate::fast::{exp, ln};
use crate::fluid::{BurstId, Fluid};
use crate::guard::Candidate;
use crate::history::{History, Outlook, Prospect, Signs, signs};
use crate::ordered::Ordered;
use crate::table::Table;
use crate::{Enqueue, Entity, Nanos, Pick, Policy, QueueError, RegisterError, TaskId};

const UNIT_WEIGHT: f32 = 1024.0;
/// Slices are within these bounds.
const SHORTEST_SLICE: Nanos = 200_000;
const LONGEST_SLICE: Nanos = 100_000_000;
/// A woken task must be expected to take at most this share of what the running one has left, to take the CPU at once.
const PREEMPT_BELOW: f32 = 0.5;
/// A task that is owed all that it needs counts as if it needed this share of it.
pub(super) const LATE: f32 = 0.02;
/// One decision in so many is kept to learn from.
const KEEP_EVERY: u32 = 2;
/// Step of gradient descent, and its longest length.
const RATE: f32 = 0.001;
const LONGEST_STEP: f32 = 0.005;
/// Share of a new value in running averages over 20 bursts.
const STEP: f32 = 0.1;

/// How learning goes.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Learning {
    /// Steps of gradient descent.
    pub steps: u64,
    /// Running average of the loss.
    pub loss: f32,
    /// Bursts that were predicted.
    pub predicted: u64,
    /// Running average of |ln predicted − ln seen| of whole bursts.
    pub error: f32,
    /// The same of the persistence baseline: as long as the last burst with the same most specific sign.
    pub persistence_error: f32,
}

struct Record {
    weight: f32,
    /// ln(weight / 1024) / 4.
    priority: f32,
    signs: Signs,
    outlook: Outlook,
    /// The last size with the most specific sign that was seen before.
    persistence: Option<f32>,
    prospect: Prospect,
    /// Number of the burst at hand.
    burst: u32,
    attained: Nanos,
    /// Of these, what the task had attained before it came to this CPU.
    brought: Nanos,
    /// Whether a burst is under way.
    active: bool,
    /// Since when it waits, while it is queued.
    since: Nanos,
    key: u64,
    /// The burst under ideal sharing: its number there, and where V was when it began.
    ideal: BurstId,
    origin: u64,
    queued: bool,
    /// When it blocked last, and what share of its time it sleeps.
    blocked: Nanos,
    began: Nanos,
    sleep_share: f32,
}

/// The policy; see the head of the module.
pub struct Transformer {
    records: Table<Record>,
    /// By effort over weight.
    queue: Ordered,
    /// By the time since when they wait.
    waiting: Ordered,
    running: Option<TaskId>,
    /// The latest time heard of.
    now: Nanos,
    history: History,
    fluid: Fluid,
    weights: Weights,
    decisions: Decisions,
    versions: Versions,
    /// A decision to learn from.
    lesson: Option<Decision>,
    picks: u32,
    /// Running mean of ln(burst size): the scale of the features.
    mean_ln: f32,
    learning: Learning,
    learns: bool,
}

impl Transformer {
    /// Untrained; `None` when there is no memory for its history.
    #[must_use]
    pub fn new() -> Option<Self> {
        Some(Self {
            records: Table::new(),
            queue: Ordered::new(),
            waiting: Ordered::new(),
            running: None,
            now: 0,
            history: History::new()?,
            fluid: Fluid::new()?,
            weights: Weights::untrained(),
            decisions: Decisions::new()?,
            versions: Versions::new()?,
            lesson: None,
            picks: 0,
            mean_ln: ln(3e6),
            learning: Learning::default(),
            learns: true,
        })
    }

    /// Switches learning of the network off or on; the history goes on.
    pub fn set_learning(&mut self, on: bool) {
        self.learns = on;
    }

    /// The weights as they are.
    #[must_use]
    pub fn weights(&self) -> &Weights {
        &self.weights
    }

    /// Makes one weight no number, as a fault in learning would: for tests of what becomes of that.
    pub fn poison(&mut self) {
        self.weights.poison();
    }

    /// Other weights, such as saved ones; those that it has are put by first.
    pub fn load(&mut self, weights: Weights) {
        self.save();
        self.weights = weights;
    }

    /// Puts the weights by; returns the version's number.
    pub fn save(&mut self) -> u32 {
        self.versions.save(&self.weights, self.now, self.learning.steps, self.learning.loss)
    }

    /// Goes back to the version put by last, which is forgotten; `None` when there is none. Returns its number.
    pub fn rollback(&mut self) -> Option<u32> {
        let version = self.versions.pop()?;
        self.weights = version.weights;
        Some(version.number)
    }

    /// The versions put by, oldest first.
    #[must_use]
    pub fn versions(&self) -> &Versions {
        &self.versions
    }

    /// How learning goes.
    #[must_use]
    pub fn learning(&self) -> Learning {
        self.learning
    }

    /// What is expected of a task's burst, from its beginning.
    #[must_use]
    pub fn outlook(&self, task: TaskId) -> Option<&Outlook> {
        self.records.get(task).map(|record| &record.outlook)
    }

    /// The running task was neither queued again nor charged any more: its burst has ended.
    fn settle(&mut self, now: Nanos) {
        let Some(task) = self.running.take() else { return };
        let Some(record) = self.records.get_mut(task) else { return };
        if !record.active || record.attained == 0 {
            return;
        }
        record.active = false;
        record.blocked = now;
        let size = record.attained;
        let seen = ln(size.max(1) as f32);
        if let (Some(median), Some(last)) = (record.outlook.median(), record.persistence) {
            let learning = &mut self.learning;
            learning.predicted += 1;
            let step = (1.0 / learning.predicted as f32).max(0.005);
            learning.error += ((ln(median) - seen).abs() - learning.error) * step;
            learning.persistence_error += ((ln(last) - seen).abs() - learning.persistence_error) * step;
        }
        self.mean_ln += (seen - self.mean_ln) * 0.02;
        self.decisions.ended(task, record.burst, size);
        let (signs, ideal, here) = (record.signs, record.ideal, size - record.brought);
        self.history.learn(&signs, size);
        self.fluid.advance(now, &mut |_| {});
        self.fluid.end(ideal, here);
    }

    /// Where a task stands: V at the end of its burst, if it has as much ahead as its effort.
    fn key(record: &Record, prospect: &Prospect) -> u64 {
        let ahead =
            (prospect.effort + (record.attained - record.brought) as f32) * (UNIT_WEIGHT / record.weight);
        record.origin.saturating_add(ahead as u64)
    }

    /// A tenth more than it should run before looking again, so that a burst as long as expected ends within it.
    fn slice(record: &Record) -> Nanos {
        ((record.prospect.stretch * 1.1) as Nanos).clamp(SHORTEST_SLICE, LONGEST_SLICE)
    }

    /// What it is owed, compared to ideal sharing, in nanoseconds.
    fn lag(&self, record: &Record) -> f32 {
        let due =
            self.fluid.virtual_time().saturating_sub(record.origin) as f32 * (record.weight / UNIT_WEIGHT);
        due - (record.attained - record.brought) as f32
    }

    /// A token for each of the tasks that a pick looks at.
    fn look(&self) -> (Tokens, [Seen; TOKENS], usize) {
        let mut tokens = Tokens::zeros();
        let mut seen = [Seen::default(); TOKENS];
        let mut tasks = 0;
        let oldest = self.waiting.first().map(|(_, task)| task);
        let first = self.queue.iter().filter(|task| Some(*task) != oldest).take(TOKENS - 1);
        let scale = exp(-self.mean_ln);
        let (mut ranks, mut owed) = ([1.0_f32; TOKENS], [0.0_f32; TOKENS]);
        for (task, record) in
            oldest.into_iter().chain(first).filter_map(|task| Some((task, self.records.get(task)?)))
        {
            let effort = record.prospect.effort;
            let lag = self.lag(record);
            ranks[tasks] = (effort - lag).max(LATE * effort) * scale;
            owed[tasks] = 1.0 + lag.max(0.0) * scale;
            tokens[(tasks, 2)] = record.sleep_share;
            tokens[(tasks, 3)] = record.priority;
            seen[tasks] = Seen {
                task,
                burst: record.burst,
                weight: record.weight / UNIT_WEIGHT,
                attained: record.attained,
                expected: record.prospect.remaining,
                owed: lag,
                left: None,
            };
            tasks += 1;
        }
        for i in 0..TOKENS {
            tokens[(i, 0)] = (ln(ranks[i]) / 4.0).clamp(-4.0, 4.0);
            tokens[(i, 1)] = (ln(owed[i]) / 4.0).clamp(0.0, 4.0);
        }
        (tokens, seen, tasks)
    }
}

impl Candidate for Transformer {
    fn prefer(&mut self, now: Nanos) -> Option<Pick> {
        self.settle(now);
        self.fluid.advance(now, &mut |_| {});
        let (tokens, seen, tasks) = self.look();
        let mut best = 0;
        if tasks > 1 {
            let pass = self.weights.forward(&tokens, tasks);
            for i in 1..tasks {
                if pass.outputs[(i, 1)] > pass.outputs[(best, 1)] {
                    best = i;
                }
            }
            self.picks = self.picks.wrapping_add(1);
            if self.learns && self.picks.is_multiple_of(KEEP_EVERY) {
                self.lesson = self.decisions.add(Decision::new(tokens, seen, tasks)).or(self.lesson.take());
            }
        } else if tasks == 0 {
            return None;
        }
        let task = seen[best].task;
        let slice = self.records.get(task).map(Self::slice)?;
        Some(Pick { task, slice })
    }

    fn expected(&self, task: TaskId) -> Option<Nanos> {
        self.records.get(task).map(|record| record.prospect.remaining as Nanos)
    }

    fn healthy(&self) -> bool {
        self.weights.finite() && self.mean_ln.is_finite()
    }

    fn restart(&mut self) {
        self.weights = Weights::untrained();
        self.mean_ln = ln(3e6);
        self.learning = Learning::default();
    }
}

impl Policy for Transformer {
    fn name(&self) -> &'static str {
        "transformer"
    }

    fn register(&mut self, entity: &Entity, now: Nanos) -> Result<(), RegisterError> {
        let task = entity.id();
        let tasks = self.records.len() + 1;
        self.queue.reserve(tasks, task)?;
        self.waiting.reserve(tasks, task)?;
        let outlook = Outlook::default();
        let record = Record {
            weight: entity.weight() as f32,
            priority: 0.0,
            signs: Signs::default(),
            prospect: outlook.prospect(0, self.history.tail()),
            outlook,
            persistence: None,
            burst: 0,
            attained: 0,
            brought: 0,
            active: false,
            since: now,
            key: 0,
            ideal: 0,
            origin: 0,
            queued: false,
            blocked: now,
            began: now,
            sleep_share: 0.0,
        };
        self.records.insert(task, record)
    }

    fn unregister(&mut self, task: TaskId) -> bool {
        self.dequeue(task);
        if self.running == Some(task) {
            // It has ended, as far as this CPU is concerned.
            self.settle(self.now);
        }
        let Some(record) = self.records.remove(task) else { return false };
        if record.active {
            // It moves in the middle of a burst, which is learned of where it ends.
            self.fluid.leave(record.ideal, record.attained - record.brought);
        }
        true
    }

    fn enqueue(&mut self, entity: &Entity, why: Enqueue, now: Nanos) -> Result<(), QueueError> {
        let task = entity.id();
        let record = self.records.get(task).ok_or(QueueError::Unknown { task })?;
        if record.queued {
            return Err(QueueError::AlreadyQueued { task });
        }
        if self.running == Some(task) {
            if matches!(why, Enqueue::Preempted | Enqueue::Yielded) {
                self.running = None;
            } else {
                self.settle(now);
            }
        }
        let Some(record) = self.records.get_mut(task) else { return Err(QueueError::Unknown { task }) };
        if record.weight != entity.weight() as f32 || record.burst == 0 {
            record.weight = entity.weight() as f32;
            record.priority = ln(record.weight / UNIT_WEIGHT) / 4.0;
        }
        if !record.active {
            record.active = true;
            record.brought = if why == Enqueue::New { entity.burst() } else { 0 };
            record.attained = record.brought;
            record.burst = record.burst.wrapping_add(1);
            record.signs = signs(task, entity.origin());
            if why == Enqueue::New {
                // A sign of its own is worth a ring only for who comes back.
                record.signs[0] = 0;
            } else {
                let (slept, passed) =
                    (now.saturating_sub(record.blocked), now.saturating_sub(record.began).max(1));
                record.sleep_share += (slept as f32 / passed as f32 - record.sleep_share) * STEP;
            }
            record.began = now;
            record.outlook = self.history.outlook(&record.signs);
            record.persistence = self.history.last(&record.signs);
            self.fluid.advance(now, &mut |_| {});
            let size = record.outlook.prospect(record.attained, self.history.tail()).remaining as Nanos;
            let last = (why != Enqueue::New).then_some(record.ideal);
            (record.ideal, record.origin) = self.fluid.begin(size, entity.weight(), last, false);
        }
        record.prospect = record.outlook.prospect(record.attained, self.history.tail());
        record.queued = true;
        record.since = now;
        record.key = Self::key(record, &record.prospect);
        self.queue.insert(record.key, task);
        self.waiting.insert(now, task);
        Ok(())
    }

    fn dequeue(&mut self, task: TaskId) -> bool {
        let Some(record) = self.records.get_mut(task).filter(|record| record.queued) else { return false };
        record.queued = false;
        self.waiting.remove(record.since, task);
        self.queue.remove(record.key, task)
    }

    fn pick(&mut self, now: Nanos) -> Option<Pick> {
        let Pick { task, .. } = self.prefer(now)?;
        Some(Pick { task, slice: self.take(task, now)? })
    }

    fn take(&mut self, task: TaskId, now: Nanos) -> Option<Nanos> {
        if !self.dequeue(task) {
            return None;
        }
        self.settle(now);
        self.running = Some(task);
        self.records.get(task).map(Self::slice)
    }

    fn charge(&mut self, task: TaskId, ran: Nanos, now: Nanos) {
        self.now = self.now.max(now);
        let Some(record) = self.records.get_mut(task) else { return };
        record.attained = record.attained.saturating_add(ran);
    }

    fn preempts(&self, woken: TaskId, current: TaskId, _now: Nanos) -> bool {
        match (self.records.get(woken), self.records.get(current)) {
            (Some(woken), Some(current)) => {
                let prospect = current.outlook.prospect(current.attained, self.history.tail());
                let margin = (1.0 - PREEMPT_BELOW) * prospect.effort * (UNIT_WEIGHT / current.weight);
                woken.key.saturating_add(margin as u64) < Self::key(current, &prospect)
            }
            _ => false,
        }
    }

    fn maintain(&mut self, _now: Nanos) -> bool {
        if !self.learns {
            return false;
        }
        let Some(lesson) = self.lesson.take().or_else(|| self.decisions.take_complete()) else {
            return false;
        };
        let pass = self.weights.forward(&lesson.tokens, lesson.tasks);
        let (loss, gradient) = self.weights.gradient(&lesson.tokens, &pass, &lesson.target());
        if self.weights.descend(&gradient, RATE, LONGEST_STEP) {
            self.learning.steps += 1;
            self.learning.loss += (loss - self.learning.loss) * 0.02;
        }
        true
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
