//! Tokens by period: how many may be made now, and whether those that were promised were made.

use super::budget::Budget;
use super::recent::Recent;

/// How the tokens of a period lie in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Spread {
    /// Evenly: the n-th of N not before n/N of the period. The default: it is what a reader of a stream likes.
    #[default]
    Even,
    /// As soon as the CPU allows, then none until the next period.
    Burst,
}

impl Spread {
    /// Both.
    pub const ALL: [Spread; 2] = [Spread::Even, Spread::Burst];

    /// As `llmctl pace` takes it.
    pub const fn name(self) -> &'static str {
        match self {
            Spread::Even => "even",
            Spread::Burst => "burst",
        }
    }
}

/// Periods and their tokens under a budget.
///
/// Periods follow one another from the time at which the budget was set. A period is *wanted* if, from its beginning to its end, there
/// was a request that could have had all its tokens. A wanted period with fewer tokens than promised is a miss. *Jitter* is how much later or
/// earlier the last token of a wanted period came, counted from the period's beginning, than that of the wanted period before.
pub struct Pace {
    budget: Budget,
    spread: Spread,
    /// Beginning of the period at hand.
    start: u64,
    made: u32,
    /// Somebody could have had all tokens of this period so far.
    wanted: bool,
    /// Where in its period the promise was last kept, if the period before was wanted.
    last_offset: Option<u64>,
    periods: u64,
    misses: u64,
    jitter: Recent,
}

/// A pace as it is now, for tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PaceState {
    /// The budget.
    pub budget: Budget,
    /// How tokens are spread.
    pub spread: Spread,
    /// Tokens made in the period at hand.
    pub made: u32,
    /// Wanted periods that are over.
    pub periods: u64,
    /// Those of them with fewer tokens than promised.
    pub misses: u64,
    /// 99 of 100 differences are not above this, in nanoseconds.
    pub jitter_p99_ns: Option<u64>,
}

impl Pace {
    /// Begins the first period at `now`. The period must not be 0.
    pub fn new(budget: Budget, spread: Spread, now: u64) -> Self {
        Self {
            budget,
            spread,
            start: now,
            made: 0,
            wanted: false,
            last_offset: None,
            periods: 0,
            misses: 0,
            jitter: Recent::new(),
        }
    }

    /// Changes the spread from now on.
    pub fn set_spread(&mut self, spread: Spread) {
        self.spread = spread;
    }

    /// The budget.
    pub fn budget(&self) -> Budget {
        self.budget
    }

    /// Ends the periods that are over; `demand`: a request wants tokens, now and since the last call. Says how many promises were broken.
    pub fn advance(&mut self, now: u64, demand: bool) -> u64 {
        let period = self.budget.period_ns.max(1);
        let over = now.saturating_sub(self.start) / period;
        if over == 0 {
            self.wanted &= demand;
            return 0;
        }
        let mut broken = 0;
        if self.wanted {
            self.periods += 1;
            broken += u64::from(self.made < self.budget.tokens);
        } else {
            self.last_offset = None;
        }
        // Whole periods in which nothing was asked of this: nobody was served in them.
        if over > 1 && self.wanted && demand {
            self.periods += over - 1;
            broken += over - 1;
        }
        if broken > 0 {
            self.last_offset = None;
        }
        self.misses += broken;
        self.start += over * period;
        self.made = 0;
        self.wanted = demand;
        broken
    }

    /// Tokens that may be made at `now`, after [`advance`](Self::advance).
    pub fn allowed(&self, now: u64) -> u32 {
        let due = match self.spread {
            Spread::Burst => self.budget.tokens,
            Spread::Even => {
                let (tokens, period) =
                    (u128::from(self.budget.tokens), u128::from(self.budget.period_ns.max(1)));
                let passed = u128::from(now.saturating_sub(self.start));
                // The n-th is due at (n - 1)/N of the period.
                u32::try_from(passed * tokens / period + 1).unwrap_or(u32::MAX).min(self.budget.tokens)
            }
        };
        due.saturating_sub(self.made)
    }

    /// When more tokens will be allowed than now.
    pub fn next_due(&self) -> u64 {
        let Budget { period_ns, tokens, .. } = self.budget;
        let after = match self.spread {
            Spread::Even if self.made < tokens => {
                let offset = u128::from(period_ns) * u128::from(self.made);
                u64::try_from(offset.div_ceil(u128::from(tokens.max(1)))).unwrap_or(period_ns)
            }
            _ => period_ns,
        };
        self.start.saturating_add(after)
    }

    /// Counts tokens that were made.
    pub fn made(&mut self, tokens: u32, now: u64) {
        let before = self.made;
        self.made = self.made.saturating_add(tokens);
        if before < self.budget.tokens && self.made >= self.budget.tokens && self.wanted {
            let offset = now.saturating_sub(self.start);
            if let Some(last) = self.last_offset.replace(offset) {
                self.jitter.add(offset.abs_diff(last));
            }
        }
    }

    /// As it is now.
    pub fn state(&self) -> PaceState {
        PaceState {
            budget: self.budget,
            spread: self.spread,
            made: self.made,
            periods: self.periods,
            misses: self.misses,
            jitter_p99_ns: self.jitter.quantile(99),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BUDGET: Budget = Budget { wcet_cycles: 1, period_ns: 1000, tokens: 4 };

    #[test]
    fn even_tokens_are_a_quarter_of_the_period_apart() {
        let mut pace = Pace::new(BUDGET, Spread::Even, 0);
        for (now, due) in [(0, 250), (250, 500), (500, 750), (750, 1000)] {
            assert_eq!(pace.allowed(now), 1, "at {now}");
            pace.made(1, now);
            assert_eq!((pace.allowed(now), pace.next_due()), (0, due));
        }
        let mut burst = Pace::new(BUDGET, Spread::Burst, 0);
        assert_eq!(burst.allowed(0), 4);
        burst.made(4, 10);
        assert_eq!((burst.allowed(999), burst.next_due()), (0, 1000));
    }

    #[test]
    fn a_broken_promise_counts_only_where_tokens_were_wanted() {
        let mut pace = Pace::new(BUDGET, Spread::Burst, 0);
        // In the first period the demand comes late.
        assert_eq!(pace.advance(500, true), 0);
        assert_eq!(pace.advance(1000, true), 0);
        pace.made(4, 1400);
        assert_eq!(pace.advance(2000, true), 0);
        pace.made(3, 2400);
        assert_eq!(pace.advance(3000, true), 1);
        // The request ends in the middle of a period.
        pace.made(1, 3100);
        pace.advance(3200, false);
        assert_eq!(pace.advance(4000, false), 0);
        // Nobody ran for three periods although somebody wanted to.
        pace.advance(5000, true);
        assert_eq!(pace.advance(8100, true), 3);
        let state = pace.state();
        assert_eq!((state.periods, state.misses), (5, 4));
    }

    #[test]
    fn jitter_is_measured_between_kept_promises() {
        let mut pace = Pace::new(BUDGET, Spread::Burst, 0);
        pace.advance(1000, true);
        for (n, offset) in [(1, 300), (2, 340), (3, 290)] {
            pace.made(4, n * 1000 + offset);
            pace.advance((n + 1) * 1000, true);
        }
        assert_eq!((pace.state().jitter_p99_ns, pace.jitter.quantile(1)), (Some(50), Some(40)));
    }

    proptest! {
        #[test]
        fn no_period_has_more_than_its_tokens(
            steps in prop::collection::vec((1u64..700, any::<bool>(), 0u32..9), 1..200), tokens in 1u32..9, even: bool,
        ) {
            let budget = Budget { tokens, ..BUDGET };
            let mut pace = Pace::new(budget, if even { Spread::Even } else { Spread::Burst }, 0);
            let (mut now, mut periods) = (0, std::collections::BTreeMap::<u64, u32>::new());
            for (wait, demand, wish) in steps {
                now += wait;
                pace.advance(now, demand);
                let made = pace.allowed(now).min(wish);
                pace.made(made, now);
                *periods.entry(now / budget.period_ns).or_default() += made;
                if pace.allowed(now) == 0 {
                    prop_assert!(pace.next_due() > now);
                }
            }
            prop_assert!(periods.values().all(|&made| made <= tokens));
        }
    }
}
