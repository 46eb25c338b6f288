//! Which policy orders the fair class, on each CPU, and its exchange while threads run.
//!
//! The learned one is never thrown away: while another rules it is *parked* beside the queue, without tasks, with what it has learned.

use super::candidate::Breakable;
use super::switch::{self, Queue};
use super::table;
use crate::arch::containment::Contained;
use crate::arch::percpu;
use crate::arch::time::uptime_nanos;
use crate::memory::OutOfMemory;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::any::Any;
use sched::guard::{Candidate, Guard, Rule};
use sched::{Eevdf, Entity, Latency, Mlfq, Policy, RegisterError, RoundRobin};

/// The transformer under its guard.
pub type Learned = Guard<Breakable>;

// It is built on a thread's stack of 64 KiB.
const _: () = assert!(size_of::<Learned>() + size_of::<Breakable>() < 16 << 10);

/// A policy of the fair class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FairClass {
    /// Earliest eligible virtual deadline first.
    Eevdf,
    /// Round robin.
    RoundRobin,
    /// Multilevel feedback queues.
    Mlfq,
    /// The transformer under its guard.
    Transformer,
}

impl FairClass {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Eevdf, Self::RoundRobin, Self::Mlfq, Self::Transformer];
}

/// Times under one policy.
#[derive(Clone, Copy, Debug, Default)]
pub struct Times {
    /// From being woken to running.
    pub wakeup: Latency,
    /// What a decision took, from asking the run queue to its answer.
    pub decision: Latency,
}

/// Why the policy was not exchanged.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub enum PolicyError {
    /// No memory for it.
    #[error(transparent)]
    OutOfMemory(#[from] OutOfMemory),
    /// It does not take a thread.
    #[error(transparent)]
    Refused(#[from] RegisterError),
}

/// Memory that a learned policy takes, roughly, for the error that there is not so much.
const LEARNED_BYTES: u64 = 400 << 10;

fn no_memory() -> OutOfMemory {
    OutOfMemory { bytes: LEARNED_BYTES }
}

fn learned_of(policy: &mut dyn Policy) -> Option<&mut Learned> {
    (policy as &mut dyn Any).downcast_mut()
}

impl Queue {
    /// The learned policy of this CPU, whether it rules or is parked.
    pub(super) fn learned(&mut self) -> Option<&mut Learned> {
        match &mut self.parked {
            Some(parked) => Some(parked),
            None => learned_of(self.run.fair_mut()),
        }
    }

    /// Who decides at this moment: the transformer only while its guard lets it act.
    pub(super) fn decider(&self) -> FairClass {
        let learned = (self.run.fair() as &dyn Any).downcast_ref::<Learned>();
        match (self.fair, learned) {
            (FairClass::Transformer, Some(guard)) if guard.rule() != Rule::Acting => FairClass::Eevdf,
            (fair, _) => fair,
        }
    }
}

/// Runs `act` on the learned policy of a CPU, under the lock of its queue: short, and without waiting. `None` when there is none.
pub fn with_learned<R>(cpu: usize, act: impl FnOnce(&mut Learned) -> R) -> Option<R> {
    switch::with_queue(cpu, |queue| queue.learned().map(act)).flatten()
}

/// The times under each policy on one CPU, in the order of [`FairClass::ALL`].
pub fn times(cpu: usize) -> Option<[Times; 4]> {
    switch::with_queue(cpu, |queue| queue.times)
}

/// One step of what no decision waits for, on a CPU's queue: a learned policy that rules learns from a decision, and its guard looks at it.
/// The queue is locked for as long as it takes to copy the lesson and its outcome, and not while it is learned. In a thread. It learns if
/// it `may_learn`; says what CPU time that took, in nanoseconds.
pub fn maintain(cpu: usize, may_learn: bool) -> u64 {
    let mut took = 0;
    let mut lesson = if may_learn { with_ruling(cpu, Guard::lesson).flatten() } else { None };
    if let Some(lesson) = &mut lesson {
        // By the thread's own time: it is preempted like all others.
        let start = super::run_nanos();
        Breakable::learn(lesson);
        took = super::run_nanos() - start;
        with_ruling(cpu, |guard| guard.learned(lesson));
    }
    let pairs = with_ruling(cpu, |guard| guard.pairs()).flatten();
    let foresight = pairs.and_then(|pairs| pairs.foresight());
    with_ruling(cpu, |guard| guard.inspect(foresight));
    took
}

/// Runs `act` on a CPU's learned policy under its queue's lock, if that policy rules there.
fn with_ruling<R>(cpu: usize, act: impl FnOnce(&mut Learned) -> R) -> Option<R> {
    switch::with_queue(cpu, |queue| learned_of(queue.run.fair_mut()).map(act)).flatten()
}

/// Has all CPUs order their fair class by `fair`. A learned policy that broke is replaced by a new one. When one CPU cannot, those
/// before it get back what they had.
pub fn set_policy(fair: FairClass) -> Result<(), PolicyError> {
    let mut before = [FairClass::Eevdf; percpu::MAX_CPUS];
    for cpu in 0..percpu::count() {
        before[cpu] = switch::with_queue(cpu, |queue| queue.fair).unwrap_or(fair);
        if let Err(error) = set_on(cpu, fair) {
            for (cpu, &fair) in before.iter().enumerate().take(cpu) {
                if let Err(error) = set_on(cpu, fair) {
                    log::error!("sched: CPU {cpu} keeps a policy that was not asked for: {error}");
                }
            }
            return Err(error);
        }
    }
    Ok(())
}

fn set_on(cpu: usize, fair: FairClass) -> Result<(), PolicyError> {
    if fair == FairClass::Transformer {
        repair(cpu)?;
    }
    if switch::with_queue(cpu, |queue| queue.fair == fair) == Some(true) {
        return Ok(());
    }
    // Made outside of the lock; the learned one may be parked already.
    let mut new: Option<Box<dyn Policy>> = match fair {
        FairClass::Eevdf => Some(Box::new(Eevdf::new())),
        FairClass::RoundRobin => Some(Box::new(RoundRobin::new())),
        FairClass::Mlfq => Some(Box::new(Mlfq::new())),
        FairClass::Transformer if with_learned(cpu, |_| ()).is_some() => None,
        FairClass::Transformer => Some(new_learned()?),
    };
    let mut entities = Vec::new();
    loop {
        // A few more than there are: threads may be made meanwhile.
        let wanted = table::count() + 8;
        entities.clear();
        entities.try_reserve(wanted).map_err(|_| no_memory())?;
        let room = entities.capacity();
        // The table's lock keeps threads from coming and going: a thread that is registered is in it.
        let changed = table::with_all(|tasks| {
            if tasks.len() > room {
                return None;
            }
            switch::with_queue(cpu, |queue| {
                let here = tasks.values().filter(|task| task.cpu() == cpu && !task.idle);
                entities.extend(here.map(|task| task.entity.lock().clone()));
                exchange(queue, cpu, new.take(), fair, &entities)
            })
        });
        match changed {
            // What is not needed any more is freed here, without a lock.
            Some((result, _old)) => return result.map_err(PolicyError::Refused),
            None => continue,
        }
    }
}

/// Under the locks of the table and the queue: whether it went well, and what is to be dropped.
fn exchange(
    queue: &mut Queue,
    cpu: usize,
    new: Option<Box<dyn Policy>>,
    fair: FairClass,
    entities: &[Entity],
) -> (Result<(), RegisterError>, Option<Box<dyn Any>>) {
    let running = percpu::by_index(cpu).map(|cpu| cpu.current().id);
    let new = new.or_else(|| queue.parked.take().map(|parked| parked as Box<dyn Policy>));
    let Some(new) = new else { return (Ok(()), None) };
    let (result, unused) = match queue.run.set_policy(new, entities, running, uptime_nanos()) {
        Ok(old) => (Ok(()), old),
        Err((error, new)) => (Err(error), new),
    };
    if result.is_ok() {
        queue.fair = fair;
    }
    match (unused as Box<dyn Any>).downcast() {
        Ok(learned) => {
            queue.parked = Some(learned);
            (result, None)
        }
        Err(other) => (result, Some(other)),
    }
}

fn new_learned() -> Result<Box<Learned>, OutOfMemory> {
    let candidate = Breakable::new().ok_or_else(no_memory)?;
    Guard::new(candidate, Box::new(Contained), uptime_nanos).map(Box::new).ok_or_else(no_memory)
}

/// Puts a new candidate in the place of one that broke.
fn repair(cpu: usize) -> Result<(), PolicyError> {
    if with_learned(cpu, |guard| guard.broken()) == Some(true) {
        let candidate = Breakable::new().ok_or_else(no_memory)?;
        with_learned(cpu, |guard| guard.replace(candidate, uptime_nanos())).unwrap_or(Ok(()))?;
    }
    Ok(())
}
