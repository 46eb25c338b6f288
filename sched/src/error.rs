//! What can be wrong with a call to a run queue or a policy.

use thiserror::Error;

use crate::TaskId;

/// Why a task was not registered. Nothing has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum RegisterError {
    /// The id is taken.
    #[error("task {task} is already registered on this run queue; unregister it first")]
    Duplicate {
        /// The task.
        task: TaskId,
    },
    /// No memory for the task's record.
    #[error("no memory for the scheduler's record of task {task}")]
    NoMemory {
        /// The task.
        task: TaskId,
    },
    /// The class has no room for a task without a reservation.
    #[cfg(feature = "reservations")]
    #[error("task {task} has no reservation; give it the class `Reserved` first")]
    NotReserved {
        /// The task.
        task: TaskId,
    },
    /// The task asked for a reservation, and was refused.
    #[cfg(feature = "reservations")]
    #[error(transparent)]
    Admission(#[from] crate::AdmissionError),
}

/// Why a task was not queued. Nothing has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum QueueError {
    /// Not registered here.
    #[error("task {task} is not registered on this run queue")]
    Unknown {
        /// The task.
        task: TaskId,
    },
    /// Queued already.
    #[error("task {task} is queued already")]
    AlreadyQueued {
        /// The task.
        task: TaskId,
    },
}
