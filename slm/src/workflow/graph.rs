//! Which task may run when: pure scheduling over names, without files, processes or clocks.
//!
//! Rules, each of them a property test below:
//! 1. a task starts only when everything that it needs is done;
//! 2. a failure blocks what depends on it, near or far, and nothing else;
//! 3. whatever order tasks end in, and wherever a run is cut off and resumed, the same tasks are done in the end.

use std::collections::HashMap;

use anyhow::{Result, bail, ensure};

/// Tasks by number, with what each of them needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Graph {
    needs: Vec<Vec<usize>>,
}

/// How far a task is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Has not run, or ran under other circumstances.
    #[default]
    Waiting,
    /// Runs.
    Running,
    /// Ended well, and its gate let it pass.
    Done,
    /// Ended badly, or its gate did not let it pass.
    Failed,
    /// Cannot run, for something that it needs has failed.
    Blocked,
    /// Was cut off; the next run takes it up again.
    Interrupted,
}

impl State {
    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            State::Waiting => "waiting",
            State::Running => "running",
            State::Done => "done",
            State::Failed => "failed",
            State::Blocked => "blocked",
            State::Interrupted => "interrupted",
        }
    }
}

impl Graph {
    /// The graph of `tasks`, each a name and the names of what it needs. Names that occur twice, needs that are no task,
    /// and circles are refused.
    pub fn new<N: AsRef<str>>(tasks: &[(N, Vec<String>)]) -> Result<Graph> {
        let mut numbers = HashMap::new();
        for (number, (name, _)) in tasks.iter().enumerate() {
            let name = name.as_ref();
            ensure!(numbers.insert(name, number).is_none(), "two tasks are called {name}");
        }
        let number = |task: &str, need: &str| match numbers.get(need) {
            Some(number) => Ok(*number),
            None => bail!("{task} needs {need}, which is no task of this plan"),
        };
        let needs = tasks.iter().map(|(name, needs)| {
            needs.iter().map(|need| number(name.as_ref(), need)).collect::<Result<Vec<_>>>()
        });
        let graph = Graph { needs: needs.collect::<Result<_>>()? };
        if graph.order().len() < tasks.len() {
            bail!("the tasks need each other in a circle");
        }
        Ok(graph)
    }

    /// Number of tasks.
    pub fn len(&self) -> usize {
        self.needs.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.needs.is_empty()
    }

    /// What a task needs directly.
    pub fn needs(&self, task: usize) -> &[usize] {
        &self.needs[task]
    }

    /// The tasks in an order in which each comes after what it needs; shorter than the graph where there is a circle.
    pub fn order(&self) -> Vec<usize> {
        let mut order = Vec::with_capacity(self.len());
        let mut placed = vec![false; self.len()];
        loop {
            let before = order.len();
            for task in 0..self.len() {
                if !placed[task] && self.needs[task].iter().all(|need| placed[*need]) {
                    placed[task] = true;
                    order.push(task);
                }
            }
            if order.len() == before {
                return order;
            }
        }
    }

    /// The tasks that may start now, in the order of their numbers.
    pub fn ready(&self, states: &[State]) -> Vec<usize> {
        let free = |task: &usize| matches!(states[*task], State::Waiting | State::Interrupted);
        let met = |task: &usize| self.needs[*task].iter().all(|need| states[*need] == State::Done);
        (0..self.len()).filter(|task| free(task) && met(task)).collect()
    }

    /// Blocks every task that depends on one that failed.
    pub fn spread_failures(&self, states: &mut [State]) {
        for task in self.order() {
            let hopeless = |need: &usize| matches!(states[*need], State::Failed | State::Blocked);
            if self.needs[task].iter().any(hopeless) && states[task] != State::Done {
                states[task] = State::Blocked;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn graph(needs: &[&[usize]]) -> Graph {
        let named = |(task, needs): (usize, &&[usize])| {
            (task.to_string(), needs.iter().map(usize::to_string).collect())
        };
        Graph::new(&needs.iter().enumerate().map(named).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn faulty_plans_are_refused_by_name() {
        let fault = |tasks: &[(&str, Vec<String>)]| Graph::new(tasks).unwrap_err().to_string();
        assert!(fault(&[("a", vec![]), ("a", vec![])]).contains("two tasks are called a"));
        assert!(fault(&[("a", vec!["b".into()])]).contains("a needs b, which is no task"));
        assert!(fault(&[("a", vec!["b".into()]), ("b", vec!["a".into()])]).contains("circle"));
    }

    #[test]
    fn a_failure_blocks_what_depends_on_it_and_nothing_else() {
        // 0 → 1 → 3, 2 → 3, 4 alone.
        let graph = graph(&[&[], &[0], &[], &[1, 2], &[]]);
        let mut states = [State::Failed, State::Waiting, State::Done, State::Waiting, State::Waiting];
        graph.spread_failures(&mut states);
        assert_eq!(states, [State::Failed, State::Blocked, State::Done, State::Blocked, State::Waiting]);
        assert_eq!(graph.ready(&states), [4]);
    }

    /// Graphs without circles, whose tasks are numbered in any order.
    fn graphs() -> impl Strategy<Value = Graph> {
        let pairs = |n: usize| {
            (
                Just(n),
                proptest::collection::vec(any::<bool>(), n * n),
                Just((0..n).collect::<Vec<_>>()).prop_shuffle(),
            )
        };
        (1usize..12).prop_flat_map(pairs).prop_map(|(n, edges, names)| {
            let mut needs = vec![Vec::new(); n];
            for task in 0..n {
                for need in 0..task {
                    if edges[task * n + need] && edges[need * n + task] {
                        needs[names[task]].push(names[need]);
                    }
                }
            }
            Graph { needs }
        })
    }

    /// Runs to the end with `jobs` at a time, or until `cut` tasks have started. `pick` chooses who ends next; `done`
    /// remembers over several runs who has ended well, and is not to start again.
    fn run(graph: &Graph, done: &mut [bool], bad: &[bool], jobs: usize, cut: usize, pick: u64) -> Vec<State> {
        let mut states = vec![State::Waiting; graph.len()];
        let (mut running, mut started, mut seed) = (Vec::<usize>::new(), 0, pick);
        loop {
            let ready = graph.ready(&states);
            for task in &ready {
                assert!(graph.needs(*task).iter().all(|need| states[*need] == State::Done));
                if done[*task] {
                    states[*task] = State::Done;
                } else if running.len() < jobs && started < cut {
                    states[*task] = State::Running;
                    running.push(*task);
                    started += 1;
                }
            }
            if ready.iter().any(|task| states[*task] == State::Done) {
                continue;
            }
            if started == cut {
                running.drain(..).for_each(|task| states[task] = State::Interrupted);
            }
            if running.is_empty() {
                return states;
            }
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let task = running.swap_remove((seed >> 33) as usize % running.len());
            states[task] = if bad[task] { State::Failed } else { State::Done };
            done[task] = !bad[task];
            graph.spread_failures(&mut states);
        }
    }

    proptest! {
        #[test]
        fn every_task_comes_after_what_it_needs(graph in graphs()) {
            let order = graph.order();
            prop_assert_eq!(order.len(), graph.len());
            let place = |task: usize| order.iter().position(|other| *other == task).unwrap();
            for task in 0..graph.len() {
                for need in graph.needs(task) {
                    prop_assert!(place(*need) < place(task));
                }
            }
        }

        #[test]
        fn failures_reach_exactly_their_dependants(
            graph in graphs(), bad in proptest::collection::vec(any::<bool>(), 12), jobs in 1usize..4, pick: u64,
        ) {
            let states = run(&graph, &mut vec![false; graph.len()], &bad, jobs, usize::MAX, pick);
            for task in 0..graph.len() {
                let hopeless = graph.needs(task).iter().any(|need| states[*need] != State::Done);
                let expected = match (hopeless, bad[task]) {
                    (true, _) => State::Blocked,
                    (false, true) => State::Failed,
                    (false, false) => State::Done,
                };
                prop_assert_eq!(states[task], expected);
            }
        }

        #[test]
        fn a_resumed_run_ends_as_an_uninterrupted_one(
            graph in graphs(), bad in proptest::collection::vec(any::<bool>(), 12),
            jobs in 1usize..4, cut in 1usize..12, picks: (u64, u64, u64),
        ) {
            let whole = run(&graph, &mut vec![false; graph.len()], &bad, jobs, usize::MAX, picks.0);
            let mut done = vec![false; graph.len()];
            run(&graph, &mut done, &bad, jobs, cut, picks.1);
            let resumed = run(&graph, &mut done, &bad, jobs, usize::MAX, picks.2);
            prop_assert_eq!(whole, resumed);
        }
    }
}
