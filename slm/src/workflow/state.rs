//! `workflow.json`: what was planned, how far it is, what it took. Replaced as a whole after every change, so that it is
//! right whenever the run is cut off.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::graph::State;
use super::hashes::{self, Hashes};
use super::spending::Question;
use super::task::{Role, Task};

/// Raised when older files can no longer be read.
const VERSION: u64 = 1;
const SCHEMA: &str = "auton.workflow";

/// The state of a workflow.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Workflow {
    schema: String,
    version: u64,
    /// The goal, in its author's words.
    pub goal: String,
    /// `kernel-build`, `slm-training` or `dual`.
    pub mode: String,
    /// The configuration's file.
    pub config: String,
    /// How the plan was made, in sentences.
    pub plan: Vec<String>,
    /// What an endpoint was asked, in all runs of this folder.
    pub questions: Vec<Question>,
    /// The tasks, in the plan's order.
    pub tasks: Vec<Record>,
}

/// A task's part of the state.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Record {
    /// Its name.
    pub name: String,
    /// Who does it.
    pub role: Role,
    /// What it needs.
    pub needs: Vec<String>,
    /// The tool's calls that it consists of.
    pub calls: Vec<Vec<String>>,
    /// How far it is.
    pub state: State,
    /// What its gate found, or why it failed.
    pub note: String,
    /// Times that it was started.
    pub attempts: u64,
    /// What its last attempt took.
    pub usage: Usage,
    /// What it read.
    pub inputs: Hashes,
    /// What it made.
    pub outputs: Hashes,
}

/// What a task took.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// Seconds on the clock.
    pub wall_s: f64,
    /// Seconds of processors, of all processes that took part.
    pub cpu_s: f64,
    /// The most memory that one of them held, in bytes.
    pub peak_rss_bytes: u64,
}

impl Usage {
    /// One after the other.
    pub fn then(self, next: Usage) -> Usage {
        Usage {
            wall_s: self.wall_s + next.wall_s,
            cpu_s: self.cpu_s + next.cpu_s,
            peak_rss_bytes: self.peak_rss_bytes.max(next.peak_rss_bytes),
        }
    }
}

impl Workflow {
    /// A workflow of `tasks` of which none has run; what an earlier one of the same folder has done is carried over.
    pub fn new(
        goal: &str,
        mode: &str,
        plan: Vec<String>,
        tasks: &[Task],
        earlier: Option<&Workflow>,
    ) -> Self {
        let record = |task: &Task| {
            let known =
                earlier.and_then(|workflow| workflow.tasks.iter().find(|record| record.name == task.name));
            Record {
                role: task.role,
                needs: task.needs.clone(),
                ..known.cloned().unwrap_or_else(|| Record::of(task))
            }
        };
        Workflow {
            schema: SCHEMA.to_owned(),
            version: VERSION,
            goal: goal.to_owned(),
            mode: mode.to_owned(),
            config: String::new(),
            plan,
            questions: earlier.map(|workflow| workflow.questions.clone()).unwrap_or_default(),
            tasks: tasks.iter().map(record).collect(),
        }
    }

    /// Without anything that was done, but with what was spent; none of the plans is used again.
    pub fn only_questions(self) -> Workflow {
        let forget = |question| Question { plan: None, ..question };
        let questions = self.questions.into_iter().map(forget).collect();
        Workflow { goal: String::new(), tasks: Vec::new(), questions, ..self }
    }

    /// Reads `path`; `None` where nothing is there.
    pub fn read(path: &Path) -> Result<Option<Workflow>> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("{} cannot be read", path.display())),
        };
        let advice = || format!("{} is no state of a workflow; --fresh begins anew", path.display());
        let workflow: Workflow = serde_json::from_str(&text).with_context(advice)?;
        ensure!(workflow.schema == SCHEMA && workflow.version == VERSION, advice());
        Ok(Some(workflow))
    }

    /// Replaces `path`: who reads it sees the state before or this one.
    pub fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self).context("the state cannot be written as JSON")? + "\n";
        crate::whole_file::write(path, text.as_bytes())
    }
}

impl Record {
    /// Of a task that has never run.
    pub fn of(task: &Task) -> Self {
        Record { name: task.name.clone(), role: task.role, needs: task.needs.clone(), ..Record::default() }
    }

    /// Whether the task was done by the same calls, from the same inputs, and its outputs are still what it made.
    pub fn still_fits(&self, task: &Task) -> Result<bool> {
        Ok(self.state == State::Done
            && !task.always
            && self.calls == task.calls
            && self.inputs == hashes::of(&task.inputs)?
            && self.outputs == hashes::of(&task.outputs)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(folder: &Path) -> Task {
        Task {
            name: "a".into(),
            calls: vec![vec!["call".into()]],
            inputs: vec![folder.join("in")],
            outputs: vec![folder.join("out")],
            ..Task::default()
        }
    }

    #[test]
    fn what_was_done_is_repeated_when_call_input_or_output_changed() {
        let folder = tempfile::tempdir().unwrap();
        let task = task(folder.path());
        for name in ["in", "out"] {
            std::fs::write(folder.path().join(name), name).unwrap();
        }
        let done = Record {
            state: State::Done,
            calls: task.calls.clone(),
            inputs: hashes::of(&task.inputs).unwrap(),
            outputs: hashes::of(&task.outputs).unwrap(),
            ..Record::of(&task)
        };
        assert!(done.still_fits(&task).unwrap());
        assert!(!Record { state: State::Interrupted, ..done.clone() }.still_fits(&task).unwrap());
        assert!(!done.still_fits(&Task { calls: vec![], ..task.clone() }).unwrap());
        assert!(!done.still_fits(&Task { always: true, ..task.clone() }).unwrap());
        for name in ["in", "out"] {
            std::fs::write(folder.path().join(name), "changed").unwrap();
            assert!(!done.still_fits(&task).unwrap(), "{name}");
            std::fs::write(folder.path().join(name), name).unwrap();
        }
        std::fs::remove_file(folder.path().join("out")).unwrap();
        assert!(!done.still_fits(&task).unwrap());
    }

    #[test]
    fn the_state_survives_the_disk_and_carries_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("workflow.json");
        assert!(Workflow::read(&path).unwrap().is_none());
        let task = task(folder.path());
        let mut workflow = Workflow::new("goal", "dual", vec![], std::slice::from_ref(&task), None);
        workflow.tasks[0].state = State::Failed;
        workflow.tasks[0].usage = Usage { wall_s: 1.5, cpu_s: 2.25, peak_rss_bytes: 9 };
        workflow.write(&path).unwrap();
        let read = Workflow::read(&path).unwrap().unwrap();
        assert_eq!(read, workflow);
        let next = Workflow::new("other goal", "dual", vec![], &[task], Some(&read));
        assert_eq!(next.tasks, workflow.tasks);
        std::fs::write(&path, "{}").unwrap();
        assert!(Workflow::read(&path).unwrap_err().to_string().contains("--fresh"));
    }
}
