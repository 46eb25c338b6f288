//! What a reservation is, and when it is refused.

use core::fmt;

use thiserror::Error;

use crate::Nanos;

/// A budget in every period. The deadline of a job is the end of its period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reservation {
    /// Time on the CPU in every period.
    pub budget: Nanos,
    /// Length of the period.
    pub period: Nanos,
}

impl Reservation {
    /// Shortest budget that is accepted: 10 µs. Below, switching would cost more than the work.
    pub const MIN_BUDGET: Nanos = 10_000;
    /// Longest period that is accepted: 10 s.
    pub const MAX_PERIOD: Nanos = 10_000_000_000;

    /// Share of one CPU, rounded up.
    #[must_use]
    pub fn utilisation(&self) -> Utilisation {
        let share = u128::from(self.budget) * u128::from(Utilisation::WHOLE);
        let share = share.div_ceil(u128::from(self.period.max(1)));
        Utilisation(u64::try_from(share).unwrap_or(u64::MAX))
    }

    pub(crate) fn check(self) -> Result<Self, AdmissionError> {
        let Self { budget, period } = self;
        if budget < Self::MIN_BUDGET {
            return Err(AdmissionError::BudgetTooShort { budget });
        }
        if period > Self::MAX_PERIOD {
            return Err(AdmissionError::PeriodTooLong { period });
        }
        if budget > period {
            return Err(AdmissionError::BudgetAbovePeriod { budget, period });
        }
        Ok(self)
    }
}

/// A share of one CPU, in units of 10⁻⁹; printed as a percentage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Utilisation(u64);

impl Utilisation {
    const WHOLE: u64 = 1_000_000_000;
    pub(crate) const ZERO: Self = Self(0);
    /// What the reservations of one CPU may add up to: 95 %.
    pub const LIMIT: Self = Self(Self::WHOLE / 100 * 95);

    /// In parts per billion of one CPU.
    #[must_use]
    pub fn parts_per_billion(self) -> u64 {
        self.0
    }

    pub(crate) fn minus(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    pub(crate) fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl fmt::Display for Utilisation {
    /// Three decimals, rounded up, so that what is over a limit is not printed as equal to it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let thousandths = self.0.div_ceil(10_000);
        write!(f, "{}.{:03} %", thousandths / 1000, thousandths % 1000)
    }
}

/// Why a reservation was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum AdmissionError {
    /// The budget is too short to be worth a switch.
    #[error("budget {budget} ns is below the shortest, {min} ns", min = Reservation::MIN_BUDGET)]
    BudgetTooShort {
        /// The budget asked for.
        budget: Nanos,
    },
    /// The period is too long.
    #[error("period {period} ns is above the longest, {max} ns", max = Reservation::MAX_PERIOD)]
    PeriodTooLong {
        /// The period asked for.
        period: Nanos,
    },
    /// More than the whole CPU.
    #[error("budget {budget} ns does not fit into a period of {period} ns")]
    BudgetAbovePeriod {
        /// The budget asked for.
        budget: Nanos,
        /// The period asked for.
        period: Nanos,
    },
    /// The CPU has not that much left.
    #[error(
        "{budget} ns / {period} ns = {asked}, and {admitted} are reserved on this CPU: {sum} is above the limit of {limit}",
        budget = reservation.budget, period = reservation.period, asked = reservation.utilisation(),
        sum = admitted.plus(reservation.utilisation()), limit = Utilisation::LIMIT
    )]
    Overload {
        /// What was asked for.
        reservation: Reservation,
        /// What is reserved already.
        admitted: Utilisation,
    },
}
