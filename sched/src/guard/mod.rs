//! A policy that may be wrong, and cannot hurt.
//!
//! A [`Guard`] is a policy made of two: EEVDF, which always knows the truth about who is queued, and a [`Candidate`]. Both are told
//! everything; so either can decide at any time. The candidate decides only
//!
//! 1. within a **budget** of [`BUDGET`] for every call on the way to a switch, whether it asks (whom to run) or tells (who was queued, has
//!    run, was picked): a late answer is not used, and [`MAX_OVERRUNS`] decisions in a row with a call over the budget end its rule;
//! 2. for a task that **may run**: one that names another is not used, and ends its rule;
//! 3. as long as **nobody starves**: a task that has waited for longer than [`bound`](Guard::bound) runs at once;
//! 4. as long as it **pays**: over windows of bursts, response times are compared with those of ideal sharing ([`Fluid`]), and with how
//!    EEVDF itself compares to that. Worse in the mean, or clearly worse in the tail, ends its rule;
//! 5. after a **cooldown**, doubled with every return that was not asked for, and not before the sizes of bursts turn out to be
//!    foreseeable in *shadow* mode, in which it predicts without acting.
//!
//! A candidate that panics or does not return is dealt with by a [`Contain`] that the caller brings.

mod candidate;
mod contain;
mod judge;
mod report;
mod score;

pub use candidate::Candidate;
pub use contain::{Contain, Ending, Trusting};
pub use report::{Counts, Reason, Rule, SwitchOver};
pub use score::{Foresight, Pairs, Ratio, WINDOW};

use alloc::boxed::Box;
use core::cell::Cell;

use crate::fluid::{BurstId, Fluid};
use crate::ordered::Ordered;
use crate::table::Table;
use crate::{
    Eevdf, Enqueue, Entity, Latency, Luggage, Nanos, Pick, Policy, QueueError, RegisterError, SLICE, TaskId,
};
use score::Score;

/// What a call of the candidate may take on the way to a switch: 50 µs.
pub const BUDGET: Nanos = 50_000;
/// So many decisions in a row with an overrun, and the candidate's rule ends.
pub const MAX_OVERRUNS: u32 = 4;
/// In shadow mode, of so many decisions no more than half may have a call over the budget.
const SHADOW_WINDOW: u32 = 128;
/// In shadow mode, one decision in so many is asked of the candidate.
const ASK_EVERY: u64 = 8;
/// Windows of cooldown after the first return, and at most.
const COOLDOWN: u32 = 4;
const LONGEST_COOLDOWN: u32 = 64;
/// No task waits for longer than this, or than so many slices of every queued task.
const BOUND: Nanos = 2_000_000_000;
const BOUND_ROUNDS: u64 = 16;
/// Switch-overs that are remembered.
const LOG: usize = 16;

struct Record {
    /// As it was queued last.
    entity: Entity,
    active: bool,
    attained: Nanos,
    expected: Option<Nanos>,
    ideal: BurstId,
    /// Since when it waits, while it is queued.
    since: Option<Nanos>,
}

/// The guard.
pub struct Guard<C: Candidate> {
    classic: Eevdf,
    /// Its name, which outlives it.
    name: &'static str,
    /// `None` once it panicked or did not return. Where it was stopped it may be half changed, so it is never looked at again, not even to
    /// be dropped: its memory is lost.
    candidate: Option<Box<C>>,
    contain: Box<dyn Contain>,
    /// How the last question ended that was asked where nothing may change: [`ask`](Self::ask) draws the consequences.
    asked: Cell<Ending>,
    clock: fn() -> Nanos,
    records: Table<Record>,
    waiting: Ordered,
    running: Option<TaskId>,
    now: Nanos,
    /// Whether the candidate may act when that is promising.
    allowed: bool,
    rule: Rule,
    fluid: Fluid,
    pairs: Pairs,
    /// How EEVDF compares to ideal sharing here, and the candidate: by the bursts that began under the rule of each.
    classic_score: Score,
    candidate_score: Score,
    /// Windows until it may try again, and how many it will be next time.
    cooling: u32,
    cooldown: u32,
    /// Windows of bursts seen, and at which burst to look next.
    seen: usize,
    look_at: usize,
    look_after: u64,
    /// Decisions in a row with a call over the budget; and whether there was one since the last decision.
    overruns: u32,
    late: Cell<bool>,
    /// Late answers where nothing may change, which are still to be counted.
    late_answers: Cell<u64>,
    /// Decisions in shadow mode since they were last counted, and how many of them had a call over the budget.
    shadowed: u32,
    slow: u32,
    counts: Counts,
    latency: Latency,
    told: Latency,
    log: [Option<SwitchOver>; LOG],
    logged: usize,
}

impl<C: Candidate> Guard<C> {
    /// A guard around a candidate that has been told nothing yet, in shadow mode and allowed to act. `clock` says the time now (for the
    /// budget only). `None` when there is no memory.
    #[must_use]
    pub fn new(candidate: C, contain: Box<dyn Contain>, clock: fn() -> Nanos) -> Option<Self> {
        Some(Self {
            classic: Eevdf::new(),
            name: candidate.name(),
            candidate: Some(Box::new(candidate)),
            contain,
            asked: Cell::new(Ending::Returned),
            clock,
            records: Table::new(),
            waiting: Ordered::new(),
            running: None,
            now: 0,
            allowed: true,
            rule: Rule::Shadow,
            fluid: Fluid::new()?,
            pairs: Pairs::new(),
            classic_score: Score::new(),
            candidate_score: Score::new(),
            cooling: 0,
            cooldown: COOLDOWN,
            seen: 0,
            look_at: 0,
            look_after: 0,
            overruns: 0,
            late: Cell::new(false),
            late_answers: Cell::new(0),
            shadowed: 0,
            slow: 0,
            counts: Counts::default(),
            latency: Latency::default(),
            told: Latency::default(),
            log: [None; LOG],
            logged: 0,
        })
    }

    /// Who decides.
    #[must_use]
    pub fn rule(&self) -> Rule {
        self.rule
    }

    /// The counts.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// How long the candidate's decisions took.
    #[must_use]
    pub fn latency(&self) -> Latency {
        self.latency
    }

    /// How long the calls took that tell the candidate of what happens: that a task was queued, has run, was picked, has left.
    #[must_use]
    pub fn told(&self) -> Latency {
        self.told
    }

    /// Response times relative to ideal sharing: the classic policy's, and the candidate's.
    #[must_use]
    pub fn scores(&self) -> (Option<Ratio>, Option<Ratio>) {
        (self.classic_score.ratio(), self.candidate_score.ratio())
    }

    /// How well sizes are foretold; `None` before 8 bursts.
    #[must_use]
    pub fn foresight(&self) -> Option<Foresight> {
        self.pairs.foresight()
    }

    /// The last switch-overs, oldest first.
    pub fn log(&self) -> impl Iterator<Item = SwitchOver> {
        (self.logged.saturating_sub(LOG)..self.logged).filter_map(|at| self.log[at % LOG])
    }

    /// The candidate; `None` when it is broken.
    #[must_use]
    pub fn candidate(&self) -> Option<&C> {
        self.candidate.as_deref().filter(|_| self.asked.get() == Ending::Returned)
    }

    /// The candidate, for settings; not for scheduling calls. `None` when it is broken.
    pub fn candidate_mut(&mut self) -> Option<&mut C> {
        self.candidate.as_deref_mut().filter(|_| self.asked.get() == Ending::Returned)
    }

    /// Whether the candidate panicked or did not return; then it is gone, until [`replace`](Self::replace) brings another.
    #[must_use]
    pub fn broken(&self) -> bool {
        self.candidate().is_none()
    }

    /// Windows of bursts until the candidate may try again; 0: at any time.
    #[must_use]
    pub fn cooling(&self) -> u32 {
        self.cooling
    }

    /// `Acting`: the candidate decides from now on, until the guard finds otherwise. `Shadow`: it predicts and is scored, and does not
    /// act. `Off`: only the classic policy. `false` when the candidate is broken and cannot be asked.
    pub fn set_rule(&mut self, rule: Rule) -> bool {
        if self.broken() && rule != Rule::Off {
            return false;
        }
        self.allowed = rule == Rule::Acting;
        self.cooling = 0;
        self.switch(rule, Reason::Asked);
        true
    }

    /// Lets the candidate act whenever that is promising, from shadow mode on; the state after [`new`](Self::new).
    pub fn set_automatic(&mut self) -> bool {
        let possible = self.set_rule(Rule::Shadow);
        self.allowed = possible;
        possible
    }

    /// The longest that a task may wait now: 2 s, or 16 slices of every queued task. It then runs before the candidate is asked again;
    /// until then the candidate's last choice may finish an eighth of 2 s, and others may be due before it.
    #[must_use]
    pub fn bound(&self) -> Nanos {
        BOUND.max(BOUND_ROUNDS * SLICE * self.classic.len() as u64)
    }

    fn switch(&mut self, to: Rule, reason: Reason) {
        if self.rule == to {
            return;
        }
        self.rule = to;
        self.overruns = 0;
        self.late.set(false);
        if to == Rule::Acting {
            self.candidate_score = Score::new();
        }
        self.remember(reason);
    }

    /// Logs who decides now, and why.
    fn remember(&mut self, reason: Reason) {
        self.log[self.logged % LOG] = Some(SwitchOver { time: self.now, to: self.rule, reason });
        self.logged = self.logged.wrapping_add(1);
    }

    /// Ends the candidate's rule, for a reason of its own.
    fn end_rule(&mut self, reason: Reason) {
        self.counts.returns += 1;
        self.cooling = self.cooldown;
        self.cooldown = (self.cooldown * 2).min(LONGEST_COOLDOWN);
        let to = if self.broken() { Rule::Off } else { Rule::Shadow };
        if self.rule == to {
            // It broke while it did not rule: that must be seen too.
            self.remember(reason);
        } else {
            self.switch(to, reason);
        }
    }

    /// Calls the candidate, unless it is broken; `None` when it is, or breaks.
    fn ask<R>(&mut self, act: impl FnOnce(&mut C) -> R) -> Option<R> {
        // An answer that was being written when the call was stopped is dropped unread.
        const { assert!(!core::mem::needs_drop::<R>()) };
        // It may have broken where that could not be dealt with.
        if self.gave_up(self.asked.replace(Ending::Returned)) {
            return None;
        }
        let candidate = self.candidate.as_deref_mut()?;
        let (mut act, mut answer) = (Some(act), None);
        let ending = self.contain.run(&mut || {
            if let Some(act) = act.take() {
                answer = Some(act(candidate));
            }
        });
        if self.gave_up(ending) { None } else { answer }
    }

    /// Gives the candidate up if a call of it did not return. Says whether it did.
    fn gave_up(&mut self, ending: Ending) -> bool {
        let reason = match ending {
            Ending::Returned => return false,
            Ending::Panicked => Reason::Panicked,
            Ending::Stopped => Reason::Stopped,
        };
        core::mem::forget(self.candidate.take());
        self.end_rule(reason);
        true
    }

    /// Tells the candidate of something on the way to a switch, within the budget.
    fn tell<R>(&mut self, act: impl FnOnce(&mut C) -> R) -> Option<R> {
        let start = (self.clock)();
        let answer = self.ask(act);
        let took = (self.clock)().saturating_sub(start);
        self.told.add(took);
        self.counts.late += self.late_answers.take();
        if took > BUDGET {
            self.counts.late += 1;
            self.late.set(true);
        }
        answer
    }

    /// A decision in shadow mode, which stands for so many with a call over the budget. A candidate that is slow more often than not
    /// costs too much even to watch: it is told of nothing more.
    fn shadowed(&mut self, slow: u32) {
        self.shadowed += 1;
        self.slow += slow;
        if self.shadowed < SHADOW_WINDOW {
            return;
        }
        let slow = core::mem::take(&mut self.slow);
        self.shadowed = 0;
        if 2 * slow > SHADOW_WINDOW && !self.broken() {
            // As one that does not return: its memory is lost, for nothing can be given back on the way to a switch.
            core::mem::forget(self.candidate.take());
            self.end_rule(Reason::Overruns(slow));
        }
    }

    /// Whom the candidate would run, and how long it took to say so; `None` when it broke.
    fn preference(&mut self, now: Nanos) -> Option<(Option<Pick>, Nanos)> {
        let start = (self.clock)();
        let choice = self.ask(|candidate| candidate.prefer(now))?;
        let took = (self.clock)().saturating_sub(start);
        self.latency.add(took);
        self.counts.overruns += u64::from(took > BUDGET);
        Some((choice, took))
    }

    /// The candidate's answer, if it can be used.
    fn candidate_pick(&mut self, now: Nanos) -> Option<Pick> {
        let (choice, took) = self.preference(now)?;
        // An invalid answer is one, however late.
        let valid = match choice {
            Some(Pick { task, .. }) => self.records.get(task).is_some_and(|record| record.since.is_some()),
            // It says that nobody may run; the classic policy knows.
            None => self.classic.is_empty(),
        };
        if !valid {
            self.counts.refused += 1;
            self.end_rule(Reason::NotRunnable);
            return None;
        }
        if self.late.take() || took > BUDGET {
            self.overruns += 1;
            if self.overruns >= MAX_OVERRUNS {
                self.end_rule(Reason::Overruns(self.overruns));
                return None;
            }
        } else {
            self.overruns = 0;
        }
        if took > BUDGET {
            return None;
        }
        let Pick { task, slice } = choice?;
        if self.classic.take(task, now).is_none() {
            self.counts.refused += 1;
            self.end_rule(Reason::NotRunnable);
            return None;
        }
        self.counts.candidate += 1;
        // Over when the one of the others that has waited for longest is due.
        self.leave_waiting(task);
        let waited = self.waiting.first().map_or(0, |(since, _)| now.saturating_sub(since));
        let longest = self.bound().saturating_sub(waited).max(BOUND / 8);
        Some(Pick { task, slice: slice.clamp(1, longest) })
    }

    /// The task that has waited for longer than the bound, if there is one.
    fn starving(&mut self, now: Nanos) -> Option<Pick> {
        let (since, task) = self.waiting.first()?;
        if now.saturating_sub(since) <= self.bound() {
            return None;
        }
        self.counts.starved += 1;
        Some(Pick { task, slice: self.classic.take(task, now)? })
    }

    fn classic_pick(&mut self, now: Nanos) -> Option<Pick> {
        let mut preferred = None;
        if self.rule == Rule::Shadow {
            let mut took = 0;
            if self.counts.decisions.is_multiple_of(ASK_EVERY) {
                (preferred, took) = self.preference(now).unwrap_or_default();
            }
            // One that is asked stands for all that are not.
            let late = u32::from(self.late.take());
            self.shadowed(if took > BUDGET { ASK_EVERY as u32 } else { late });
        }
        let pick = self.classic.pick(now)?;
        if let Some(preferred) = preferred {
            self.counts.compared += 1;
            self.counts.agreed += u64::from(preferred.task == pick.task);
        }
        Some(pick)
    }

    fn pass_time(&mut self, now: Nanos) {
        self.now = self.now.max(now);
        let Self { fluid, candidate_score, classic_score, .. } = self;
        fluid.advance(now, &mut |compared| {
            if compared.label { &mut *candidate_score } else { &mut *classic_score }.add(compared);
        });
    }

    /// The running task was neither queued again nor picked: its burst has ended.
    fn settle(&mut self) {
        let Some(task) = self.running.take() else { return };
        let Some(record) = self.records.get_mut(task) else { return };
        if !core::mem::take(&mut record.active) {
            return;
        }
        let (ideal, size, expected) = (record.ideal, record.attained, record.expected);
        if let Some(expected) = expected {
            self.pairs.add(expected, size);
        }
        if let Some(compared) = self.fluid.end(ideal, size) {
            if compared.label { &mut self.candidate_score } else { &mut self.classic_score }.add(compared);
        }
    }
}

impl<C: Candidate> Policy for Guard<C> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn register(&mut self, entity: &Entity, now: Nanos) -> Result<(), RegisterError> {
        let task = entity.id();
        self.classic.register(entity, now)?;
        let record = Record {
            entity: entity.clone(),
            active: false,
            attained: 0,
            expected: None,
            ideal: 0,
            since: None,
        };
        let own = self
            .waiting
            .reserve(self.records.len() + 1, task)
            .and_then(|()| self.records.insert(task, record));
        let told = own.and_then(|()| self.ask(|candidate| candidate.register(entity, now)).unwrap_or(Ok(())));
        if told.is_err() {
            self.records.remove(task);
            self.classic.unregister(task);
        }
        told
    }

    fn unregister(&mut self, task: TaskId) -> bool {
        if self.running == Some(task) {
            self.settle();
        }
        if let Some(record) = self.records.remove(task) {
            if let Some(since) = record.since {
                self.waiting.remove(since, task);
            }
            if record.active {
                // It moves in the middle of a burst: ideal sharing must not go on serving it here.
                self.fluid.leave(record.ideal, record.attained);
            }
        }
        self.tell(|candidate| candidate.unregister(task));
        self.classic.unregister(task)
    }

    fn luggage(&self, task: TaskId) -> Luggage {
        self.classic.luggage(task)
    }

    fn enqueue(&mut self, entity: &Entity, why: Enqueue, now: Nanos) -> Result<(), QueueError> {
        let task = entity.id();
        self.classic.enqueue(entity, why, now)?;
        self.pass_time(now);
        if self.running == Some(task) {
            if matches!(why, Enqueue::Preempted | Enqueue::Yielded) {
                self.running = None;
            } else {
                self.settle();
            }
        }
        let begins = self.records.get(task).is_some_and(|record| !record.active);
        let told = self.tell(|candidate| match candidate.enqueue(entity, why, now) {
            Ok(()) if begins => candidate.expected(task),
            _ => None,
        });
        let (weight, acting) = (entity.weight(), self.rule == Rule::Acting);
        let Some(record) = self.records.get_mut(task) else { return Ok(()) };
        record.entity.follow(entity);
        record.since = Some(now);
        if begins {
            let expected = told.flatten();
            let size = expected.unwrap_or(SLICE).clamp(1_000, 1 << 40);
            record.active = true;
            record.attained = 0;
            record.expected = expected;
            record.ideal = self.fluid.begin(size, weight, Some(record.ideal), acting).0;
        }
        self.waiting.insert(now, task);
        Ok(())
    }

    fn dequeue(&mut self, task: TaskId) -> bool {
        self.leave_waiting(task);
        self.tell(|candidate| candidate.dequeue(task));
        self.classic.dequeue(task)
    }

    fn pick(&mut self, now: Nanos) -> Option<Pick> {
        self.pass_time(now);
        self.settle();
        self.counts.decisions += 1;
        let mut pick = None;
        if self.rule == Rule::Acting {
            pick = self.starving(now).or_else(|| self.candidate_pick(now));
        }
        let pick = match pick {
            Some(pick) => pick,
            None => self.classic_pick(now)?,
        };
        self.took(pick.task, now);
        Some(pick)
    }

    fn take(&mut self, task: TaskId, now: Nanos) -> Option<Nanos> {
        let slice = self.classic.take(task, now)?;
        self.pass_time(now);
        self.settle();
        self.took(task, now);
        Some(slice)
    }

    fn charge(&mut self, task: TaskId, ran: Nanos, now: Nanos) {
        self.now = self.now.max(now);
        self.classic.charge(task, ran, now);
        if let Some(record) = self.records.get_mut(task) {
            record.attained = record.attained.saturating_add(ran);
        }
        self.tell(|candidate| candidate.charge(task, ran, now));
    }

    fn preempts(&self, woken: TaskId, current: TaskId, now: Nanos) -> bool {
        let (Rule::Acting, Some(candidate)) = (self.rule, self.candidate.as_deref()) else {
            return self.classic.preempts(woken, current, now);
        };
        let mut answer = None;
        if self.asked.get() == Ending::Returned {
            let start = (self.clock)();
            self.asked.set(self.contain.run(&mut || answer = Some(candidate.preempts(woken, current, now))));
            if (self.clock)().saturating_sub(start) > BUDGET {
                self.late.set(true);
                self.late_answers.set(self.late_answers.get() + 1);
                answer = None;
            }
        }
        // If it broke, the next call that may change something gives it up.
        let answer = answer.filter(|_| self.asked.get() == Ending::Returned);
        answer.unwrap_or_else(|| self.classic.preempts(woken, current, now))
    }

    fn maintain(&mut self, _now: Nanos) -> bool {
        let lesson = self.lesson();
        let worked = lesson.is_some();
        if let Some(mut lesson) = lesson {
            C::learn(&mut lesson);
            self.learned(&lesson);
        }
        let foresight = self.pairs().and_then(|pairs| pairs.foresight());
        self.inspect(foresight);
        worked
    }

    fn knows(&self, task: TaskId) -> bool {
        self.classic.knows(task)
    }

    fn len(&self) -> usize {
        self.classic.len()
    }

    fn for_each(&self, visit: &mut dyn FnMut(TaskId)) {
        self.classic.for_each(visit);
    }
}

impl<C: Candidate> Guard<C> {
    /// What the candidate is to learn from next, to be learned from without the queue's lock ([`Candidate::learn`]). `None` when there is
    /// nothing, or it is off.
    pub fn lesson(&mut self) -> Option<C::Lesson> {
        if self.rule == Rule::Off { None } else { self.ask(Candidate::lesson).flatten() }
    }

    /// A lesson comes back, learned.
    pub fn learned(&mut self, lesson: &C::Lesson) {
        self.ask(|candidate| candidate.learned(lesson));
    }

    /// Whether the candidate is sound, and whether it may act, or go on. Every few decisions, in a thread, under the queue's lock; `foresight`
    /// is that of [`pairs`](Self::pairs), if there were any.
    pub fn inspect(&mut self, foresight: Option<Foresight>) {
        if self.ask(|candidate| candidate.healthy()) == Some(false) {
            self.ask(|candidate| candidate.restart());
            if self.rule == Rule::Acting {
                self.end_rule(Reason::NotFinite);
            } else {
                self.remember(Reason::NotFinite);
            }
        }
        self.review(foresight);
    }

    /// A task was picked, by whomever: the candidate hears of it.
    fn took(&mut self, task: TaskId, now: Nanos) {
        self.running = Some(task);
        self.leave_waiting(task);
        self.tell(|candidate| candidate.take(task, now));
    }

    /// A task waits no more, if it did.
    fn leave_waiting(&mut self, task: TaskId) {
        if let Some(since) = self.records.get_mut(task).and_then(|record| record.since.take()) {
            self.waiting.remove(since, task);
        }
    }

    /// Puts another candidate in the place of one that is broken, and tells it of all tasks. If it breaks there it is given up.
    ///
    /// # Errors
    /// It does not take one of the tasks; the old one stays.
    pub fn replace(&mut self, candidate: C, now: Nanos) -> Result<(), RegisterError> {
        self.gave_up(self.asked.replace(Ending::Returned));
        let name = candidate.name();
        let old = self.candidate.replace(Box::new(candidate));
        // Aside, to be read while the candidate is called.
        let records = core::mem::replace(&mut self.records, Table::new());
        let told = records.iter().try_for_each(|(_, record)| {
            self.ask(|candidate| candidate.register(&record.entity, now)).unwrap_or(Ok(()))
        });
        if told.is_ok() {
            for (_, record) in records.iter().filter(|(_, record)| record.since.is_some()) {
                // What can go wrong there concerns a task that it has just accepted.
                self.ask(|candidate| candidate.enqueue(&record.entity, Enqueue::Preempted, now).is_ok());
            }
        }
        self.records = records;
        match told {
            Ok(()) => self.name = name,
            Err(_) => self.candidate = old,
        }
        told
    }
}
