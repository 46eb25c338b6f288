//! What one picture of `top` shows: shares of a stretch of time, and their order.

use crate::scheduler::{Activity, TaskActivity};
use alloc::vec::Vec;
use core::time::Duration;

/// What rows are sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    /// Share of a CPU, largest first.
    Cpu,
    /// Time on a CPU since the thread's start, longest first.
    Run,
    /// Time runnable without a CPU, longest first.
    Wait,
    /// Name.
    Name,
    /// Switches, most first.
    Switches,
}

impl Sort {
    pub(super) const ALL: [Self; 5] = [Self::Cpu, Self::Run, Self::Wait, Self::Name, Self::Switches];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Run => "run",
            Self::Wait => "wait",
            Self::Name => "name",
            Self::Switches => "switches",
        }
    }

    /// The one whose name begins with this letter.
    pub(super) fn from_letter(letter: char) -> Option<Self> {
        Self::ALL.into_iter().find(|sort| sort.name().starts_with(letter.to_ascii_lowercase()))
    }

    /// The one so many columns further on, around the ends.
    pub(super) fn step(self, by: isize) -> Self {
        let at = Self::ALL.iter().position(|&sort| sort == self).unwrap_or(0) as isize;
        let to = (at + by).rem_euclid(Self::ALL.len() as isize);
        Self::ALL.get(to as usize).copied().unwrap_or(self)
    }
}

/// A thread, and what it used of the time that a picture covers.
pub(super) struct Row {
    pub(super) task: TaskActivity,
    pub(super) used: Duration,
}

/// One picture.
pub(super) struct Frame {
    /// When it was taken, since reset.
    pub(super) time: Duration,
    /// The stretch of time that shares are of.
    pub(super) over: Duration,
    /// Share of it that each CPU did not idle, 0 to 1.
    pub(super) busy: Vec<f64>,
    /// The threads.
    pub(super) rows: Vec<Row>,
}

impl Frame {
    /// What happened between two moments; since boot where there is no first one.
    pub(super) fn new(before: Option<&Activity>, now: Activity) -> Self {
        let over = now.time.saturating_sub(before.map_or(Duration::ZERO, |before| before.time));
        let idle = |cpu: usize, total: Duration| {
            total.saturating_sub(before.and_then(|before| before.idle.get(cpu).copied()).unwrap_or_default())
        };
        let busy = now.idle.iter().enumerate().map(|(cpu, &total)| {
            let idle = idle(cpu, total).as_secs_f64();
            if over.is_zero() { 0.0 } else { (1.0 - idle / over.as_secs_f64()).clamp(0.0, 1.0) }
        });
        let busy = busy.collect();
        let run_before = |id: u32| {
            // In order of id, as `Scheduling::activity` says.
            let tasks = &before?.tasks;
            let at = tasks.binary_search_by_key(&id, |task| task.id).ok()?;
            tasks.get(at).map(|task| task.run)
        };
        let row = |task: TaskActivity| {
            let used = task.run.saturating_sub(run_before(task.id).unwrap_or_default());
            Row { task, used }
        };
        Self { time: now.time, over, busy, rows: now.tasks.into_iter().map(row).collect() }
    }

    /// Brings the rows into an order; equals stay in order of their ids.
    pub(super) fn sort(&mut self, by: Sort) {
        self.rows.sort_by(|a, b| {
            let order = match by {
                Sort::Cpu => b.used.cmp(&a.used),
                Sort::Run => b.task.run.cmp(&a.task.run),
                Sort::Wait => b.task.wait.cmp(&a.task.wait),
                Sort::Name => a.task.name.cmp(&b.task.name),
                Sort::Switches => {
                    let switches = |row: &Row| row.task.voluntary + row.task.involuntary;
                    switches(b).cmp(&switches(a))
                }
            };
            order.then(a.task.id.cmp(&b.task.id))
        });
    }
}
