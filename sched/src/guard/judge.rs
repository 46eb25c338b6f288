//! Off the pick path: whether the candidate may act, and whether it may go on.

use super::report::{Reason, Rule};
use super::score::{FEWEST_PAIRS, Foresight, Pairs, Ratio, WINDOW};
use super::{COOLDOWN, Candidate, Guard};
use crate::SLICE;

/// How much worse than the classic policy's the mean may be, and the tail; and as long as there are few windows to tell by.
const LIMITS: Ratio = Ratio { mean: 1.0, tail: 1.1 };
const EARLY_LIMITS: Ratio = Ratio { mean: 1.2, tail: 1.5 };
const ENOUGH_WINDOWS: u32 = 4;
/// In shadow mode, whether to act is considered after every so many bursts.
const LOOK_EVERY: usize = 8;
/// After so many decisions, bursts that are kept waiting are looked for.
const NEGLECT_EVERY: u64 = 32;
/// So many of them found at once end the candidate's rule.
const MAX_NEGLECTED: u32 = 8;

impl<C: Candidate> Guard<C> {
    /// Everything that is judged; to be called every few decisions. `foresight` is that of the last [`pairs`](Self::pairs).
    pub(super) fn review(&mut self, foresight: Option<Foresight>) {
        if self.counts.decisions >= self.look_after {
            self.look_after = self.counts.decisions + NEGLECT_EVERY;
            self.look_for_neglect();
        }
        self.judge();
        if let Some(foresight) = foresight {
            self.consider(foresight);
        }
    }

    /// Bursts that should have ended, and were hardly begun.
    fn look_for_neglect(&mut self) {
        let Self { fluid, records, candidate_score, classic_score, .. } = self;
        let mut found = 0;
        for (_, record) in records.iter() {
            let hardly_begun = record.active && record.attained < record.expected.unwrap_or(SLICE) / 2;
            let Some(compared) = hardly_begun.then(|| fluid.overdue(record.ideal)).flatten() else {
                continue;
            };
            found += u32::from(compared.label);
            if compared.label { &mut *candidate_score } else { &mut *classic_score }.add(compared);
        }
        if self.rule == Rule::Acting && found >= MAX_NEGLECTED {
            self.end_rule(Reason::Neglect(found));
        }
    }

    /// At the end of a window: whether the candidate's rule should end.
    fn judge(&mut self) {
        self.classic_score.close();
        let closed = self.candidate_score.close();
        let (Rule::Acting, true, Some(ratio)) = (self.rule, closed, self.candidate_score.ratio()) else {
            return;
        };
        // Ideal sharing is what the classic policy would be at best; it may be known to do worse here.
        let classic = self.classic_score.ratio().unwrap_or(Ratio { mean: 1.0, tail: 1.0 });
        let mean = ratio.mean / classic.mean.max(1.0);
        let tail = ratio.tail / classic.tail.max(1.0);
        let windows = self.candidate_score.windows();
        let limits = if windows < ENOUGH_WINDOWS { EARLY_LIMITS } else { LIMITS };
        if mean > limits.mean || tail > limits.tail {
            self.end_rule(Reason::Slower(ratio));
        } else if windows >= 4 * ENOUGH_WINDOWS {
            // It has held for long enough: the next cooldown is short again.
            self.cooldown = COOLDOWN;
        }
    }

    /// The last bursts, as they were foretold, when it is time to see how well that was: after every [`WINDOW`] of them, and more often
    /// while the candidate waits to be let in.
    #[must_use]
    pub fn pairs(&self) -> Option<Pairs> {
        let count = self.pairs.count();
        let due = count / WINDOW != self.seen || (self.may_try() && count >= self.look_at);
        (due && count >= FEWEST_PAIRS).then_some(self.pairs)
    }

    fn may_try(&self) -> bool {
        self.rule == Rule::Shadow && self.allowed && self.cooling == 0
    }

    /// Whether sizes are foreseeable enough for the candidate to act, or to go on acting.
    fn consider(&mut self, foresight: Foresight) {
        if self.pairs.count() / WINDOW != self.seen {
            self.seen = self.pairs.count() / WINDOW;
            self.pairs.close(foresight);
            self.cooling = self.cooling.saturating_sub(1);
            if let (Rule::Acting, Some(foresight)) = (self.rule, self.pairs.hopeless(foresight)) {
                self.end_rule(Reason::Unforeseen(foresight));
            }
        }
        // Looking is not free: not after every burst.
        if self.may_try() && self.pairs.count() >= self.look_at {
            self.look_at = self.pairs.count() + LOOK_EVERY;
            if let Some(foresight) = self.pairs.promising(foresight) {
                self.switch(Rule::Acting, Reason::Promising(foresight));
            }
        }
    }
}
