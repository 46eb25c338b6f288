//! The transformer policy: orders the run queue by what it learned of past bursts.
//!
//! **When a burst begins**, the [`History`](crate::history::History) says how long comparable bursts took (of this task, of its program,
//! owner and declared size: the best of ten signs, a window of the last 20 each). From that distribution follows the task's *effort*, the
//! expected CPU time until it is done, and from [`Fluid`](crate::fluid::Fluid) what it is *owed* by now. The queue is kept in order of
//! the time at which ideal sharing would have ended the burst, so that nobody ends later than there by more than the estimates are off.
//!
//! **A pick** looks at the first [`TOKENS`] of the queue (the longest waiting always among them): each is a token of four features, and
//! the network says each one's share of the benefit of running next. The task with the largest share runs, for as long as its burst
//! is likely to take.
//!
//! The features, all of the order of 1 and from the window of the last 20 bursts:
//! 0. *burst*: ln((effort − owed) / mean burst) / 4: how much CPU time until it is likely to be done, given what it has run;
//! 1. *waiting*: ln(1 + owed / mean burst) / 4: how long it has waited, as the CPU time that it would have had under ideal sharing;
//! 2. *sleep*: the share of its time that it slept;
//! 3. *priority*: ln(weight / 1024) / 4.
//!
//! **Learning** is a step of gradient descent per [`maintain`](crate::Policy::maintain) on a decision whose tasks' bursts have ended:
//! which share each should have had (by its weight over what was left of it, less what it was owed), and what was left of it.
//!
//! Memory is fixed, about 250 KB; nothing is allocated but by `register`.

mod decisions;
mod lesson;
mod network;
mod policy;
mod quick;
mod versions;

pub use lesson::Lesson;
pub use network::{FEATURES, Outputs, PRIOR, Pass, REACH, TOKENS, Target, Tokens, WEIGHTS, Weights};
pub use policy::{Learning, Transformer};
pub use quick::{FARTHEST, POINT, TOLERANCE, Token};
pub use versions::{ENCODED, VERSIONS, Version, Versions, WeightsError};
