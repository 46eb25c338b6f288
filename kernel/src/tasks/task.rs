//! One kernel thread.

use super::Options;
use super::wait::WaitQueue;
use crate::arch::extended_state::Area;
use crate::arch::traps::TrapFrame;
use crate::memory::{OutOfMemory, Stack};
use crate::sync::IrqMutex;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use sched::{Entity, TaskId};
use x86_64::instructions::segmentation::{CS, SS, Segment};

/// Where a thread is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// In a run queue.
    Ready,
    /// On a CPU.
    Running,
    /// On a CPU, about to block: whoever wakes it now only has to change this.
    Blocking,
    /// Waiting; in no run queue.
    Blocked,
    /// Ended.
    Exited,
}

impl State {
    fn from_u8(value: u8) -> Self {
        [Self::Ready, Self::Running, Self::Blocking, Self::Blocked]
            .into_iter()
            .find(|&state| state as u8 == value)
            .unwrap_or(Self::Exited)
    }
}

/// The body of a thread that can be begun again, on an empty stack: it must not rely on anything that it left.
pub type Restart = extern "C" fn() -> !;

/// A thread. Its registers live in `frame` and `extended` whenever it is not on a CPU.
///
/// `frame` is written by the trap entry code of the CPU that runs the thread (through the TSS), and read when the
/// thread is resumed; the state machine sees to it that these never overlap.
#[repr(C, align(64))]
pub struct Task {
    // NOTE: the end of the frame must be 16-byte aligned, for the CPU aligns the address it pushes from.
    frame: UnsafeCell<TrapFrame>,
    extended: Area,
    /// Unique for ever.
    pub id: TaskId,
    /// For people.
    pub name: String,
    state: AtomicU8,
    /// The CPU whose run queue knows it; changed under that queue's lock, while the thread is in no queue.
    cpu: AtomicUsize,
    /// It stays on that CPU.
    pub pinned: bool,
    /// An idle thread: never in a run queue.
    pub idle: bool,
    /// What the scheduler knows of it. Locked inside the lock of its CPU's run queue.
    pub(super) entity: IrqMutex<Entity>,
    /// What it runs; taken when it starts.
    entry: UnsafeCell<Option<Box<dyn FnOnce() + Send>>>,
    /// It agreed to be ended when memory runs out: it looks at [`is_killed`](Self::is_killed) and ends by itself.
    pub killable: bool,
    killed: AtomicBool,
    /// What it begins again with when the heap refuses it memory.
    pub restart: Option<Restart>,
    /// It frees memory for others now, in so many calls: it must not wait for memory itself.
    pub freeing: AtomicU32,
    /// Memory that its end will free, in bytes.
    held: AtomicU64,
    /// Set when it has ended.
    pub exited: AtomicBool,
    /// The one behind it in the queue that it waits in; touched under that queue's lock only.
    pub(super) next_waiting: UnsafeCell<Option<Arc<Task>>>,
    /// Threads that wait for its end.
    pub joiners: WaitQueue,
    /// `None` for idle threads, whose stacks are the CPUs' first ones.
    stack: Option<Stack>,
}

// SAFETY: the `UnsafeCell`s are reached only as their fields' comments say; the rest is atomic or immutable.
unsafe impl Sync for Task {}
// SAFETY: as above.
unsafe impl Send for Task {}

const _: () = assert!(size_of::<TrapFrame>().is_multiple_of(16) && core::mem::offset_of!(Task, frame) == 0);

impl Task {
    /// A thread that will run `entry` when it is first picked.
    pub(super) fn new(
        name: &str,
        cpu: usize,
        options: &Options,
        entity: Entity,
        entry: Box<dyn FnOnce() + Send>,
    ) -> Result<Arc<Self>, OutOfMemory> {
        let stack = Stack::new()?;
        let frame = TrapFrame {
            rip: super::start_of_thread as *const () as u64,
            cs: CS::get_reg().0.into(),
            rflags: 0x202, // interrupts on
            // As after a call: the stack pointer is 8 below a multiple of 16.
            rsp: stack.top() - 8,
            ss: SS::get_reg().0.into(),
            ..TrapFrame::default()
        };
        // SAFETY: the return address of the first function: zero, so that backtraces end there.
        unsafe { ((stack.top() - 8) as *mut u64).write(0) };
        Self::build(name, cpu, options, entity, Some(entry), (Some(stack), frame))
    }

    /// The thread that the calling CPU already is: its idle thread. Its frame is filled by its first trap.
    pub(super) fn adopt_idle(name: &str, cpu: usize, mut entity: Entity) -> Result<Arc<Self>, OutOfMemory> {
        entity.start(crate::arch::time::uptime_nanos());
        let task = Self::build(name, cpu, &Options::on_cpu(cpu), entity, None, (None, TrapFrame::default()))?;
        task.set_state(State::Running);
        Ok(task)
    }

    fn build(
        name: &str,
        cpu: usize,
        options: &Options,
        entity: Entity,
        entry: Option<Box<dyn FnOnce() + Send>>,
        (stack, frame): (Option<Stack>, TrapFrame),
    ) -> Result<Arc<Self>, OutOfMemory> {
        let bytes = crate::arch::extended_state::area_size() as u64;
        Ok(Arc::new(Self {
            frame: UnsafeCell::new(frame),
            extended: Area::new().ok_or(OutOfMemory { bytes })?,
            id: entity.id(),
            name: String::from(name),
            state: AtomicU8::new(State::Ready as u8),
            cpu: AtomicUsize::new(cpu),
            pinned: options.cpu.is_some(),
            idle: stack.is_none(),
            entity: IrqMutex::new(entity),
            entry: UnsafeCell::new(entry),
            killable: options.killable,
            killed: AtomicBool::new(false),
            restart: options.restart,
            freeing: AtomicU32::new(0),
            held: AtomicU64::new(0),
            exited: AtomicBool::new(false),
            next_waiting: UnsafeCell::new(None),
            joiners: WaitQueue::new(),
            stack,
        }))
    }

    /// The CPU that it runs on, ran on last, or is to run on. It may be another one a moment later, unless the lock of that CPU's run
    /// queue is held.
    pub fn cpu(&self) -> usize {
        self.cpu.load(Ordering::Acquire)
    }

    /// Its scheduling class.
    #[cfg(all(feature = "llm", feature = "deterministic"))]
    pub fn class(&self) -> sched::Class {
        self.entity.lock().class()
    }

    pub(super) fn set_cpu(&self, cpu: usize) {
        self.cpu.store(cpu, Ordering::Release);
    }

    /// Where it is in its life.
    pub fn state(&self) -> State {
        State::from_u8(self.state.load(Ordering::Acquire))
    }

    pub(super) fn set_state(&self, state: State) {
        self.state.store(state as u8, Ordering::Release);
    }

    /// Changes the state if it is `from`; says whether it was.
    pub(super) fn transition(&self, from: State, to: State) -> bool {
        self.state.compare_exchange(from as u8, to as u8, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Asks it to end.
    pub fn kill(&self) {
        self.killed.store(true, Ordering::Release);
    }

    /// Whether it should end: what it holds is needed.
    pub fn is_killed(&self) -> bool {
        self.killed.load(Ordering::Acquire)
    }

    /// Whether it frees memory for others just now.
    pub fn is_freeing(&self) -> bool {
        self.freeing.load(Ordering::Relaxed) > 0
    }

    /// Begins the calling thread, this one, again with an empty stack. What the old one held stays as it is, for ever.
    pub(super) fn begin_again(&self, restart: Restart) -> Option<core::convert::Infallible> {
        let top = self.stack.as_ref()?.top();
        // SAFETY: the stack is this thread's, which goes on at its top, as after a call from nowhere; `restart` never
        // returns and needs nothing that lies below.
        unsafe {
            core::arch::asm!(
                "mov rsp, {top}",
                "push 0",
                "jmp {restart}",
                top = in(reg) top,
                restart = in(reg) restart,
                options(noreturn)
            )
        }
    }

    /// Counts memory that its end will free.
    pub fn hold(&self, bytes: u64) {
        self.held.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Takes back what [`hold`](Self::hold) counted.
    pub fn release(&self, bytes: u64) {
        self.held.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Memory that its end would free, in bytes, its stack included.
    pub fn held_bytes(&self) -> u64 {
        self.held.load(Ordering::Relaxed) + crate::memory::STACK_SIZE
    }

    /// Where its registers are saved.
    pub(super) fn frame(&self) -> *const TrapFrame {
        self.frame.get()
    }

    /// End of the save area, from where the CPU pushes downwards.
    pub fn trap_frame_end(&self) -> u64 {
        self.frame.get() as u64 + size_of::<TrapFrame>() as u64
    }

    /// Its area for the extended state.
    pub fn extended_state(&self) -> *mut u8 {
        self.extended.as_ptr()
    }

    /// What it is to run; `None` the second time.
    pub(super) fn take_entry(&self) -> Option<Box<dyn FnOnce() + Send>> {
        // SAFETY: called by the thread itself only, once it runs.
        unsafe { (*self.entry.get()).take() }
    }
}
