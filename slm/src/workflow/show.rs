//! What a run shows: a live table on a terminal, a line for each change elsewhere, and the table at the end.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::graph::State;
use super::spending::Spent;
use super::state::{Record, Workflow};
use crate::table::{Table, mib};

/// Hears of every change.
pub trait Show {
    /// A task has started.
    fn started(&mut self, record: &Record);
    /// A task was done before and is not repeated.
    fn kept(&mut self, record: &Record);
    /// A task has ended.
    fn ended(&mut self, record: &Record);
}

/// Says nothing.
pub struct Silent;

impl Show for Silent {
    fn started(&mut self, _: &Record) {}
    fn kept(&mut self, _: &Record) {}
    fn ended(&mut self, _: &Record) {}
}

/// On a terminal a table that moves, else lines on standard error.
pub fn usual(workflow: &Workflow) -> Box<dyn Show> {
    match std::io::stderr().is_terminal() {
        true => Box::new(Live::new(workflow)),
        false => Box::new(Lines),
    }
}

struct Lines;

impl Show for Lines {
    fn started(&mut self, record: &Record) {
        eprintln!("{}: starts ({})", record.name, record.role.name());
    }

    fn kept(&mut self, record: &Record) {
        eprintln!("{}: done before ({})", record.name, record.note);
    }

    fn ended(&mut self, record: &Record) {
        eprintln!("{}: {}", record.name, result(record));
    }
}

/// A row for each task.
struct Live {
    rows: Vec<(String, ProgressBar)>,
}

impl Live {
    fn new(workflow: &Workflow) -> Self {
        let all = MultiProgress::new();
        let width = workflow.tasks.iter().map(|record| record.name.chars().count()).max().unwrap_or(0);
        let row = |record: &Record| {
            let bar = all.add(ProgressBar::new_spinner());
            bar.set_style(
                ProgressStyle::with_template("  {prefix}  {wide_msg}")
                    .unwrap_or_else(|_| ProgressStyle::default_spinner()),
            );
            bar.set_prefix(format!("{:width$}", record.name));
            bar.set_message("waiting");
            (record.name.clone(), bar)
        };
        Live { rows: workflow.tasks.iter().map(row).collect() }
    }

    fn row(&self, record: &Record) -> Option<&ProgressBar> {
        self.rows.iter().find(|(name, _)| *name == record.name).map(|(_, bar)| bar)
    }
}

impl Show for Live {
    fn started(&mut self, record: &Record) {
        let Some(bar) = self.row(record) else { return };
        if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix}  {elapsed} {wide_msg}") {
            bar.set_style(style);
        }
        bar.reset_elapsed();
        bar.set_message(format!("running ({})", record.role.name()));
        bar.enable_steady_tick(Duration::from_millis(200));
    }

    fn kept(&mut self, record: &Record) {
        if let Some(bar) = self.row(record) {
            bar.finish_with_message(format!("done before: {}", record.note));
        }
    }

    fn ended(&mut self, record: &Record) {
        let Some(bar) = self.row(record) else { return };
        if let Ok(style) = ProgressStyle::with_template("  {prefix}  {wide_msg}") {
            bar.set_style(style);
        }
        bar.finish_with_message(result(record));
    }
}

fn result(record: &Record) -> String {
    let usage = record.usage;
    format!(
        "{} in {:.1} s ({:.1} s CPU, {}): {}",
        record.state.name(),
        usage.wall_s,
        usage.cpu_s,
        mib(usage.peak_rss_bytes),
        record.note
    )
}

/// The table of a workflow: each task with its cost, what the endpoint was paid, and what to do about failures.
pub fn table(workflow: &Workflow) -> String {
    let mut table = Table::new(&["TASK", "ROLE", "STATE", ">WALL [s]", ">CPU [s]", ">PEAK", "FOUND"]);
    for record in &workflow.tasks {
        let usage = record.usage;
        let figures = match record.attempts {
            0 => [const { String::new() }; 3],
            _ => [format!("{:.1}", usage.wall_s), format!("{:.1}", usage.cpu_s), mib(usage.peak_rss_bytes)],
        };
        let [wall, cpu, peak] = figures;
        // Reasons are printed whole below.
        let found = if record.state == State::Done { record.note.clone() } else { String::new() };
        table.row([
            record.name.clone(),
            record.role.name().into(),
            record.state.name().into(),
            wall,
            cpu,
            peak,
            found,
        ]);
    }
    let mut text = table.to_string();
    if !workflow.questions.is_empty() {
        let spent = Spent::by(&workflow.questions);
        text += &format!(
            "\nThe endpoint was asked {} times: {} tokens, {:.4} of money.\n",
            workflow.questions.len(),
            spent.tokens,
            spent.money
        );
        for question in &workflow.questions {
            text += &format!("  {}: {}\n", question.role.name(), question.outcome);
        }
    }
    for record in workflow.tasks.iter().filter(|record| record.state == State::Failed) {
        text += &format!("\n{} failed: {}\n", record.name, record.note);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workflow::task::{Role, Task};

    #[test]
    fn the_table_says_states_costs_and_reasons() {
        let tasks = ["data", "training"].map(|name| Task { name: name.into(), ..Task::default() });
        let mut workflow = Workflow::new("g", "dual", vec![], &tasks, None);
        workflow.tasks[0].state = State::Failed;
        workflow.tasks[0].attempts = 1;
        workflow.tasks[0].usage.wall_s = 2.5;
        workflow.tasks[0].note = "the mirror is gone".into();
        workflow.tasks[1].state = State::Blocked;
        let asked = super::super::spending::Question {
            role: Role::Trainer,
            prompt_tokens: 100,
            completion_tokens: 20,
            money: 0.5,
            outcome: "used".into(),
            plan: None,
        };
        workflow.questions.push(asked);
        let text = table(&workflow);
        for part in
            ["2.5", "blocked", "data failed: the mirror is gone", "120 tokens, 0.5000", "trainer: used"]
        {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
