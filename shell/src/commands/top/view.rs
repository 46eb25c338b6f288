//! How a picture of `top` looks.

use super::sort::{Frame, Sort};
use crate::bar::bar;
use crate::console::Size;
use crate::scheduler::{FairPolicy, SchedulerStatus};
use crate::system::TaskState;
use crate::table::{Align, Table};
use crate::units::{clock, percent, short_time};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use sched::guard::Rule;
use unicode_width::UnicodeWidthChar;

/// Cells of a CPU's bar.
const BAR: usize = 20;
/// What a CPU takes in a line, with the blanks behind it: its name, bar and share.
const CPU_WIDTH: usize = 8 + BAR + 12;

/// The whole picture, for a terminal of any size.
pub(super) fn everything(frame: &Frame, status: &SchedulerStatus, sort: Sort) -> String {
    let lines = head(frame, status, sort, 80).into_iter().chain(rows(frame));
    lines.map(|line| line + "\n").collect()
}

/// As much of the picture as fits, the rows from `first` on; each line cut to the width.
pub(super) fn screen(
    frame: &Frame,
    status: &SchedulerStatus,
    sort: Sort,
    first: usize,
    size: Size,
) -> Vec<String> {
    let mut lines = head(frame, status, sort, usize::from(size.columns));
    let mut rows = rows(frame).into_iter();
    lines.extend(rows.next());
    lines.extend(rows.skip(first));
    lines.truncate(usize::from(size.rows));
    for line in &mut lines {
        cut(line, usize::from(size.columns));
    }
    lines
}

/// The lines above the threads.
fn head(frame: &Frame, status: &SchedulerStatus, sort: Sort, columns: usize) -> Vec<String> {
    let running = frame.rows.iter().filter(|row| row.task.state == TaskState::Running).count();
    let acting = status
        .queues
        .iter()
        .filter(|queue| queue.guard.as_ref().is_some_and(|guard| guard.rule == Rule::Acting))
        .count();
    let policy = match status.policy {
        FairPolicy::Transformer => {
            format!("transformer {}, acting on {acting} of {} CPUs", status.mode.name(), status.queues.len())
        }
        policy => policy.name().to_string(),
    };
    let mut lines = Vec::from([format!(
        "up {}  {} threads, {running} running  by {}  {policy}",
        clock(frame.time),
        frame.rows.len(),
        sort.name()
    )]);
    let in_a_line = (columns / CPU_WIDTH).max(1);
    let cpus: Vec<String> = frame
        .busy
        .iter()
        .enumerate()
        .map(|(cpu, &busy)| format!("cpu{cpu:<3} [{}] {:5.1} %", bar(busy, BAR), busy * 100.0))
        .collect();
    lines.extend(cpus.chunks(in_a_line).map(|cpus| cpus.join("    ")));
    lines.push(String::new());
    lines
}

/// The heading, and a line for each thread.
fn rows(frame: &Frame) -> Vec<String> {
    let columns = [
        ("ID", Align::Right),
        ("NAME", Align::Left),
        ("CPU", Align::Left),
        ("CLASS", Align::Left),
        ("NICE", Align::Right),
        ("WEIGHT", Align::Right),
        ("CPU %", Align::Right),
        ("RUN", Align::Right),
        ("WAIT", Align::Right),
        ("SLEEP", Align::Right),
        ("SWITCHES V/NV", Align::Right),
        ("WAKE p99", Align::Right),
    ];
    let mut table = Table::new(&columns);
    for row in &frame.rows {
        let task = &row.task;
        table.row([
            task.id.to_string(),
            task.name.clone(),
            format!("{}{}", task.cpu, if task.pinned { "!" } else { "" }),
            task.class.name().into(),
            task.nice.to_string(),
            task.weight.to_string(),
            format!("{:.1}", percent(row.used, frame.over)),
            short_time(task.run),
            short_time(task.wait),
            short_time(task.sleep),
            format!("{}/{}", task.voluntary, task.involuntary),
            task.wakeup_p99.map_or_else(|| String::from("-"), short_time),
        ]);
    }
    table.to_string().lines().map(String::from).collect()
}

/// Takes off what does not fit in so many cells.
fn cut(line: &mut String, columns: usize) {
    let mut width = 0;
    let end = line.char_indices().find(|(_, c)| {
        width += c.width().unwrap_or(0);
        width > columns
    });
    if let Some((at, _)) = end {
        line.truncate(at);
    }
}
