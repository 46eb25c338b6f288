//! What a budget is: so many tokens in every period, each of at most so many CPU cycles.

use thiserror::Error;

/// What is added to a measured worst case, in percent: the next one may be worse.
pub const MARGIN_PERCENT: u64 = 25;

/// Tokens for every period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// The worst case of a token, in cycles of the time-stamp counter.
    pub wcet_cycles: u64,
    /// Length of a period, in nanoseconds.
    pub period_ns: u64,
    /// Most tokens in a period, and as many as are promised where requests want them.
    pub tokens: u32,
}

/// A budget that cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BudgetError {
    /// No tokens, no cycles or no period.
    #[error("{0} is 0; a budget needs cycles for a token, a period and tokens in it")]
    Zero(&'static str),
    /// More than the whole of a CPU.
    #[error(
        "{tokens} tokens of {wcet_cycles} cycles are {needed_ns} ns at {hz} cycles a second, longer than the period of {period_ns} ns; ask for fewer tokens or a longer period"
    )]
    LongerThanPeriod {
        /// As asked.
        tokens: u32,
        /// As asked or measured.
        wcet_cycles: u64,
        /// What they come to.
        needed_ns: u64,
        /// Rate of the counter.
        hz: u64,
        /// As asked.
        period_ns: u64,
    },
}

impl Budget {
    /// CPU time that the tokens of a period need, in nanoseconds, rounded up: the budget of the reservation. `hz` is the rate of
    /// the time-stamp counter.
    ///
    /// # Errors
    /// Something is 0, or the tokens take longer than their period.
    pub fn reserved_ns(&self, hz: u64) -> Result<u64, BudgetError> {
        let Budget { wcet_cycles, period_ns, tokens } = *self;
        let zero = [
            (wcet_cycles, "the cycles of a token"),
            (period_ns, "the period"),
            (tokens.into(), "the number of tokens"),
        ];
        if let Some((_, name)) = zero.into_iter().find(|(value, _)| *value == 0) {
            return Err(BudgetError::Zero(name));
        }
        let cycles = u128::from(wcet_cycles) * u128::from(tokens);
        let needed = (cycles * 1_000_000_000).div_ceil(u128::from(hz.max(1)));
        let needed_ns = u64::try_from(needed).unwrap_or(u64::MAX);
        if needed_ns > period_ns {
            return Err(BudgetError::LongerThanPeriod { tokens, wcet_cycles, needed_ns, hz, period_ns });
        }
        Ok(needed_ns)
    }

    /// A measured worst case with its margin, in cycles.
    pub fn with_margin(cycles: u64) -> u64 {
        cycles.saturating_add(cycles / 100 * MARGIN_PERCENT + cycles % 100 * MARGIN_PERCENT / 100)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_arithmetic() {
        let budget = Budget { wcet_cycles: 260_000_000, period_ns: 1_000_000_000, tokens: 4 };
        assert_eq!(budget.reserved_ns(2_600_000_000), Ok(400_000_000));
        let error = Budget { tokens: 11, ..budget }.reserved_ns(2_600_000_000).unwrap_err();
        assert!(alloc::format!("{error}").contains("1100000000 ns"), "{error}");
        assert!(matches!(Budget { tokens: 0, ..budget }.reserved_ns(1), Err(BudgetError::Zero(_))));
        assert_eq!(Budget::with_margin(1000), 1250);
    }

    proptest! {
        #[test]
        fn what_is_reserved_is_enough(wcet_cycles in 1u64.., period_ns in 1u64.., tokens in 1u32.., hz in 1u64..) {
            let budget = Budget { wcet_cycles, period_ns, tokens };
            match budget.reserved_ns(hz) {
                Ok(ns) => prop_assert!(
                    ns <= period_ns && u128::from(ns) * u128::from(hz) >= u128::from(wcet_cycles) * u128::from(tokens) * 1_000_000_000
                ),
                Err(BudgetError::LongerThanPeriod { needed_ns, .. }) => prop_assert!(needed_ns > period_ns),
                Err(BudgetError::Zero(name)) => prop_assert!(false, "{} is not 0", name),
            }
            prop_assert!(Budget::with_margin(wcet_cycles) >= wcet_cycles);
        }
    }
}
