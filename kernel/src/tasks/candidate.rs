//! The transformer as the kernel's guard calls it: the policy itself, and faults that a self test plants in it.

use sched::guard::Candidate;
use sched::transformer::{Lesson, Transformer};
use sched::{Enqueue, Entity, Nanos, Pick, Policy, QueueError, RegisterError, TaskId};

/// What can go wrong in a policy; each happens once, at its next decision, in the scheduler's own context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It panics.
    Panic,
    /// It does not return.
    Loop,
    /// It calls itself until its stack is used up.
    Recursion,
    /// It names a task that may not run.
    NotRunnable,
    /// One of its weights is no number any more.
    NotFinite,
}

/// A transformer that faults can be planted in.
pub struct Breakable {
    policy: Transformer,
    fault: Option<Fault>,
}

impl Breakable {
    /// A new one, untrained; `None` without memory.
    pub fn new() -> Option<Self> {
        Some(Self { policy: Transformer::new()?, fault: None })
    }

    /// The policy.
    pub fn transformer(&self) -> &Transformer {
        &self.policy
    }

    /// The policy, for settings.
    pub fn transformer_mut(&mut self) -> &mut Transformer {
        &mut self.policy
    }

    /// Has its next decision go wrong.
    pub fn plant(&mut self, fault: Fault) {
        self.fault = Some(fault);
    }

    #[cold]
    fn go_wrong(&mut self, fault: Fault, now: Nanos) -> Option<Pick> {
        match fault {
            Fault::Panic => panic!("the policy, as a self test has asked it to"),
            Fault::Loop => loop {
                core::hint::spin_loop();
            },
            Fault::Recursion => {
                // Not a tail call, and not to be computed at compile time.
                #[expect(unconditional_recursion, reason = "that is the fault")]
                #[inline(never)]
                fn recurse(depth: u64) -> u64 {
                    core::hint::black_box([depth; 32]).iter().sum::<u64>() + recurse(depth + 1)
                }
                Some(Pick { task: recurse(0) as TaskId, slice: 1 })
            }
            Fault::NotRunnable => Some(Pick { task: TaskId::MAX, slice: 1 }),
            Fault::NotFinite => {
                self.policy.poison();
                self.policy.prefer(now)
            }
        }
    }
}

impl Candidate for Breakable {
    fn prefer(&mut self, now: Nanos) -> Option<Pick> {
        match self.fault.take() {
            None => self.policy.prefer(now),
            Some(fault) => self.go_wrong(fault, now),
        }
    }

    fn expected(&self, task: TaskId) -> Option<Nanos> {
        self.policy.expected(task)
    }

    type Lesson = Lesson;

    fn lesson(&mut self) -> Option<Lesson> {
        self.policy.lesson()
    }

    fn learn(lesson: &mut Lesson) {
        lesson.learn();
    }

    fn learned(&mut self, lesson: &Lesson) {
        self.policy.learned(lesson);
    }

    fn healthy(&self) -> bool {
        self.policy.healthy()
    }

    fn restart(&mut self) {
        self.policy.restart();
    }
}

impl Policy for Breakable {
    fn name(&self) -> &'static str {
        self.policy.name()
    }

    fn register(&mut self, entity: &Entity, now: Nanos) -> Result<(), RegisterError> {
        self.policy.register(entity, now)
    }

    fn unregister(&mut self, task: TaskId) -> bool {
        self.policy.unregister(task)
    }

    fn enqueue(&mut self, entity: &Entity, why: Enqueue, now: Nanos) -> Result<(), QueueError> {
        self.policy.enqueue(entity, why, now)
    }

    fn dequeue(&mut self, task: TaskId) -> bool {
        self.policy.dequeue(task)
    }

    fn pick(&mut self, now: Nanos) -> Option<Pick> {
        self.policy.pick(now)
    }

    fn take(&mut self, task: TaskId, now: Nanos) -> Option<Nanos> {
        self.policy.take(task, now)
    }

    fn charge(&mut self, task: TaskId, ran: Nanos, now: Nanos) {
        self.policy.charge(task, ran, now);
    }

    fn preempts(&self, woken: TaskId, current: TaskId, now: Nanos) -> bool {
        self.policy.preempts(woken, current, now)
    }

    fn maintain(&mut self, now: Nanos) -> bool {
        self.policy.maintain(now)
    }

    fn knows(&self, task: TaskId) -> bool {
        self.policy.knows(task)
    }

    fn len(&self) -> usize {
        self.policy.len()
    }

    fn for_each(&self, visit: &mut dyn FnMut(TaskId)) {
        self.policy.for_each(visit);
    }
}
