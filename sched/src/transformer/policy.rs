//! The policy around the network.

use super::decisions::{Decisions, Places, Seen};
use super::lesson::Lesson;
use super::network::{TOKENS, Weights};
use super::quick::{POINT, Quick, Token};
use super::versions::Versions;
use crate::fixed::{ONE, as_ln, exp2, log2};
use crate::fluid::{BurstId, Fluid};
use crate::guard::Candidate;
use crate::history::{History, Outlook, Prospect, Signs, signs};
use crate::ordered::Ordered;
use crate::table::Table;
use crate::{Enqueue, Entity, Nanos, Origin, Pick, Policy, QueueError, RegisterError, TaskId};

const UNIT_WEIGHT: u64 = 1024;
/// Slices are within these bounds.
const SHORTEST_SLICE: Nanos = 200_000;
const LONGEST_SLICE: Nanos = 100_000_000;
/// A woken task must be expected to take at most 1/2 of what the running one has left, to take the CPU at once.
const PREEMPT_BELOW: Nanos = 2;
/// A task that is owed all that it needs counts as if it needed 1/50 of it.
pub(super) const LATE: Nanos = 50;
/// One decision in so many is kept to learn from.
const KEEP_EVERY: u32 = 2;
/// A new value has a share of one in so many in running averages over 20 bursts.
const AVERAGED: i32 = 10;
/// And in that of all sizes.
const ALL_AVERAGED: i32 = 50;
/// And in those of the errors of predictions; a logarithm has 24 bits behind the point there.
const ERRORS_AVERAGED: u64 = 200;
/// Mean size before any was seen: 3 ms.
const MEAN: Nanos = 3_000_000;

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

/// What [`Learning`] tells, in whole numbers.
#[derive(Default)]
struct Errors {
    predicted: u64,
    own: i64,
    persistence: i64,
}

impl Errors {
    /// A burst was foretold twice, and has ended: all three as log₂.
    fn add(&mut self, own: i32, persistence: i32, seen: i32) {
        self.predicted += 1;
        let last = self.predicted.min(ERRORS_AVERAGED) as i64;
        for (average, foretold) in [(&mut self.own, own), (&mut self.persistence, persistence)] {
            *average += ((i64::from((foretold - seen).abs()) << 8) - *average) / last;
        }
    }
}

struct Record {
    weight: u32,
    /// ln(weight / 1024) / 4, as in a token.
    priority: i16,
    /// What its signs are made of.
    known: Origin,
    signs: Signs,
    outlook: Outlook,
    /// The last size with the most specific sign that was seen before.
    persistence: Option<Nanos>,
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
    sleep_share: i16,
    places: Places,
}

/// What a pick looks at.
struct View {
    tokens: [Token; TOKENS],
    /// Where the tasks' records are.
    at: [usize; TOKENS],
    tasks: usize,
}

/// ln 2 / 4 · 2¹⁶.
const QUARTER_LN2: i64 = 11_357;

/// A quarter of the natural logarithm, as in a token, of a logarithm as in [`crate::fixed`].
fn feature(logarithm: i32) -> i16 {
    let feature = (i64::from(logarithm) * QUARTER_LN2) >> (32 - POINT);
    feature.clamp(i64::from(i16::MIN), i64::from(i16::MAX)) as i16
}

fn scaled(time: Nanos, weight: u32) -> Nanos {
    match weight {
        1024 => time,
        _ => time.saturating_mul(UNIT_WEIGHT) / u64::from(weight.max(1)),
    }
}

/// What a task is owed at `virtual_time`, compared to ideal sharing.
fn owed(record: &Record, virtual_time: u64) -> i64 {
    let passed = virtual_time.saturating_sub(record.origin);
    let due = passed.saturating_mul(u64::from(record.weight)) / UNIT_WEIGHT;
    due as i64 - (record.attained - record.brought) as i64
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
    /// The same, as a decision reads them; and whether all of them are finite.
    quick: Quick,
    finite: bool,
    /// Counts exchanges of the weights that were not learned.
    exchanged: u32,
    decisions: Decisions,
    versions: Versions,
    picks: u32,
    /// Running mean of log₂(burst size), and that size: the scale of the features.
    mean_log2: i32,
    mean: Nanos,
    errors: Errors,
    /// Steps, and the running average of their loss.
    steps: u64,
    loss: f32,
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
            quick: Quick::new(&Weights::untrained()),
            weights: Weights::untrained(),
            finite: true,
            exchanged: 0,
            decisions: Decisions::new()?,
            versions: Versions::new()?,
            picks: 0,
            mean_log2: log2(MEAN),
            mean: MEAN,
            errors: Errors::default(),
            steps: 0,
            loss: 0.0,
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
        let mut weights = self.weights.clone();
        weights.poison();
        self.exchange(weights);
    }

    fn exchange(&mut self, weights: Weights) {
        self.quick = Quick::new(&weights);
        self.finite = weights.finite();
        self.weights = weights;
        self.exchanged = self.exchanged.wrapping_add(1);
    }

    /// Other weights, such as saved ones; those that it has are put by first.
    pub fn load(&mut self, weights: Weights) {
        self.save();
        self.exchange(weights);
    }

    /// Puts the weights by; returns the version's number.
    pub fn save(&mut self) -> u32 {
        self.versions.save(&self.weights, self.now, self.steps, self.loss)
    }

    /// Goes back to the version put by last, which is forgotten; `None` when there is none. Returns its number.
    pub fn rollback(&mut self) -> Option<u32> {
        let version = self.versions.pop()?;
        self.exchange(version.weights);
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
        let Errors { predicted, own, persistence } = self.errors;
        let (error, persistence_error) = (as_ln((own >> 8) as i32), as_ln((persistence >> 8) as i32));
        Learning { steps: self.steps, loss: self.loss, predicted, error, persistence_error }
    }

    /// What to learn from next, to be taken elsewhere: [`Lesson::learn`] takes a while, and needs nothing of this. `None` when there is
    /// nothing.
    pub fn lesson(&mut self) -> Option<Lesson> {
        let decision = if self.learns { self.decisions.lesson()? } else { return None };
        Some(Lesson::new(decision, self.weights.clone(), self.exchanged))
    }

    /// A lesson comes back, learned. Weights that were exchanged meanwhile stay.
    pub fn learned(&mut self, lesson: &Lesson) {
        if let Some((weights, quick, finite, loss)) = lesson.outcome(self.exchanged) {
            self.weights.clone_from(weights);
            self.quick = *quick;
            self.finite = finite;
            self.steps += 1;
            self.loss += (loss - self.loss) * 0.02;
        }
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
        let seen = log2(size);
        if let (Some(median), Some(last)) = (record.outlook.median(), record.persistence) {
            self.errors.add(log2(median), log2(last), seen);
        }
        self.mean_log2 += (seen - self.mean_log2) / ALL_AVERAGED;
        self.mean = exp2(self.mean_log2);
        self.decisions.ended(task, record.burst, size, &core::mem::take(&mut record.places));
        self.history.learn(&record.signs, size);
        self.fluid.advance(now, &mut |_| {});
        self.fluid.end(record.ideal, size - record.brought);
    }

    /// Where a task stands: V at the end of its burst, if it has as much ahead as its effort.
    fn key(record: &Record, prospect: &Prospect) -> u64 {
        let ahead = prospect.effort.saturating_add(record.attained - record.brought);
        record.origin.saturating_add(scaled(ahead, record.weight))
    }

    /// A tenth more than it should run before looking again, so that a burst as long as expected ends within it.
    fn slice(record: &Record) -> Nanos {
        let stretch = record.prospect.stretch;
        stretch.saturating_add(stretch / 10).clamp(SHORTEST_SLICE, LONGEST_SLICE)
    }

    /// A token for each of the tasks that a pick looks at.
    fn look(&self) -> View {
        let mut view = View { tokens: [[0; 4]; TOKENS], at: [0; TOKENS], tasks: 0 };
        let oldest = self.waiting.first().map(|(_, task)| task);
        let first = self.queue.iter().filter(|task| Some(*task) != oldest).take(TOKENS - 1);
        let places = view.tokens.iter_mut().zip(&mut view.at);
        for (task, (token, place)) in oldest.into_iter().chain(first).zip(places) {
            let Some((at, (_, record))) =
                self.records.position(task).and_then(|at| Some((at, self.records.at(at)?)))
            else {
                break;
            };
            let (effort, lag) = (record.prospect.effort, owed(record, self.fluid.virtual_time()));
            let rank = (effort as i64 - lag).max((effort / LATE) as i64);
            let owed = if lag > 0 { log2(self.mean.saturating_add(lag as u64)) - self.mean_log2 } else { 0 };
            *token = [
                feature(log2(rank as u64) - self.mean_log2),
                feature(owed.max(0)),
                record.sleep_share,
                record.priority,
            ];
            *place = at;
            view.tasks += 1;
        }
        view
    }

    /// Keeps what was looked at, to learn from it.
    fn keep(&mut self, view: &View) {
        let virtual_time = self.fluid.virtual_time();
        let (decision, number) = self.decisions.add();
        for (place, (&at, token)) in (0..).zip(view.at.iter().zip(&view.tokens)).take(view.tasks) {
            let Some((task, _)) = self.records.at(at) else { return };
            let Some(record) = self.records.at_mut(at) else { return };
            record.places.add(number, place);
            let seen = Seen {
                task,
                burst: record.burst,
                weight: record.weight,
                attained: record.attained,
                expected: record.prospect.remaining,
                owed: owed(record, virtual_time),
                left: None,
            };
            decision.add(*token, seen);
        }
    }
}

impl Candidate for Transformer {
    fn prefer(&mut self, now: Nanos) -> Option<Pick> {
        self.settle(now);
        self.fluid.advance(now, &mut |_| {});
        let view = self.look();
        let mut best = 0;
        if view.tasks > 1 {
            best = self.quick.choose(&view.tokens[..view.tasks]);
            self.picks = self.picks.wrapping_add(1);
            if self.learns && self.picks.is_multiple_of(KEEP_EVERY) {
                self.keep(&view);
            }
        } else if view.tasks == 0 {
            return None;
        }
        let (task, record) = self.records.at(view.at[best])?;
        Some(Pick { task, slice: Self::slice(record) })
    }

    fn expected(&self, task: TaskId) -> Option<Nanos> {
        self.records.get(task).map(|record| record.prospect.remaining)
    }

    fn healthy(&self) -> bool {
        self.finite
    }

    fn restart(&mut self) {
        self.exchange(Weights::untrained());
        (self.mean_log2, self.mean) = (log2(MEAN), MEAN);
        (self.errors, self.steps, self.loss) = (Errors::default(), 0, 0.0);
    }

    type Lesson = Lesson;

    fn lesson(&mut self) -> Option<Lesson> {
        Self::lesson(self)
    }

    fn learn(lesson: &mut Lesson) {
        lesson.learn();
    }

    fn learned(&mut self, lesson: &Lesson) {
        Self::learned(self, lesson);
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
        let record = Record {
            weight: entity.weight(),
            priority: 0,
            known: Origin::default(),
            signs: Signs::default(),
            prospect: Prospect::UNKNOWN,
            outlook: Outlook::default(),
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
            sleep_share: 0,
            places: Places::default(),
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
        let new = record.burst == 0;
        if record.weight != entity.weight() || new {
            record.weight = entity.weight();
            record.priority = feature(log2(u64::from(record.weight)) - 10 * ONE);
        }
        if !record.active {
            record.active = true;
            let here_first = matches!(why, Enqueue::New | Enqueue::Moved);
            record.brought = if here_first { entity.burst() } else { 0 };
            record.attained = record.brought;
            record.burst = record.burst.wrapping_add(1);
            if record.known != entity.origin() || new || record.signs[0] == 0 {
                record.known = entity.origin();
                record.signs = signs(task, record.known);
            }
            if here_first {
                // A sign of its own is worth a ring only for who comes back.
                record.signs[0] = 0;
            } else {
                let (slept, passed) =
                    (now.saturating_sub(record.blocked), now.saturating_sub(record.began).max(1));
                let share = ((slept.min(passed) << POINT) / passed) as i32;
                record.sleep_share += ((share - i32::from(record.sleep_share)) / AVERAGED) as i16;
            }
            record.began = now;
            record.outlook = self.history.outlook(&record.signs);
            record.persistence = self.history.last(&record.signs);
            self.fluid.advance(now, &mut |_| {});
            record.prospect = record.outlook.prospect(record.attained, self.history.tail());
            let last = (!here_first).then_some(record.ideal);
            let size = record.prospect.remaining;
            (record.ideal, record.origin) = self.fluid.begin(size, entity.weight(), last, false);
        } else {
            record.prospect = record.outlook.prospect(record.attained, self.history.tail());
        }
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
                let margin = prospect.effort - prospect.effort / PREEMPT_BELOW;
                woken.key.saturating_add(scaled(margin, current.weight)) < Self::key(current, &prospect)
            }
            _ => false,
        }
    }

    fn maintain(&mut self, _now: Nanos) -> bool {
        let Some(mut lesson) = Self::lesson(self) else { return false };
        lesson.learn();
        Self::learned(self, &lesson);
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
