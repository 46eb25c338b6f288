//! A small discrete simulator of one CPU: it calls the run queue exactly as a kernel does, with a clock that it moves itself.

use sched::{Class, Enqueue, Entity, Fair, Nanos, Nice, RunQueue, Stop, TaskId};

pub const MS: Nanos = 1_000_000;

/// What a task wants of the CPU.
#[derive(Debug, Clone, Copy)]
pub enum Behaviour {
    /// Always runnable.
    Hog,
    /// Always runnable, yields after every `burst`.
    Yielder { burst: Nanos },
    /// A job of `work` at every multiple of `period` (the next at once if the last one took too long).
    Periodic { work: Nanos, period: Nanos },
    /// Runs for `burst`, sleeps for `pause`, and so on.
    Sleeper { burst: Nanos, pause: Nanos },
    /// Runs for `burst`, sleeps until the time `until`, and never stops from then on.
    Ambush { burst: Nanos, until: Nanos },
}

pub struct Task {
    pub entity: Entity,
    behaviour: Behaviour,
    /// What is left of the burst or job at hand.
    work: Nanos,
    /// When it wakes; `None` while it is runnable.
    wakes: Option<Nanos>,
    release: Nanos,
    queued_at: Nanos,
    /// The longest time from being queued to running.
    pub longest_wait: Nanos,
    pub jobs_done: u64,
    /// Jobs that ended after their period, by this simulator's own book-keeping.
    pub late_jobs: u64,
}

pub struct Simulator {
    pub queue: RunQueue,
    pub tasks: Vec<Task>,
    pub now: Nanos,
    pub idle: Nanos,
    pub switches: u64,
    current: Option<TaskId>,
}

impl Simulator {
    pub fn new() -> Self {
        let queue = RunQueue::new(Box::new(Fair::new()));
        Self { queue, tasks: Vec::new(), now: 0, idle: 0, switches: 0, current: None }
    }

    /// Adds a task that is runnable at once; its id is its number. Panics when it is not admitted.
    pub fn add(&mut self, nice: i32, class: Class, behaviour: Behaviour) -> TaskId {
        let id = self.tasks.len() as TaskId;
        let entity = Entity::new(id, Nice::new(nice), class, self.now);
        self.queue.register(&entity, self.now).unwrap();
        self.queue.enqueue(&entity, Enqueue::New, self.now).unwrap();
        let work = match behaviour {
            Behaviour::Hog => Nanos::MAX,
            Behaviour::Yielder { burst }
            | Behaviour::Sleeper { burst, .. }
            | Behaviour::Ambush { burst, .. } => burst,
            Behaviour::Periodic { work, .. } => work,
        };
        self.tasks.push(Task {
            entity,
            behaviour,
            work,
            wakes: None,
            release: self.now,
            queued_at: self.now,
            longest_wait: 0,
            jobs_done: 0,
            late_jobs: 0,
        });
        id
    }

    pub fn task(&self, id: TaskId) -> &Task {
        &self.tasks[id as usize]
    }

    /// Share of the time so far that a task ran.
    pub fn share(&self, id: TaskId) -> f64 {
        self.task(id).entity.accounting().run as f64 / self.now as f64
    }

    /// Runs until `end`. Nothing in here depends on what the policy is.
    pub fn run_until(&mut self, end: Nanos) {
        while self.now < end {
            let pick = self.queue.pick(self.now);
            self.switches += 1;
            let Some(pick) = pick else {
                let next = self.next_wakeup().into_iter().chain(self.queue.next_event()).min();
                let next = next.unwrap_or(end).clamp(self.now, end);
                self.idle += next - self.now;
                self.now = next;
                self.wake();
                continue;
            };
            assert!(pick.slice > 0);
            self.dispatch(pick.task, self.now.saturating_add(pick.slice).min(end));
        }
    }

    /// The picked task has the CPU until it stops, is preempted, or its slice is over.
    fn dispatch(&mut self, id: TaskId, slice_end: Nanos) {
        let now = self.now;
        let task = &mut self.tasks[id as usize];
        assert!(task.wakes.is_none(), "task {id} was picked while it sleeps");
        task.longest_wait = task.longest_wait.max(now - task.queued_at);
        task.entity.start(now);
        self.current = Some(id);
        let mut slice_end = slice_end;
        loop {
            let task = &self.tasks[id as usize];
            let burst_end = self.now.saturating_add(task.work);
            let at = burst_end.min(slice_end).min(self.next_wakeup().unwrap_or(Nanos::MAX)).max(self.now);
            self.advance(id, at);
            if self.tasks[id as usize].work == 0 {
                return self.burst_ends(id);
            }
            if self.wake() || self.now >= slice_end {
                return self.leave(id, Stop::Preempted);
            }
            // As the contract asks: a woken task may be throttled, and somebody must pick when it no longer is.
            slice_end = slice_end.min(self.queue.next_event().unwrap_or(Nanos::MAX));
        }
    }

    fn advance(&mut self, id: TaskId, at: Nanos) {
        let task = &mut self.tasks[id as usize];
        if task.work != Nanos::MAX {
            task.work -= at - self.now;
        }
        self.now = at;
        let ran = task.entity.account(at);
        self.queue.charge(id, ran, at);
    }

    fn burst_ends(&mut self, id: TaskId) {
        let now = self.now;
        let task = &mut self.tasks[id as usize];
        match task.behaviour {
            Behaviour::Hog => unreachable!("a hog's work never ends"),
            Behaviour::Yielder { burst } => {
                task.work = burst;
                self.leave(id, Stop::Yielded);
            }
            Behaviour::Sleeper { burst, pause } => {
                task.work = burst;
                task.wakes = Some(now + pause);
                self.leave(id, Stop::Blocked);
            }
            Behaviour::Ambush { until, .. } => {
                task.work = Nanos::MAX;
                task.wakes = Some(until.max(now));
                self.leave(id, Stop::Blocked);
            }
            Behaviour::Periodic { work, period } => {
                task.jobs_done += 1;
                if now > task.release + period {
                    task.late_jobs += 1;
                }
                task.release += period;
                task.work = work;
                task.wakes = Some(task.release.max(now));
                self.leave(id, Stop::Blocked);
            }
        }
        self.wake();
    }

    fn leave(&mut self, id: TaskId, why: Stop) {
        let task = &mut self.tasks[id as usize];
        let ran = task.entity.stop(why, self.now);
        self.queue.charge(id, ran, self.now);
        self.current = None;
        task.queued_at = self.now;
        let why = match why {
            Stop::Blocked => return,
            Stop::Yielded => Enqueue::Yielded,
            Stop::Preempted => Enqueue::Preempted,
        };
        self.queue.enqueue(&task.entity, why, self.now).unwrap();
    }

    /// Wakes whom it is time for; says whether one of them should have the CPU at once.
    fn wake(&mut self) -> bool {
        let mut preempt = false;
        for task in &mut self.tasks {
            if task.wakes.is_some_and(|at| at <= self.now) {
                task.wakes = None;
                task.queued_at = self.now;
                task.entity.wake(self.now);
                self.queue.enqueue(&task.entity, Enqueue::Wakeup, self.now).unwrap();
                preempt |= self.queue.should_preempt(task.entity.id(), self.current, self.now);
            }
        }
        preempt
    }

    fn next_wakeup(&self) -> Option<Nanos> {
        self.tasks.iter().filter_map(|task| task.wakes).min()
    }

    /// Every nanosecond belongs to one task or to idling, and every task's time is accounted for.
    pub fn assert_no_time_is_lost(&self) {
        let run: Nanos = self.tasks.iter().map(|task| task.entity.accounting().run).sum();
        assert_eq!(run + self.idle, self.now);
        for task in &self.tasks {
            let mut entity = task.entity.clone();
            entity.account(self.now);
            let spent = entity.accounting();
            assert_eq!(spent.run + spent.wait + spent.sleep, self.now, "task {}", entity.id());
        }
    }
}
