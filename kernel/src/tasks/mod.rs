//! Preemptive kernel threads: spawning, joining, sleeping, waiting.
//!
//! ```ignore
//! let worker = tasks::spawn("worker", Options::default(), || 6 * 7)?;
//! assert_eq!(worker.join(), 42);
//! ```

mod candidate;
#[cfg(feature = "llm")]
mod class;
mod policy;
mod sleep;
mod steal;
mod switch;
mod table;
mod task;
mod wait;

pub use candidate::Fault;
#[cfg(feature = "llm")]
pub use class::set_class;
pub use policy::{FairClass, Learned, Times, maintain, set_policy, times, with_learned};
pub use sleep::sleep_nanos;
pub use switch::{on_timer, schedule, wake};
pub use table::MAX_THREADS;
pub use task::{Restart, State, Task};
pub use wait::WaitQueue;

use crate::arch::percpu::{Cpu, this_cpu};
use crate::arch::time::uptime_nanos;
use crate::arch::traps;
use crate::memory::OutOfMemory;
use crate::sync::IrqMutex;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;
use sched::{Accounting, Class, Enqueue, Entity, Latency, Nice, Origin, RegisterError, TaskId};
use x86_64::instructions::interrupts::without_interrupts;

/// How a thread is to be scheduled.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Its share against other threads.
    pub nice: Nice,
    /// The CPU that it is to stay on; otherwise the one with the fewest runnable threads, until another one takes it.
    pub cpu: Option<usize>,
    /// Its scheduling class.
    pub class: Class,
    /// May be asked to end when memory runs out.
    pub killable: bool,
    /// On whose behalf it runs, for the policy that learns; 0 when that is not known.
    pub owner: u32,
    /// How much work it is asked to do, in any unit that stays the same for threads of that name; 0 when that is not known.
    pub declared: u64,
    /// What to begin again with when there is no memory for what it does; others wait for ever then.
    pub restart: Option<Restart>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            nice: Nice::default(),
            cpu: None,
            class: Class::Fair,
            killable: false,
            owner: 0,
            declared: 0,
            restart: None,
        }
    }
}

impl Options {
    /// Runs on this CPU only.
    pub fn on_cpu(cpu: usize) -> Self {
        Self { cpu: Some(cpu), ..Self::default() }
    }
}

/// Why a thread was not made.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub enum SpawnError {
    /// No memory for its stack or its record.
    #[error(transparent)]
    OutOfMemory(#[from] OutOfMemory),
    /// The table is full.
    #[error("there are {MAX_THREADS} threads already; wait for some to end")]
    TooMany,
    /// The CPU asked for does not run.
    #[error("CPU {0} is not running")]
    NoSuchCpu(usize),
    /// The scheduler did not take it.
    #[error(transparent)]
    Refused(#[from] RegisterError),
}

/// A thread that can be waited for.
pub struct JoinHandle<T> {
    task: Arc<Task>,
    result: Arc<IrqMutex<Option<T>>>,
}

impl<T> JoinHandle<T> {
    /// Waits for the thread's end; its result.
    pub fn join(self) -> T {
        self.task.joiners.wait_until(|| self.task.exited.load(Ordering::Acquire));
        self.result.lock().take().unwrap_or_else(|| unreachable!("a thread ends by returning its result"))
    }

    /// Whether it has ended.
    pub fn is_finished(&self) -> bool {
        self.task.exited.load(Ordering::Acquire)
    }
}

/// Starts a thread. From a thread, with interrupts on.
pub fn spawn<T: Send + 'static>(
    name: &str,
    options: Options,
    body: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, SpawnError> {
    if let Some(cpu) = options.cpu.filter(|&cpu| cpu >= crate::arch::percpu::count()) {
        return Err(SpawnError::NoSuchCpu(cpu));
    }
    // A stack is growth, too.
    #[cfg(feature = "ai-ops")]
    crate::memory::hold_back::pace(crate::memory::STACK_SIZE / mm::FRAME_SIZE);
    let id = table::new_id().ok_or(SpawnError::TooMany)?;
    let result = Arc::new(IrqMutex::new(None));
    let slot = result.clone();
    let entry = Box::new(move || {
        let value = body();
        *slot.lock() = Some(value);
    });
    let mut entity = Entity::new(id, options.nice, options.class, uptime_nanos());
    entity.set_origin(Origin { program: program(name), owner: options.owner, declared: options.declared });
    let cpu = options.cpu.or_else(|| switch::by_load().next()).unwrap_or(0);
    let task = Task::new(name, cpu, &options, entity, entry).inspect_err(|_| table::release(id))?;
    // In the table first: whoever exchanges a policy must find every thread there that a queue knows.
    table::insert(task.clone());
    if let Err(error) = admit(&task) {
        table::remove(id);
        return Err(error.into());
    }
    switch::start(&task, Enqueue::New);
    Ok(JoinHandle { task, result })
}

/// Registers a new thread: on its CPU; or, if it is not pinned and asks for a reservation that does not fit there, on another.
fn admit(task: &Task) -> Result<(), RegisterError> {
    if !sleep::make_room(table::count()) {
        return Err(RegisterError::NoMemory { task: task.id });
    }
    let first = switch::register(task.cpu(), task);
    #[cfg(feature = "deterministic")]
    if let (Err(RegisterError::Admission(_)), false) = (&first, task.pinned) {
        let mut others = switch::by_load().filter(|&cpu| cpu != task.cpu());
        if others.any(|cpu| switch::register(cpu, task).is_ok()) {
            return Ok(());
        }
    }
    first
}

/// The program that a thread's name stands for: what comes before a slash.
fn program(name: &str) -> u32 {
    sched::key(name.split('/').next().unwrap_or(name))
}

/// The first function of every thread.
extern "C" fn start_of_thread() -> ! {
    {
        let task = current();
        if let Some(entry) = task.take_entry() {
            entry();
        }
    }
    end()
}

/// Ends the calling thread.
pub fn end() -> ! {
    switch::exit()
}

/// The calling thread.
pub fn current() -> Arc<Task> {
    let task: *const Task = without_interrupts(|| this_cpu().current());
    // SAFETY: every task is made by `Arc::new`, and the running one is alive.
    unsafe {
        Arc::increment_strong_count(task);
        Arc::from_raw(task)
    }
}

/// CPU time that the calling thread has used up to now, in nanoseconds. It asks the thread only and changes nothing, so
/// that a thread may look at it again and again while it computes.
pub fn run_nanos() -> u64 {
    own_accounting().0.run
}

/// Where the calling thread's time went, and up to when.
pub fn own_accounting() -> (Accounting, u64) {
    let task = current();
    without_interrupts(|| {
        // Interrupts off: between the two it must not be taken off its CPU.
        let mut entity = task.entity.lock().clone();
        let now = uptime_nanos();
        entity.account(now);
        (entity.accounting(), now)
    })
}

/// Lets other threads of this CPU run.
pub fn yield_now() {
    traps::yield_cpu();
}

/// Makes the code that runs here the idle thread of `cpu`, its own CPU.
pub fn adopt_idle(cpu: &Cpu) -> Result<(), SpawnError> {
    let id = table::new_id().ok_or(SpawnError::TooMany)?;
    let mut name = String::from("idle/");
    let _ = core::fmt::Write::write_fmt(&mut name, format_args!("{}", cpu.index));
    let entity = Entity::new(id, Nice::MAX, Class::Fair, uptime_nanos());
    let task = Task::adopt_idle(&name, cpu.index, entity)?;
    table::insert(task.clone());
    switch::install(cpu, task);
    Ok(())
}

/// What an idle thread does for ever: take work from other CPUs, or wait for interrupts, after which the scheduler looks for work.
pub fn idle() -> ! {
    loop {
        x86_64::instructions::interrupts::disable();
        if steal::take() {
            yield_now();
        } else {
            x86_64::instructions::interrupts::enable_and_hlt();
        }
    }
}

/// Whether the caller may sleep: it is a thread, but no idle one, and holds no spin lock of this kernel's.
pub fn may_wait() -> bool {
    x86_64::instructions::interrupts::are_enabled()
        && crate::arch::percpu::is_ready()
        && without_interrupts(|| {
            // Interrupts are off until this CPU has a thread.
            let cpu = this_cpu();
            cpu.preempt_off.load(Ordering::Relaxed) == 0 && !cpu.current().idle
        })
}

/// The heap has refused memory to the caller, who cannot go on: begins the thread again, if it can be. Returns otherwise.
pub fn give_up() {
    if !may_wait() {
        return;
    }
    // This thread is not freed while it runs here.
    let task: &Task = without_interrupts(|| this_cpu().current());
    if let Some(restart) = task.restart.filter(|_| !task.is_freeing()) {
        task.begin_again(restart);
    }
}

/// Keeps the calling thread on its CPU, unpreempted, until dropped. Interrupts still come.
pub struct NoPreempt(());

/// See [`NoPreempt`]. Not to be held while blocking.
pub fn no_preempt() -> NoPreempt {
    // Without interrupts, or the thread might be on another CPU by the time that it counts.
    without_interrupts(|| this_cpu().preempt_off.fetch_add(1, Ordering::Relaxed));
    NoPreempt(())
}

impl Drop for NoPreempt {
    fn drop(&mut self) {
        let cpu = this_cpu();
        let last = cpu.preempt_off.fetch_sub(1, Ordering::Relaxed) == 1;
        if last && cpu.reschedule.load(Ordering::Relaxed) && x86_64::instructions::interrupts::are_enabled() {
            traps::yield_cpu();
        }
    }
}

/// A thread as `ps` shows it.
#[derive(Clone, Debug)]
pub struct TaskInfo {
    /// Its id.
    pub id: TaskId,
    /// Its name.
    pub name: String,
    /// Where it is in its life.
    pub state: State,
    /// Its CPU.
    pub cpu: usize,
    /// Whether it stays there.
    pub pinned: bool,
    /// Its nice value.
    pub nice: Nice,
    /// Its class.
    pub class: Class,
    /// An idle thread.
    pub idle: bool,
    /// Where its time went, up to now.
    pub accounting: Accounting,
    /// Times from being woken to running.
    pub wake_latency: Latency,
}

/// All threads, in order of id.
pub fn list() -> Vec<TaskInfo> {
    table::all().iter().map(|task| info(task)).collect()
}

/// All threads themselves, in order of id.
pub fn all() -> Vec<Arc<Task>> {
    table::all()
}

/// Threads that run or could run now, idle ones not counted.
pub fn runnable() -> u32 {
    let of =
        |cpu: &Cpu| switch::with_queue(cpu.index, |queue| queue.run.len() + usize::from(!cpu.current().idle));
    crate::arch::percpu::all().filter_map(of).sum::<usize>() as u32
}

fn info(task: &Task) -> TaskInfo {
    let entity = switch::with_queue_of(task, |queue, _| {
        let now = uptime_nanos();
        let mut entity = task.entity.lock();
        let ran = entity.account(now);
        queue.run.charge(task.id, ran, now);
        entity.clone()
    })
    .unwrap_or_else(|| task.entity.lock().clone());
    TaskInfo {
        id: task.id,
        name: task.name.clone(),
        state: task.state(),
        cpu: task.cpu(),
        pinned: task.pinned,
        nice: entity.nice(),
        class: entity.class(),
        idle: task.idle,
        accounting: entity.accounting(),
        wake_latency: *entity.wake_latency(),
    }
}

/// Runs `read` on the run queue of a CPU, under its lock: it must be short and must not allocate.
pub fn with_run_queue<R>(cpu: usize, read: impl FnOnce(&sched::RunQueue) -> R) -> Option<R> {
    switch::with_queue(cpu, |queue| read(&queue.run))
}
