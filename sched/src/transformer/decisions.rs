//! Decisions that wait for their outcome: what the network saw, and what came of the tasks it saw.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::network::{TOKENS, Target, Tokens};
use super::policy::LATE;
use crate::fast::ln;
use crate::{Nanos, TaskId};

/// How many decisions wait at a time.
const WAITING: usize = 16;

/// A task as it was at a decision.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Seen {
    pub task: TaskId,
    /// Which of its bursts.
    pub burst: u32,
    pub weight: f32,
    /// What it had run of this burst.
    pub attained: Nanos,
    /// What the history expected to be left, in nanoseconds.
    pub expected: f32,
    /// What it was owed of it, compared to ideal sharing, in nanoseconds.
    pub owed: f32,
    /// What was left, once it is known, in nanoseconds.
    pub left: Option<f32>,
}

/// A decision.
#[derive(Debug, Clone)]
pub(super) struct Decision {
    pub tokens: Tokens,
    pub seen: [Seen; TOKENS],
    pub tasks: usize,
    known: usize,
}

impl Decision {
    pub(super) fn new(tokens: Tokens, seen: [Seen; TOKENS], tasks: usize) -> Self {
        Self { tokens, seen, tasks, known: 0 }
    }

    /// What the network should have said. Of a burst that still goes on, it is only known that it was not short: it counts with what was
    /// expected, or with the longest burst that ended, whatever is more.
    pub(super) fn target(&self) -> Target {
        let mut target = Target { correction: [None; TOKENS], share: [0.0; TOKENS] };
        let seen = &self.seen[..self.tasks];
        let longest = seen.iter().filter_map(|seen| seen.left).fold(1.0, f32::max);
        let mut sum = 0.0;
        for (i, seen) in seen.iter().enumerate() {
            let left = seen.left.unwrap_or_else(|| seen.expected.max(longest)).max(1000.0);
            target.correction[i] = seen.left.map(|left| ln(left.max(1000.0) / seen.expected.max(1000.0)));
            target.share[i] = seen.weight / (left - seen.owed).max(LATE * left);
            sum += target.share[i];
        }
        target.share.iter_mut().for_each(|share| *share /= sum.max(f32::MIN_POSITIVE));
        target
    }
}

/// The decisions that wait.
pub(super) struct Decisions {
    waiting: Box<[Option<Decision>]>,
    next: usize,
}

impl Decisions {
    /// None; `None` when there is no memory for them.
    pub(super) fn new() -> Option<Self> {
        let mut waiting = Vec::new();
        waiting.try_reserve_exact(WAITING).ok()?;
        waiting.resize(WAITING, None);
        Some(Self { waiting: waiting.into_boxed_slice(), next: 0 })
    }

    /// A decision was made. Returns the one that had waited for longest, if there is no room for both and two of its tasks are done.
    pub(super) fn add(&mut self, decision: Decision) -> Option<Decision> {
        let slot = &mut self.waiting[self.next];
        self.next = (self.next + 1) % WAITING;
        slot.replace(decision).filter(|old| old.known >= 2)
    }

    /// A burst has ended, after `size`.
    pub(super) fn ended(&mut self, task: TaskId, burst: u32, size: Nanos) {
        for decision in self.waiting.iter_mut().flatten() {
            let seen = decision.seen[..decision.tasks].iter_mut();
            for seen in seen.filter(|seen| seen.task == task && seen.burst == burst && seen.left.is_none()) {
                seen.left = Some(size.saturating_sub(seen.attained) as f32);
                decision.known += 1;
            }
        }
    }

    /// Takes a decision all of whose tasks are done.
    pub(super) fn take_complete(&mut self) -> Option<Decision> {
        let complete = |slot: &&mut Option<Decision>| slot.as_ref().is_some_and(|d| d.known == d.tasks);
        self.waiting.iter_mut().find(complete).and_then(Option::take)
    }
}
