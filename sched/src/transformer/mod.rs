//! The transformer policy: orders the run queue by what it learned of past bursts.
//!
//! **Off the pick path**, when a burst begins, the [`History`] says how long comparable bursts took, and from that follows the task's
//! *effort* ([`Outlook`]): the queue is kept in order of effort over weight. **A pick** looks at the first [`TOKENS`] of the queue (the
//! longest waiting always among them): each is a token of four features, and the network says each one's share of the benefit of
//! running next. The task with the largest share runs, for as long as its burst is expected to take.
//!
//! The features, each from the window of the last 20 bursts, and of the order of 1:
//! 0. *burst*: ln(effort / mean burst) / 4: how much CPU time until it is likely to be done, given what it has run;
//! 1. *waiting*: ln(1 + time waited / mean burst) / 4;
//! 2. *sleep*: the share of its time that it slept, over its last 20 bursts;
//! 3. *priority*: ln(weight / 1024) / 4.
//!
//! **Learning** is a step of gradient descent per [`maintain`](crate::Policy::maintain) on a decision whose tasks' bursts have ended:
//! which share each should have had (that of 1 / what was left of it, times its weight), and what was left of it.

mod decisions;
mod network;
mod policy;

pub use network::{FEATURES, Outputs, PRIOR, Pass, REACH, TOKENS, Target, Tokens, WEIGHTS, Weights};
pub use policy::{Learning, Transformer};
