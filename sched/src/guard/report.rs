//! What the guard tells: counts, switch-overs and their reasons.

use core::fmt;

use super::score::{Foresight, Ratio};
use crate::Nanos;

/// Who decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// The classic policy; the candidate is told everything and foretells sizes, but is not asked whom to run, and does not learn from
    /// decisions.
    Off,
    /// The classic policy; the candidate is told everything, predicts, and is scored.
    Shadow,
    /// The candidate.
    Acting,
}

impl Rule {
    /// A word for tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Shadow => "shadow",
            Self::Acting => "acting",
        }
    }
}

/// Why the rule changed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Reason {
    /// Somebody asked for it.
    Asked,
    /// Sizes are foretold well enough to try.
    Promising(Foresight),
    /// Response times were worse than under the classic policy.
    Slower(Ratio),
    /// The order of sizes is not foretold any more.
    Unforeseen(Foresight),
    /// So many bursts were kept waiting for twice the time in which ideal sharing would have ended them.
    Neglect(u32),
    /// So many decisions in a row with a call that took longer than the budget.
    Overruns(u32),
    /// It named a task that may not run.
    NotRunnable,
    /// Its numbers are no longer finite.
    NotFinite,
    /// It panicked; it is not called again.
    Panicked,
    /// It did not return, and was stopped; it is not called again.
    Stopped,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Asked => write!(f, "asked for"),
            Self::Promising(foresight) => {
                write!(f, "order of sizes foretold {:.0} %", foresight.concordance * 100.0)
            }
            Self::Unforeseen(foresight) => {
                write!(f, "order of sizes foretold {:.0} %: guessed", foresight.concordance * 100.0)
            }
            Self::Slower(ratio) => {
                write!(f, "response times {:.2} of ideal sharing (tail {:.2})", ratio.mean, ratio.tail)
            }
            Self::Neglect(count) => write!(f, "{count} bursts were kept waiting"),
            Self::Overruns(count) => write!(f, "{count} decisions over the budget"),
            Self::NotRunnable => write!(f, "named a task that may not run"),
            Self::NotFinite => write!(f, "its numbers are not finite"),
            Self::Panicked => write!(f, "panicked"),
            Self::Stopped => write!(f, "did not return"),
        }
    }
}

/// A change of rule.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SwitchOver {
    /// When.
    pub time: Nanos,
    /// Who decides from then on.
    pub to: Rule,
    /// Why.
    pub reason: Reason,
}

/// Counts since the guard was made.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counts {
    /// Decisions in all.
    pub decisions: u64,
    /// Made by the candidate.
    pub candidate: u64,
    /// Asked of the candidate in shadow mode, and how many of those the classic policy made alike.
    pub compared: u64,
    /// See `compared`.
    pub agreed: u64,
    /// Decisions over the budget; the classic answer was used.
    pub overruns: u64,
    /// Calls over the budget that told it of something.
    pub late: u64,
    /// Answers that named a task that may not run; the classic answer was used.
    pub refused: u64,
    /// Tasks that had waited for longer than the bound, and were run at once.
    pub starved: u64,
    /// Returns to the classic policy that nobody asked for.
    pub returns: u64,
}
