//! What a simulated task does: a list of steps, once or again and again.

use alloc::vec::Vec;

use crate::{Nanos, Nice, Origin};

/// Names something that tasks wait for.
pub type EventId = u32;

/// One step of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Compute for so long.
    Run(Nanos),
    /// Block for so long.
    Sleep(Nanos),
    /// Block until this time, if it has not come yet.
    Until(Nanos),
    /// Block until one period after the last time that this step was done (or after the task's start).
    Period(Nanos),
    /// Block until somebody signals the event; not at all if that has happened while nobody waited.
    Wait(EventId),
    /// Wake all that wait for the event; when nobody does, the next one to wait goes on at once.
    Signal(EventId),
    /// Wake all that wait for the event; when nobody does, nothing happens.
    Broadcast(EventId),
    /// Say how much the burst that comes next was asked to do ([`Origin::declared`]).
    Declare(u64),
}

/// A task of a workload.
#[derive(Debug, Clone)]
pub struct Program {
    /// What is known of it.
    pub origin: Origin,
    /// Its nice value.
    pub nice: Nice,
    /// When it is made.
    pub start: Nanos,
    /// What it does.
    pub steps: Vec<Step>,
    /// How many times it does that; `u32::MAX` for "until the end".
    pub rounds: u32,
}

/// Tasks that run together on one CPU.
#[derive(Debug, Clone, Default)]
pub struct Workload {
    /// The tasks; a task's id is its place here.
    pub programs: Vec<Program>,
    /// When to stop; `None`: when all tasks are done.
    pub end: Option<Nanos>,
}

impl Workload {
    /// CPU time that the tasks ask for in all; `None` when one of them never ends.
    #[must_use]
    pub fn work(&self) -> Option<Nanos> {
        let of = |program: &Program| {
            let once: Nanos =
                program.steps.iter().map(|step| if let Step::Run(time) = step { *time } else { 0 }).sum();
            (program.rounds < u32::MAX).then(|| once.saturating_mul(program.rounds.into()))
        };
        self.programs.iter().map(of).sum()
    }

    /// Number of distinct events, for the simulator's table.
    pub(super) fn events(&self) -> usize {
        let events = self.programs.iter().flat_map(|program| &program.steps).filter_map(|step| match step {
            Step::Wait(event) | Step::Signal(event) | Step::Broadcast(event) => Some(*event as usize + 1),
            _ => None,
        });
        events.max().unwrap_or(0)
    }
}
