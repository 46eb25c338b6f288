//! Which thread a CPU runs: the kernel's side of [`sched::RunQueue`].
//!
//! A thread belongs to one CPU at a time, and all that the scheduler knows of it is behind that CPU's queue lock. It changes its CPU
//! only while it waits in the queue, ready to run ([`super::steal`]).
//! [`schedule`] runs at the end of every interrupt, on the interrupt stack, so no thread's stack is in use: a thread
//! that has ended can be freed right there.

use super::policy::{FairClass, Learned, Times};
use super::table;
use super::task::{State, Task};
use super::{current, sleep, steal};
use crate::arch::apic;
use crate::arch::percpu::{self, Cpu, MAX_CPUS, this_cpu};
use crate::arch::time::uptime_nanos;
use crate::arch::traps::{RESCHEDULE, TrapFrame, yield_cpu};
use crate::sync::IrqMutex;
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicUsize, Ordering};
use sched::{Eevdf, Enqueue, Nanos, RegisterError, RunQueue, Stop};
use x86_64::instructions::interrupts::without_interrupts;

/// A CPU's run queue, and its idle thread.
pub(super) struct Queue {
    pub(super) run: RunQueue,
    idle: Arc<Task>,
    /// The policy of `run`'s fair class.
    pub(super) fair: FairClass,
    /// The learned policy while another one rules.
    pub(super) parked: Option<Box<Learned>>,
    /// By policy, in the order of `FairClass::ALL`.
    pub(super) times: [Times; FairClass::ALL.len()],
}

/// While preemption is off, whatever is due is looked at again after this many nanoseconds.
const HELD: Nanos = 200_000;

static QUEUES: [IrqMutex<Option<Queue>>; MAX_CPUS] = [const { IrqMutex::new(None) }; MAX_CPUS];
/// Threads registered on each CPU.
static REGISTERED: [AtomicUsize; MAX_CPUS] = [const { AtomicUsize::new(0) }; MAX_CPUS];

/// Runs `act` on a CPU's queue under its lock; `None` if that CPU has not started.
pub(super) fn with_queue<R>(cpu: usize, act: impl FnOnce(&mut Queue) -> R) -> Option<R> {
    QUEUES.get(cpu)?.lock().as_mut().map(act)
}

/// Runs `act` on the queue of the CPU to which a thread belongs, which stays the same meanwhile.
pub(super) fn with_queue_of<R>(task: &Task, act: impl FnOnce(&mut Queue, &'static Cpu) -> R) -> Option<R> {
    loop {
        let index = task.cpu();
        let cpu = percpu::by_index(index)?;
        let mut queue = QUEUES[index].lock();
        if task.cpu() == index {
            return queue.as_mut().map(|queue| act(queue, cpu));
        }
    }
}

/// Gives a CPU its queue and its idle thread, which becomes the running one.
pub(super) fn install(cpu: &Cpu, idle: Arc<Task>) {
    let mut queue = QUEUES[cpu.index].lock();
    // SAFETY: this is the CPU itself, interrupts are off, and the queue keeps its idle thread for ever.
    unsafe { cpu.set_current(&idle) };
    *queue = Some(Queue {
        run: RunQueue::new(Box::new(Eevdf::new())),
        idle,
        fair: FairClass::Eevdf,
        parked: None,
        times: Default::default(),
    });
}

/// The started CPUs; first the one with the fewest runnable threads, and of those alike, with the fewest threads.
pub(super) fn by_load() -> impl Iterator<Item = usize> {
    // Looked up once: they change at any time, and a sort wants keys that do not.
    let load = |index: usize| {
        let runnable = percpu::by_index(index).map_or(0, |cpu| {
            cpu.waiting.load(Ordering::Relaxed) + usize::from(!cpu.idles.load(Ordering::Relaxed))
        });
        (runnable, REGISTERED[index].load(Ordering::Relaxed), index)
    };
    let mut cpus: heapless::Vec<_, MAX_CPUS> = (0..percpu::count()).map(load).collect();
    cpus.sort_unstable();
    cpus.into_iter().map(|(.., index)| index)
}

/// Makes a thread that is in no queue known to a CPU's queue, and that CPU its own.
pub(super) fn register(cpu: usize, task: &Task) -> Result<(), RegisterError> {
    let registered = with_queue(cpu, |queue| {
        queue.run.register(&task.entity.lock(), uptime_nanos())?;
        task.set_cpu(cpu);
        Ok(())
    });
    let result = registered.unwrap_or(Err(RegisterError::NoMemory { task: task.id }));
    if result.is_ok() {
        REGISTERED[cpu].fetch_add(1, Ordering::Relaxed);
    }
    result
}

/// Takes the thread that would wait longest out of a CPU's queue, of those that may move. It is known to no queue then.
pub(super) fn give_away(cpu: &Cpu) -> Option<&'static Task> {
    let given = with_queue(cpu.index, |queue| {
        let movable = |id| table::running(id).is_some_and(|task| !task.pinned);
        let (id, luggage) = queue.run.give_away(movable)?;
        cpu.waiting.store(queue.run.len(), Ordering::Relaxed);
        table::running(id).inspect(|task| task.entity.lock().pack(luggage))
    });
    let task = given.flatten()?;
    REGISTERED[cpu.index].fetch_sub(1, Ordering::Relaxed);
    Some(task)
}

/// Queues a thread that its CPU's queue knows and that is in no queue: a new one, or one that has come from another CPU.
pub(super) fn start(task: &Task, why: Enqueue) {
    make_runnable(task, why, None);
}

/// Wakes a blocked thread, or keeps one from blocking that is about to. Says whether it was either.
pub fn wake(task: &Task) -> bool {
    wake_that_was_due(task, None)
}

/// As [`wake`]; the thread was to be woken at a time, from which it counts how late it runs.
pub(super) fn wake_that_was_due(task: &Task, at: Option<u64>) -> bool {
    if task.transition(State::Blocking, State::Ready) {
        // Its CPU is on the way into `schedule`, which will see this.
        return true;
    }
    let blocked = task.transition(State::Blocked, State::Ready);
    if blocked {
        make_runnable(task, Enqueue::Wakeup, at);
    }
    blocked
}

/// Puts a `Ready` thread into its queue and has its CPU look if it should run at once; if not, an idle CPU may take it.
fn make_runnable(task: &Task, why: Enqueue, was_due: Option<u64>) {
    // Interrupts off: this CPU must stay the same.
    without_interrupts(|| {
        let queued = with_queue_of(task, |queue, target| {
            let now = uptime_nanos();
            // Stable: `schedule` changes it only under this lock.
            let running = target.current();
            if !running.idle {
                // First, or the newcomer would be measured against a queue that is up to a slice old.
                let ran = running.entity.lock().account(now);
                queue.run.charge(running.id, ran, now);
            }
            {
                let mut entity = task.entity.lock();
                entity.wake(now);
                if let Some(at) = was_due {
                    entity.was_due(at);
                }
                if let Err(error) = queue.run.enqueue(&entity, why, now) {
                    log::error!("sched: {error}");
                    return None;
                }
            }
            target.waiting.store(queue.run.len(), Ordering::Relaxed);
            let preempts = running.idle || queue.run.should_preempt(task.id, Some(running.id), now);
            // Here, under the lock: as soon as it is let go, the thread may run elsewhere, end and be freed.
            Some((target, preempts, !task.pinned))
        });
        match queued.flatten() {
            Some((target, true, _)) => {
                target.reschedule.store(true, Ordering::Relaxed);
                // To the own CPU too: it is taken as soon as interrupts are on. In an interrupt `schedule` follows anyway.
                if target.index != this_cpu().index || !target.in_interrupt.load(Ordering::Relaxed) {
                    apic::send_interrupt(target.apic_id, RESCHEDULE);
                }
            }
            Some((target, false, true)) => steal::call(target),
            _ => {}
        }
    });
}

/// In the timer interrupt.
pub fn on_timer(_cpu: &Cpu) {
    sleep::wake_due(uptime_nanos());
}

/// Decides who runs on `cpu` from now on, and returns that thread's registers. At the end of every interrupt, on
/// the interrupt stack, interrupts off.
pub fn schedule(cpu: &Cpu, yielded: bool) -> *const TrapFrame {
    let now = uptime_nanos();
    let previous = cpu.current();
    let mut guard = QUEUES[cpu.index].lock();
    let Some(queue) = guard.as_mut() else { return previous.frame() };

    let must_leave = yielded || previous.state() != State::Running;
    let budget_is_due = queue.run.next_event().is_some_and(|at| at <= now);
    let slice_is_over = now >= cpu.slice_end.load(Ordering::Relaxed);
    let asked = cpu.reschedule.load(Ordering::Relaxed) || slice_is_over || budget_is_due;
    let may_leave = cpu.preempt_off.load(Ordering::Relaxed) == 0;
    let idle_with_work = previous.idle && !queue.run.is_empty();
    if !must_leave && !(may_leave && (asked || idle_with_work)) {
        if asked && !may_leave {
            // Dropping the last `NoPreempt` makes up for it; no sense in asking again and again.
            cpu.reschedule.store(true, Ordering::Relaxed);
            apic::arm_timer(HELD);
        } else {
            arm_timer(cpu, queue, now);
        }
        return previous.frame();
    }

    cpu.reschedule.store(false, Ordering::Relaxed);
    leave(queue, previous, yielded, now);
    let asked_at = uptime_nanos();
    let decider = queue.decider();
    let picked = queue.run.pick(now);
    let next = picked.and_then(|pick| table::running(pick.task)).unwrap_or(&*queue.idle);
    next.set_state(State::Running);
    let waited = next.entity.lock().start(now);
    if picked.is_some() {
        let times = &mut queue.times[decider as usize];
        times.decision.add(uptime_nanos().saturating_sub(asked_at));
        waited.into_iter().for_each(|waited| times.wakeup.add(waited));
    }
    cpu.waiting.store(queue.run.len(), Ordering::Relaxed);
    cpu.idles.store(next.idle, Ordering::Relaxed);
    cpu.slice_end.store(picked.map_or(Nanos::MAX, |pick| now.saturating_add(pick.slice)), Ordering::Relaxed);
    if next.id != previous.id {
        cpu.switches.fetch_add(1, Ordering::Relaxed);
    }
    // SAFETY: on this CPU, interrupts off; a thread that is current is not freed before another one is.
    unsafe { cpu.set_current(next) };
    arm_timer(cpu, queue, now);
    let frame = next.frame();
    let ended = previous.state() == State::Exited;
    if ended {
        queue.run.unregister(previous.id);
        REGISTERED[cpu.index].fetch_sub(1, Ordering::Relaxed);
    }
    // Another CPU may have nothing to do, and take the thread that has just lost this one. Looked at under the lock: after it, the
    // thread may be gone.
    let left_waiting =
        next.id != previous.id && previous.state() == State::Ready && !previous.idle && !previous.pinned;
    drop(guard);
    if left_waiting {
        steal::call(cpu);
    }
    if ended {
        bury(cpu, table::remove(previous.id));
    }
    frame
}

/// Tells those who wait for a thread's end that it has come: only now, so that they find what it had reserved free again.
fn bury(cpu: &Cpu, task: Option<Arc<Task>>) {
    let Some(task) = task else { return };
    task.exited.store(true, Ordering::Release);
    task.joiners.wake_all();
    if cpu.reschedule.load(Ordering::Relaxed) {
        // A waiter of this CPU, which has just chosen whom to run.
        apic::send_interrupt(cpu.apic_id, RESCHEDULE);
    }
}

/// Accounts for the thread that leaves the CPU, and queues it again if it is still runnable.
fn leave(queue: &mut Queue, task: &Task, yielded: bool, now: Nanos) {
    let mut entity = task.entity.lock();
    let (stop, again) = match task.state() {
        State::Running if yielded => (Stop::Yielded, Some(Enqueue::Yielded)),
        State::Running => (Stop::Preempted, Some(Enqueue::Preempted)),
        // From here on a waker queues it.
        State::Blocking if task.transition(State::Blocking, State::Blocked) => (Stop::Blocked, None),
        State::Exited => (Stop::Blocked, None),
        // Woken before it got here.
        _ => (Stop::Blocked, Some(Enqueue::Wakeup)),
    };
    let ran = entity.stop(stop, now);
    if task.idle {
        entity.wake(now);
        return;
    }
    queue.run.charge(task.id, ran, now);
    if let Some(why) = again {
        task.set_state(State::Ready);
        entity.wake(now);
        if let Err(error) = queue.run.enqueue(&entity, why, now) {
            log::error!("sched: {error}");
        }
    }
}

/// Asks for the next interrupt: at the end of the slice, when a sleeper is due, or when a reservation gets budget.
fn arm_timer(cpu: &Cpu, queue: &Queue, now: Nanos) {
    let slice_end = cpu.slice_end.load(Ordering::Relaxed);
    let next = [Some(slice_end), sleep::next_deadline(), queue.run.next_event()].into_iter().flatten().min();
    let wait = next.map_or(u64::MAX, |at| at.saturating_sub(now));
    // At least once a second: a lost interrupt delays work, it does not end it.
    apic::arm_timer(wait.min(cpu.tick_cap.load(Ordering::Relaxed)).clamp(1_000, 1_000_000_000));
}

/// Ends the calling thread.
pub(super) fn exit() -> ! {
    x86_64::instructions::interrupts::disable();
    current().set_state(State::Exited);
    yield_cpu();
    unreachable!("a thread that has ended was resumed")
}
