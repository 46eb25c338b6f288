//! A trace-driven simulator of one CPU: it calls the [`RunQueue`] exactly as a kernel does, with a clock that it moves itself.
//!
//! Every switch to another task costs [`Costs::switch`], during which nobody makes progress; every decision costs
//! [`Costs::decision`]. A *burst* is what a task computes from a wake-up to the next time it blocks; its *response time* is from
//! the wake-up (for a release at a given time that comes while the task is still busy: from that time) to the block.
//!
//! ```
//! use sched::simulator::{Costs, Program, Step, Workload, simulate};
//! use sched::{Fcfs, Nice, Origin};
//!
//! let program = Program {
//!     origin: Origin::default(), nice: Nice::default(), start: 0, steps: vec![Step::Run(5_000), Step::Sleep(1_000)], rounds: 3,
//! };
//! let outcome = simulate(&Workload { programs: vec![program], end: None }, Box::new(Fcfs::new()), Costs::default());
//! assert_eq!(outcome.bursts.len(), 3);
//! assert_eq!(outcome.bursts[1].size, 5_000);
//! ```

mod oracle;
mod outcome;
mod program;

pub use oracle::{Remaining, Srpt};
pub use outcome::{Burst, Outcome, Summary, ideal_sharing};
pub use program::{EventId, Program, Step, Workload};

use alloc::boxed::Box;
use alloc::collections::BinaryHeap;
use alloc::vec;
use alloc::vec::Vec;
use core::cmp::Reverse;

use crate::{Class, Enqueue, Entity, Nanos, Policy, RunQueue, Stop, TaskId};

/// What scheduling itself costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Costs {
    /// A switch from one task to another.
    pub switch: Nanos,
    /// A decision, whatever it is.
    pub decision: Nanos,
    /// After so many decisions, the policy may do one step of its other work ([`RunQueue::maintain`]).
    pub maintain_every: u32,
}

impl Default for Costs {
    /// 1 µs a switch, decisions free, a step of maintenance every 4 decisions.
    fn default() -> Self {
        Self { switch: 1_000, decision: 0, maintain_every: 4 }
    }
}

struct Task {
    entity: Entity,
    program: usize,
    step: usize,
    rounds_left: u32,
    /// Rest of the `Run` step at hand.
    work: Nanos,
    /// When the burst at hand was released, and what it has computed so far.
    release: Nanos,
    done: Nanos,
    /// Of `Step::Period`.
    period_end: Nanos,
    alive: bool,
}

/// Runs a workload under a policy to its end.
#[must_use]
pub fn simulate(workload: &Workload, policy: Box<dyn Policy>, costs: Costs) -> Outcome {
    simulate_with(workload, |_| policy, costs)
}

/// Like [`simulate`], for a policy that looks into the future: it is made with what remains of every task's burst.
#[must_use]
pub fn simulate_with(
    workload: &Workload,
    make: impl FnOnce(&Remaining) -> Box<dyn Policy>,
    costs: Costs,
) -> Outcome {
    let mut simulator = Simulator::new(workload, make, costs);
    simulator.run();
    simulator.outcome
}

struct Simulator<'a> {
    workload: &'a Workload,
    costs: Costs,
    queue: RunQueue,
    remaining: Remaining,
    tasks: Vec<Task>,
    /// Tasks that wake at a time, soonest first; a task is here or in `waiting` at most once.
    sleeping: BinaryHeap<Reverse<(Nanos, TaskId)>>,
    waiting: Vec<Vec<TaskId>>,
    /// Events that were signalled while nobody waited for them.
    signalled: Vec<bool>,
    now: Nanos,
    current: Option<TaskId>,
    /// Who had the CPU last: switching back to it is free.
    last: Option<TaskId>,
    decisions: u32,
    outcome: Outcome,
}

impl<'a> Simulator<'a> {
    fn new(workload: &'a Workload, make: impl FnOnce(&Remaining) -> Box<dyn Policy>, costs: Costs) -> Self {
        let mut sleeping = BinaryHeap::new();
        let tasks: Vec<Task> = workload
            .programs
            .iter()
            .enumerate()
            .map(|(id, program)| {
                sleeping.push(Reverse((program.start, id as TaskId)));
                let mut entity = Entity::new(id as TaskId, program.nice, Class::Fair, program.start);
                entity.set_origin(program.origin);
                Task {
                    entity,
                    program: id,
                    step: 0,
                    rounds_left: program.rounds,
                    work: 0,
                    release: program.start,
                    done: 0,
                    period_end: program.start,
                    alive: false,
                }
            })
            .collect();
        let remaining = Remaining::new(tasks.len());
        Self {
            workload,
            costs,
            queue: RunQueue::new(make(&remaining)),
            remaining,
            waiting: vec![Vec::new(); workload.events()],
            signalled: vec![false; workload.events()],
            tasks,
            sleeping,
            now: 0,
            current: None,
            last: None,
            decisions: 0,
            outcome: Outcome::default(),
        }
    }

    fn end(&self) -> Nanos {
        self.workload.end.unwrap_or(Nanos::MAX)
    }

    fn run(&mut self) {
        while self.now < self.end() {
            self.wake_due();
            self.decisions += 1;
            if self.decisions.is_multiple_of(self.costs.maintain_every.max(1)) {
                self.queue.maintain(self.now);
            }
            let Some(pick) = self.queue.pick(self.now) else {
                let Some(Reverse((at, _))) = self.sleeping.peek() else { break };
                let next = (*at).max(self.now).min(self.end());
                self.outcome.idle += next - self.now;
                self.now = next;
                continue;
            };
            self.now += self.costs.decision;
            if self.last != Some(pick.task) {
                self.now += self.costs.switch;
                self.outcome.switches += 1;
                self.last = Some(pick.task);
            }
            self.dispatch(pick.task, self.now.saturating_add(pick.slice));
        }
        self.outcome.elapsed = self.now;
    }

    /// The picked task has the CPU until it stops, is preempted, or its slice is over.
    fn dispatch(&mut self, id: TaskId, slice_end: Nanos) {
        let now = self.now;
        self.task(id).entity.start(now);
        self.current = Some(id);
        loop {
            let work = self.task(id).work;
            let wake = self.sleeping.peek().map_or(Nanos::MAX, |Reverse((at, _))| *at);
            let burst_end = self.now.saturating_add(work);
            let at = burst_end.min(slice_end).min(wake).min(self.end()).max(self.now);
            self.advance(id, at);
            let mut preempt = false;
            if self.task(id).work == 0 {
                let (goes_on, woke) = self.proceed(id);
                if !goes_on {
                    return self.leave(id, Stop::Blocked);
                }
                preempt = woke;
            }
            preempt |= self.wake_due();
            if preempt || self.now >= slice_end || self.now >= self.end() {
                return self.leave(id, Stop::Preempted);
            }
        }
    }

    fn task(&mut self, id: TaskId) -> &mut Task {
        &mut self.tasks[id as usize]
    }

    fn advance(&mut self, id: TaskId, at: Nanos) {
        let step = at - self.now;
        self.now = at;
        let task = &mut self.tasks[id as usize];
        task.work -= step;
        task.done += step;
        self.remaining.spend(id, step);
        let ran = task.entity.account(at);
        self.queue.charge(id, ran, at);
    }

    /// Does the steps after a computation up to the next one. Says whether the task goes on at once, and whether it woke somebody who
    /// should have the CPU.
    fn proceed(&mut self, id: TaskId) -> (bool, bool) {
        let mut preempt = false;
        loop {
            let now = self.now;
            let task = &mut self.tasks[id as usize];
            let program = &self.workload.programs[task.program];
            if task.step >= program.steps.len() {
                task.step = 0;
                task.rounds_left =
                    if task.rounds_left == u32::MAX { u32::MAX } else { task.rounds_left.saturating_sub(1) };
            }
            if task.rounds_left == 0 || program.steps.is_empty() {
                task.alive = false;
                self.finish_burst(id, now);
                return (false, preempt);
            }
            let step = program.steps[task.step];
            task.step += 1;
            match step {
                Step::Run(0) => {}
                Step::Run(work) => {
                    task.work = work;
                    return (true, preempt);
                }
                Step::Declare(declared) => {
                    let mut origin = task.entity.origin();
                    origin.declared = declared;
                    task.entity.set_origin(origin);
                }
                Step::Signal(event) | Step::Broadcast(event) => {
                    let waiting = core::mem::take(&mut self.waiting[event as usize]);
                    self.signalled[event as usize] = waiting.is_empty() && matches!(step, Step::Signal(_));
                    for woken in waiting {
                        preempt |= self.wake(woken, now);
                    }
                }
                Step::Sleep(time) => {
                    self.finish_burst(id, now.saturating_add(time));
                    self.sleeping.push(Reverse((now.saturating_add(time), id)));
                    return (false, preempt);
                }
                Step::Until(at) => {
                    self.finish_burst(id, at);
                    if at > now {
                        self.sleeping.push(Reverse((at, id)));
                        return (false, preempt);
                    }
                }
                Step::Period(period) => {
                    task.period_end = task.period_end.saturating_add(period);
                    let at = task.period_end;
                    self.finish_burst(id, at);
                    if at > now {
                        self.sleeping.push(Reverse((at, id)));
                        return (false, preempt);
                    }
                }
                Step::Wait(event) => {
                    self.finish_burst(id, now);
                    if !core::mem::take(&mut self.signalled[event as usize]) {
                        self.waiting[event as usize].push(id);
                        return (false, preempt);
                    }
                }
            }
        }
    }

    /// Notes the burst that ends now, and when the next is released.
    fn finish_burst(&mut self, id: TaskId, next_release: Nanos) {
        let task = &mut self.tasks[id as usize];
        if task.done > 0 {
            let nice = task.entity.nice();
            self.outcome.bursts.push(Burst {
                task: id,
                nice,
                release: task.release,
                size: task.done,
                finish: self.now,
            });
        }
        task.done = 0;
        task.release = next_release;
    }

    /// What the burst at hand of a task still has to compute.
    fn look_ahead(&self, id: TaskId) -> Nanos {
        let task = &self.tasks[id as usize];
        let steps = &self.workload.programs[task.program].steps;
        let rest = steps.iter().skip(task.step);
        let rest = rest.take_while(|step| {
            !matches!(step, Step::Sleep(_) | Step::Until(_) | Step::Period(_) | Step::Wait(_))
        });
        task.work + rest.map(|step| if let Step::Run(time) = step { *time } else { 0 }).sum::<Nanos>()
    }

    fn leave(&mut self, id: TaskId, why: Stop) {
        let now = self.now;
        let task = &mut self.tasks[id as usize];
        let ran = task.entity.stop(why, now);
        self.queue.charge(id, ran, now);
        self.current = None;
        if why == Stop::Blocked {
            if !task.alive {
                self.queue.unregister(id);
            }
        } else if self.queue.enqueue(&task.entity, Enqueue::Preempted, now).is_err() {
            self.outcome.refused += 1;
        }
    }

    /// Wakes whom it is time for; says whether one of them should have the CPU at once.
    fn wake_due(&mut self) -> bool {
        let mut preempt = false;
        while let Some(Reverse((at, id))) =
            self.sleeping.peek().copied().filter(|Reverse((at, _))| *at <= self.now)
        {
            self.sleeping.pop();
            preempt |= self.wake(id, at);
        }
        preempt
    }

    /// A task that blocked at a step wakes, or is made; `since` is when it should have.
    fn wake(&mut self, id: TaskId, since: Nanos) -> bool {
        let now = self.now;
        let why = if self.queue.knows(id) { Enqueue::Wakeup } else { Enqueue::New };
        let task = self.task(id);
        task.release = since;
        task.alive = true;
        // Up to the first computation; a task may block again at once.
        let (goes_on, mut preempt) = self.proceed(id);
        if !goes_on {
            return preempt;
        }
        self.remaining.set(id, self.look_ahead(id));
        let task = &mut self.tasks[id as usize];
        task.entity.wake(now);
        let refused = why == Enqueue::New && self.queue.register(&task.entity, now).is_err()
            || self.queue.enqueue(&task.entity, why, now).is_err();
        self.outcome.refused += u64::from(refused);
        preempt |= self.queue.should_preempt(id, self.current, now);
        preempt
    }
}
