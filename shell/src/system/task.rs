//! Threads as `ps` and `top` list them.

use alloc::string::String;
use core::time::Duration;

/// One thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// Its number, never reused.
    pub id: u32,
    /// Its name.
    pub name: String,
    /// What it does now.
    pub state: TaskState,
    /// CPU that it runs on or ran on last.
    pub cpu: u32,
    /// Who schedules it.
    pub class: TaskClass,
    /// Share within the fair class, 1024 = nice 0.
    pub weight: u32,
    /// CPU time used.
    pub run_time: Duration,
    /// Times that it was switched to.
    pub switches: u64,
    /// Bytes of stack.
    pub stack_size: u64,
}

/// State of a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskState {
    /// On a CPU.
    Running,
    /// In a run queue.
    Ready,
    /// Waiting for a time.
    Sleeping,
    /// Waiting for an event.
    Blocked,
    /// Ended, not joined yet.
    Finished,
}

impl TaskState {
    /// As `ps` shows it.
    pub fn name(self) -> &'static str {
        match self {
            TaskState::Running => "running",
            TaskState::Ready => "ready",
            TaskState::Sleeping => "sleeping",
            TaskState::Blocked => "blocked",
            TaskState::Finished => "finished",
        }
    }
}

/// Scheduling class of a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskClass {
    /// EDF with a constant bandwidth server.
    Reserved,
    /// The fair policy.
    Fair,
    /// Runs when nothing else does.
    Idle,
}

impl TaskClass {
    /// As `ps` shows it.
    pub fn name(self) -> &'static str {
        match self {
            TaskClass::Reserved => "reserved",
            TaskClass::Fair => "fair",
            TaskClass::Idle => "idle",
        }
    }
}
