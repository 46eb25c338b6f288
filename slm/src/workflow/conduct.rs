//! Carries a plan out: starts what may start, writes every change down, stops what depends on a failure.

use std::path::{Path, PathBuf};
use std::sync::mpsc;

use anyhow::{Context, Result};

use super::graph::{Graph, State};
use super::hashes::{self, Hashes};
use super::process::{End, Running};
use super::show::Show;
use super::state::{Record, Usage, Workflow};
use super::task::Task;
use crate::run_folder::RunFolder;

/// What carries a plan out.
pub struct Conductor<'a> {
    /// The tool whose calls the tasks are.
    pub program: &'a Path,
    /// Where everything lies.
    pub run: &'a RunFolder,
    /// The plan.
    pub tasks: &'a [Task],
    /// Tasks that run at a time.
    pub jobs: usize,
    /// What runs, for an interrupt to find.
    pub running: &'a Running,
}

/// What came of an attempt.
struct Attempt {
    task: usize,
    state: State,
    note: String,
    usage: Usage,
    inputs: Hashes,
    outputs: Hashes,
}

impl Conductor<'_> {
    /// The place of the state.
    pub fn state_file(run: &RunFolder) -> PathBuf {
        run.join("workflow.json")
    }

    /// The place of a task's output.
    pub fn log(run: &RunFolder, task: &str) -> PathBuf {
        run.join(format!("log/{task}.log"))
    }

    /// Does whatever is left to do in `workflow`, which has a record for each task, in the tasks' order.
    pub fn conduct(&self, workflow: &mut Workflow, show: &mut dyn Show) -> Result<()> {
        let named: Vec<_> = self.tasks.iter().map(|task| (&task.name, task.needs.clone())).collect();
        let graph = Graph::new(&named)?;
        let logs = self.run.join("log");
        std::fs::create_dir_all(&logs).with_context(|| format!("{} cannot be created", logs.display()))?;
        let mut states = vec![State::Waiting; self.tasks.len()];

        let (sender, receiver) = mpsc::channel();
        std::thread::scope(|scope| {
            let mut under_way = 0;
            loop {
                self.find_done(&graph, &mut states, workflow, show)?;
                for task in graph.ready(&states) {
                    if under_way == self.jobs.max(1) || self.running.interrupted() {
                        break;
                    }
                    states[task] = State::Running;
                    workflow.tasks[task].attempts += 1;
                    self.note(workflow, &states)?;
                    show.started(&workflow.tasks[task]);
                    let (sender, before) = (sender.clone(), workflow.tasks[task].clone());
                    scope.spawn(move || {
                        // Nobody listens only after an error that ends the whole run.
                        let _ = sender.send(self.attempt(task, &before));
                    });
                    under_way += 1;
                }
                if under_way == 0 {
                    return self.note(workflow, &states);
                }
                let attempt = receiver.recv().context("a task was lost")?;
                under_way -= 1;
                let (task, state) = (attempt.task, attempt.state);
                states[task] = state;
                let record = &mut workflow.tasks[task];
                record.calls = self.tasks[task].calls.clone();
                (record.note, record.usage) = (attempt.note, attempt.usage);
                (record.inputs, record.outputs) = (attempt.inputs, attempt.outputs);
                graph.spread_failures(&mut states);
                if let Err(error) = self.note(workflow, &states) {
                    // Without a state nothing more may be done; what runs is not left behind.
                    self.running.interrupt();
                    return Err(error);
                }
                show.ended(&workflow.tasks[task]);
            }
        })
    }

    /// Marks what may start but was done before, by the same calls and from the same inputs.
    fn find_done(
        &self,
        graph: &Graph,
        states: &mut [State],
        workflow: &mut Workflow,
        show: &mut dyn Show,
    ) -> Result<()> {
        loop {
            let mut found = false;
            for task in graph.ready(states) {
                let record = &workflow.tasks[task];
                if states[task] == State::Waiting && record.still_fits(&self.tasks[task])? {
                    states[task] = State::Done;
                    show.kept(record);
                    found = true;
                }
            }
            if !found {
                return Ok(());
            }
        }
    }

    /// Brings `states` into `workflow` and to the disk. A task that was done by an earlier run and has not been looked at yet
    /// keeps its state: the next run looks at it again.
    fn note(&self, workflow: &mut Workflow, states: &[State]) -> Result<()> {
        for (record, state) in workflow.tasks.iter_mut().zip(states) {
            if !(*state == State::Waiting && record.state == State::Done) {
                record.state = *state;
            }
        }
        workflow.write(&Self::state_file(self.run))
    }

    /// `before` tells of the attempt before, if there was one.
    fn attempt(&self, task: usize, before: &Record) -> Attempt {
        let mut usage = Usage::default();
        let (mut inputs, mut outputs) = (Hashes::new(), Hashes::new());
        let result = self.calls(&self.tasks[task], before, &mut usage, &mut inputs, &mut outputs);
        let (state, note) = match result {
            Ok(Some(note)) => (State::Done, note),
            Ok(None) => {
                (State::Interrupted, "interrupted; `auton run --resume` takes it up again".to_owned())
            }
            Err(error) => (State::Failed, format!("{error:#}")),
        };
        Attempt { task, state, note, usage, inputs, outputs }
    }

    /// All calls of a task, its outputs, and its gate; `None` where it was interrupted.
    fn calls(
        &self,
        task: &Task,
        before: &Record,
        usage: &mut Usage,
        inputs: &mut Hashes,
        outputs: &mut Hashes,
    ) -> Result<Option<String>> {
        *inputs = hashes::of(&task.inputs)?;
        if before.calls != task.calls || before.inputs != *inputs {
            for path in &task.leftovers {
                remove(path)?;
            }
        }
        let log = Self::log(self.run, &task.name);
        if log.exists() {
            std::fs::rename(&log, log.with_extension("log.before"))?;
        }
        for call in &task.calls {
            let (end, used) = self.running.call(self.program, call, &log)?;
            *usage = usage.then(used);
            match end {
                End::Well => {}
                End::Interrupted => return Ok(None),
                End::Badly(why) => anyhow::bail!("{why}; its output is in {}", log.display()),
            }
        }
        for output in &task.outputs {
            anyhow::ensure!(
                output.exists(),
                "it made no {}; its output is in {}",
                output.display(),
                log.display()
            );
        }
        let note = task.gate.check(self.run).context("its gate")?;
        *outputs = hashes::of(&task.outputs)?;
        Ok(Some(note))
    }
}

/// Removes a file or a folder, if it is there.
pub fn remove(path: &Path) -> Result<()> {
    let removed = if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("{} cannot be removed", path.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workflow::gate::Gate;
    use crate::workflow::show::Silent;
    use std::time::Duration;

    /// A plan whose tool is the shell: `a` and `b` make files, `c` joins them, `d` stands alone.
    fn plan(run: &RunFolder) -> Vec<Task> {
        let task = |name: &str, needs: &[&str], script: String| Task {
            name: name.into(),
            needs: needs.iter().map(|need| (*need).to_owned()).collect(),
            calls: vec![vec!["-c".into(), script]],
            inputs: needs.iter().map(|need| run.join(need)).collect(),
            outputs: vec![run.join(name)],
            ..Task::default()
        };
        let at = run.path().display();
        vec![
            task("a", &[], format!("echo a > {at}/a")),
            task("b", &[], format!("test ! -e {at}/slow || sleep 60; echo b > {at}/b")),
            task("c", &["a", "b"], format!("cat {at}/a {at}/b > {at}/c; echo ran >> {at}/runs-of-c")),
            task("d", &[], format!("echo d > {at}/d")),
        ]
    }

    fn conduct(run: &RunFolder, tasks: &[Task], running: &Running) -> Workflow {
        let file = Conductor::state_file(run);
        let earlier = Workflow::read(&file).unwrap();
        let mut workflow = Workflow::new("test", "slm-training", vec![], tasks, earlier.as_ref());
        let conductor = Conductor { program: Path::new("/bin/sh"), run, tasks, jobs: 2, running };
        conductor.conduct(&mut workflow, &mut Silent).unwrap();
        assert_eq!(Workflow::read(&file).unwrap().unwrap(), workflow);
        workflow
    }

    fn states(workflow: &Workflow) -> Vec<State> {
        workflow.tasks.iter().map(|record| record.state).collect()
    }

    fn runs_of_c(run: &RunFolder) -> usize {
        std::fs::read_to_string(run.join("runs-of-c")).unwrap_or_default().lines().count()
    }

    #[test]
    fn what_is_done_is_not_repeated_until_it_changes() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunFolder::new(folder.path());
        let tasks = plan(&run);
        let first = conduct(&run, &tasks, &Running::default());
        assert_eq!(states(&first), [State::Done; 4]);
        assert_eq!(std::fs::read_to_string(run.join("c")).unwrap(), "a\nb\n");
        let second = conduct(&run, &tasks, &Running::default());
        assert_eq!((second.tasks[2].attempts, runs_of_c(&run)), (1, 1));
        // An output that is gone is made again; what it is made into is the same, so nothing else is.
        std::fs::remove_file(run.join("a")).unwrap();
        let third = conduct(&run, &tasks, &Running::default());
        assert_eq!((third.tasks[0].attempts, third.tasks[2].attempts, third.tasks[3].attempts), (2, 1, 1));
        // Another call makes something else of it.
        let mut changed = plan(&run);
        changed[0].calls[0][1] = format!("echo A > {}", run.join("a").display());
        conduct(&run, &changed, &Running::default());
        assert_eq!(std::fs::read_to_string(run.join("c")).unwrap(), "A\nb\n");
    }

    #[test]
    fn a_failed_task_or_gate_stops_what_depends_on_it() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunFolder::new(folder.path());
        let mut tasks = plan(&run);
        tasks[0].calls[0][1] = "echo 'error: no disk' >&2; false".into();
        tasks[3].gate = Gate::Refuse("3 is less than 4");
        let workflow = conduct(&run, &tasks, &Running::default());
        assert_eq!(states(&workflow), [State::Failed, State::Done, State::Blocked, State::Failed]);
        assert!(workflow.tasks[0].note.starts_with("no disk"), "{}", workflow.tasks[0].note);
        assert!(workflow.tasks[3].note.contains("3 is less than 4"), "{}", workflow.tasks[3].note);
        // Repaired, it goes on from there.
        let workflow = conduct(&run, &plan(&run), &Running::default());
        assert_eq!(states(&workflow), [State::Done; 4]);
        assert_eq!(workflow.tasks[1].attempts, 1);
    }

    #[test]
    fn what_is_missing_in_the_end_is_a_failure() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunFolder::new(folder.path());
        let mut tasks = plan(&run);
        tasks[1].calls[0][1] = "true".into();
        let workflow = conduct(&run, &tasks, &Running::default());
        assert_eq!(workflow.tasks[1].state, State::Failed);
        assert!(workflow.tasks[1].note.contains("it made no"), "{}", workflow.tasks[1].note);
    }

    #[test]
    fn a_continuation_finds_what_was_left_and_another_attempt_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunFolder::new(folder.path());
        let left = run.join("left");
        let counts = |more: &str| Task {
            name: "a".into(),
            calls: vec![vec!["-c".into(), format!("echo >> {}; false {more}", left.display())]],
            leftovers: vec![left.clone()],
            ..Task::default()
        };
        let lines = || std::fs::read_to_string(&left).unwrap().lines().count();
        conduct(&run, &[counts("")], &Running::default());
        conduct(&run, &[counts("")], &Running::default());
        assert_eq!(lines(), 2);
        conduct(&run, &[counts("other")], &Running::default());
        assert_eq!(lines(), 1);
    }

    #[test]
    fn an_interrupted_run_ends_as_an_uninterrupted_one() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunFolder::new(folder.path());
        std::fs::write(run.join("slow"), "").unwrap();
        let tasks = plan(&run);
        let running = Running::default();
        let cut = std::thread::scope(|scope| {
            let run = &run;
            let (tasks, running) = (&tasks, &running);
            let conduct = scope.spawn(move || conduct(run, tasks, running));
            while !run.join("d").exists() {
                std::thread::sleep(Duration::from_millis(5));
            }
            running.interrupt();
            conduct.join().unwrap()
        });
        assert_eq!(cut.tasks[1].state, State::Interrupted);
        assert_eq!(cut.tasks[2].state, State::Waiting);
        std::fs::remove_file(run.join("slow")).unwrap();
        let whole = conduct(&run, &tasks, &Running::default());
        assert_eq!(states(&whole), [State::Done; 4]);
        assert_eq!((whole.tasks[0].attempts, runs_of_c(&run)), (1, 1));
        assert_eq!(std::fs::read_to_string(run.join("c")).unwrap(), "a\nb\n");
    }
}
