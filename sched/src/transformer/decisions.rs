//! Decisions that wait for their outcome: what the network saw, and what came of the tasks it saw.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::network::{TOKENS, Target, Tokens};
use super::policy::LATE;
use super::quick::{POINT, Token};
use crate::fast::ln;
use crate::{Nanos, TaskId};

/// How many decisions wait at a time.
pub(super) const WAITING: usize = 16;

/// A task as it was at a decision. Times are in nanoseconds.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Seen {
    pub task: TaskId,
    /// Which of its bursts.
    pub burst: u32,
    pub weight: u32,
    /// What it had run of this burst.
    pub attained: Nanos,
    /// What the history expected to be left.
    pub expected: Nanos,
    /// What it was owed of it, compared to ideal sharing.
    pub owed: i64,
    /// What was left, once it is known.
    pub left: Option<Nanos>,
}

/// A decision.
#[derive(Debug, Clone, Copy)]
pub(super) struct Decision {
    tokens: [Token; TOKENS],
    seen: [Seen; TOKENS],
    tasks: usize,
    known: usize,
}

impl Decision {
    const NONE: Self = Self {
        tokens: [[0; 4]; TOKENS],
        seen: [Seen { task: 0, burst: 0, weight: 0, attained: 0, expected: 0, owed: 0, left: None }; TOKENS],
        tasks: 0,
        known: 0,
    };

    /// Begins to note a decision in the place of another.
    pub(super) fn begin(&mut self) {
        (self.tasks, self.known) = (0, 0);
    }

    /// Another of its tasks.
    pub(super) fn add(&mut self, token: Token, seen: Seen) {
        if let (Some(tokens), Some(place)) = (self.tokens.get_mut(self.tasks), self.seen.get_mut(self.tasks))
        {
            (*tokens, *place) = (token, seen);
            self.tasks += 1;
        }
    }

    /// How many tasks there were, and what the exact network reads.
    pub(super) fn tokens(&self) -> (Tokens, usize) {
        let number = |i: usize, j: usize| f32::from(self.tokens[i][j]) / (1 << POINT) as f32;
        (Tokens::from_fn(|i, j| if i < self.tasks { number(i, j) } else { 0.0 }), self.tasks)
    }

    /// What the network should have said. Of a burst that still goes on, it is only known that it was not short: it counts with what was
    /// expected, or with the longest burst that ended, whatever is more.
    pub(super) fn target(&self) -> Target {
        let mut target = Target { correction: [None; TOKENS], share: [0.0; TOKENS] };
        let seen = &self.seen[..self.tasks];
        let longest = seen.iter().filter_map(|seen| seen.left).max().unwrap_or(0);
        let mut sum = 0.0;
        for (i, seen) in seen.iter().enumerate() {
            let left = seen.left.unwrap_or_else(|| seen.expected.max(longest)).max(1000) as f32;
            let known = seen.left.map(|_| ln(left / seen.expected.max(1000) as f32));
            target.correction[i] = known;
            target.share[i] = seen.weight as f32 / (left - seen.owed as f32).max(left / LATE as f32);
            sum += target.share[i];
        }
        target.share.iter_mut().for_each(|share| *share /= sum.max(f32::MIN_POSITIVE));
        target
    }

    /// The burst of the task at `at` has ended, if that is the one meant.
    fn ended(&mut self, at: usize, task: TaskId, burst: u32, size: Nanos) {
        let Some(seen) = self.seen.get_mut(at).filter(|_| at < self.tasks) else { return };
        if seen.task == task && seen.burst == burst && seen.left.is_none() {
            seen.left = Some(size.saturating_sub(seen.attained));
            self.known += 1;
        }
    }
}

/// In which of the decisions that wait a task's burst was seen, and where.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Places {
    /// A bit for each; also for those that have been replaced since.
    seen: u16,
    at: [u8; WAITING],
}

impl Places {
    /// It was seen in decision `number`, as the task at `at`.
    pub(super) fn add(&mut self, number: usize, at: u8) {
        self.seen |= 1 << number;
        self.at[number] = at;
    }
}

/// The decisions that wait.
pub(super) struct Decisions {
    all: Box<[Decision]>,
    /// Which of them wait, and which is to be learned from next, if `ready` says that there is one.
    waiting: [usize; WAITING],
    lesson: usize,
    ready: bool,
    next: usize,
}

impl Decisions {
    /// None; `None` when there is no memory for them.
    pub(super) fn new() -> Option<Self> {
        let mut all = Vec::new();
        all.try_reserve_exact(WAITING + 1).ok()?;
        all.resize(WAITING + 1, Decision::NONE);
        let waiting = core::array::from_fn(|number| number);
        Some(Self { all: all.into_boxed_slice(), waiting, lesson: WAITING, ready: false, next: 0 })
    }

    /// A decision is being made: where to note it, and the number of that place. The one that had waited there for longest is learned from,
    /// if two of its tasks are done.
    pub(super) fn add(&mut self) -> (&mut Decision, usize) {
        let at = self.next;
        self.next = (self.next + 1) % WAITING;
        if self.all[self.waiting[at]].known >= 2 {
            core::mem::swap(&mut self.waiting[at], &mut self.lesson);
            self.ready = true;
        }
        let decision = &mut self.all[self.waiting[at]];
        decision.begin();
        (decision, at)
    }

    /// A burst has ended, after `size`, of a task that is at `places` in the decisions.
    pub(super) fn ended(&mut self, task: TaskId, burst: u32, size: Nanos, places: &Places) {
        let mut left = places.seen;
        while left != 0 {
            let number = left.trailing_zeros() as usize % WAITING;
            left &= left - 1;
            self.all[self.waiting[number]].ended(usize::from(places.at[number]), task, burst, size);
        }
    }

    /// A decision to learn from: one that waits no longer, or one all of whose tasks are done.
    pub(super) fn lesson(&mut self) -> Option<Decision> {
        if core::mem::take(&mut self.ready) {
            return Some(self.all[self.lesson]);
        }
        let complete = |decision: &Decision| decision.tasks > 0 && decision.known == decision.tasks;
        let &at = self.waiting.iter().find(|&&at| complete(&self.all[at]))?;
        let lesson = self.all[at];
        self.all[at].begin();
        Some(lesson)
    }
}
