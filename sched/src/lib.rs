#![no_std]
#![forbid(unsafe_code)]
//! Which task runs next: the task model, the [`Policy`] contract, EEVDF and its classic rivals, EDF + CBS reservations, a learned policy
//! and the [`guard`] that keeps it from hurting, and the [`RunQueue`] that asks them in order of class.
//!
//! # Design principles
//!
//! 1. **Made for a spin lock in an interrupt handler.** Memory is reserved by [`RunQueue::register`]; after that
//!    `enqueue`, `pick`, `charge` and `should_preempt` neither allocate nor panic, and take time that is bounded by the number
//!    of registered tasks (a binary search, and at worst one shift of a sorted array).
//! 2. **Time is an argument.** Nobody here reads a clock (the guard is handed one, for its budget): every call is told `now`, in
//!    nanoseconds of a clock that never goes back. So the kernel, a test and the `simulator` (feature of that name) run the same code.
//! 3. **Wrong calls have documented results.** An unknown or doubly queued task is an [`QueueError`] and changes nothing.
//! 4. **One run queue, one CPU.** No locks and no other CPUs in here; the kernel moves a task by unregistering it on
//!    one CPU and registering it on another.
//! 5. **What is learned is bounded before it is trusted.** The [`transformer`] orders tasks within a fixed reach of an order that needs no
//!    training; its learning is a step of known length off the pick path; and the [`guard`] compares its outcome, burst by burst, with
//!    that of ideal sharing ([`fluid`]), and returns to EEVDF by itself.
//!
//! # Honest limits
//!
//! No policy here knows anything of caches. A task that moves to another CPU takes its lag along, but not what the learned policy
//! knows of it there: histories are per CPU. Reservations are per CPU too: admission does not look for room elsewhere. EEVDF looks for the
//! eligible task with the earliest deadline from the front of a sorted array, so a pick is linear in the queue at worst. The
//! guard compares with ideal sharing of the *same* arrivals: where they depend on the policy (closed loops), that is an approximation.
//!
//! # Example
//!
//! ```
//! use sched::{Class, Eevdf, Enqueue, Entity, Nice, RunQueue, Stop};
//!
//! let mut queue = RunQueue::new(Box::new(Eevdf::new()));
//! let mut task = Entity::new(1, Nice::default(), Class::Fair, 0);
//! queue.register(&task, 0)?;
//! queue.enqueue(&task, Enqueue::New, 0)?;
//!
//! let pick = queue.pick(100).expect("one task is runnable");
//! assert_eq!(pick.task, 1);
//! task.start(100); // the switch has happened; arm the timer for pick.slice
//!
//! let ran = task.stop(Stop::Preempted, 5_100); // the timer has fired 5 µs later
//! queue.charge(1, ran, 5_100);
//! queue.enqueue(&task, Enqueue::Preempted, 5_100)?;
//! assert_eq!(task.accounting().run, 5_000);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

extern crate alloc;

mod classic;
#[cfg(feature = "reservations")]
mod edf_cbs;
mod eevdf;
mod entity;
mod error;
mod fair;
mod fast;
mod fixed;
pub mod fluid;
pub mod guard;
pub mod history;
mod latency;
mod line;
mod ordered;
mod policy;
#[cfg(feature = "reservations")]
mod reservation;
mod run_queue;
#[cfg(feature = "simulator")]
pub mod simulator;
mod table;
pub mod transformer;

pub use classic::{Fcfs, Mlfq, RoundRobin, Standing};
#[cfg(feature = "reservations")]
pub use edf_cbs::{Reservations, ServerStatus};
pub use eevdf::{Eevdf, SLICE};
pub use entity::{Accounting, Class, Entity, Nice, Origin, Stop, key};
pub use error::{QueueError, RegisterError};
pub use fair::Fair;
pub use latency::Latency;
pub use line::{Line, Rule};
pub use policy::{Enqueue, Luggage, Pick, Policy};
#[cfg(feature = "reservations")]
pub use reservation::{AdmissionError, Reservation, Utilisation};
pub use run_queue::RunQueue;

/// Names a task; the kernel gives each task one, and does not give it again while the task is registered.
pub type TaskId = u32;
/// A length or a point of time in nanoseconds; points count from any fixed origin.
pub type Nanos = u64;
