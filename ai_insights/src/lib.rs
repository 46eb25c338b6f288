#![no_std]
#![forbid(unsafe_code)]
//! What the kernel knows about itself: the one metrics registry, and predictors that keep score.
//!
//! Principles
//! 1. It sees samples and snapshots (plain structs defined here), never an allocator or a model, so the
//!    same code runs in the kernel and in host tests over recorded machines.
//! 2. A number has one home. Whoever counts something declares a static metric; nobody keeps a second counter.
//! 3. No prediction without a score: each is resolved against what happened and against the simplest rival.
//! 4. Updates are lock-free and need no heap, so interrupts may make them.
//!
//! Honest limits: the registry keeps present values, not their history; the memory forecast follows a
//! straight line and knows nothing of the cause; no action is taken on any prediction yet.
//!
//! See [`metrics`] for an example.

#[cfg(test)]
extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod crash_predictor;
pub mod forecast;
pub mod metrics;
