//! What belongs to one CPU, reached through the GS base.

use crate::arch::extended_state;
use crate::arch::segments::Segments;
use crate::memory::{CpuHeapCache, OutOfMemory, Stack, frames, layout};
use crate::sync::IrqMutex;
use crate::tasks::Task;
use alloc::boxed::Box;
use conquer_once::spin::OnceCell;
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use mm::CpuCache;
use x86_64::VirtAddr;
use x86_64::registers::model_specific::GsBase;

/// Most CPUs that are started; ACPI may list more.
pub const MAX_CPUS: usize = 64;

/// One CPU. The first fields are read by the trap entry code at fixed offsets.
#[repr(C)]
pub struct Cpu {
    /// Address of this very structure, for `gs:[0]`.
    this: *const Cpu,
    /// Top of the interrupt stack.
    interrupt_stack_top: u64,
    /// Extended-state area of the running task.
    pub(super) extended_state: AtomicPtr<u8>,
    /// Which instruction saves it (`extended_state::Method`).
    pub(super) save_method: AtomicU64,
    /// Extended-state area for faults that return.
    pub(super) fault_state: AtomicPtr<u8>,
    /// Extended-state area for NMIs.
    pub(super) nmi_state: AtomicPtr<u8>,
    /// The stack pointer to go back to when a contained call does not return; 0 outside of one (`arch::containment`).
    pub(super) recovery: AtomicU64,
    /// Contained calls begun; which of them an NMI has found, when last, and how many NMIs have.
    pub(super) contained: AtomicU64,
    pub(super) sighted: AtomicU64,
    pub(super) sighted_at: AtomicU64,
    pub(super) sightings: AtomicU64,
    /// The running task.
    current: AtomicPtr<Task>,
    /// Index of this CPU, 0 for the boot CPU.
    pub index: usize,
    /// Its local APIC's id.
    pub apic_id: u32,
    /// Its descriptor tables; only this CPU touches them after `init`.
    pub(super) segments: UnsafeCell<Segments>,
    /// Set by another CPU or by a wake-up: look at the run queue again.
    pub reschedule: AtomicBool,
    /// When its slice ends, in nanoseconds.
    pub slice_end: AtomicU64,
    /// Handling an interrupt: `tasks::schedule` will run at its end.
    pub in_interrupt: AtomicBool,
    /// Depth of `tasks::no_preempt`.
    pub preempt_off: AtomicU32,
    /// Interrupts taken, by anything.
    pub interrupts: AtomicU64,
    /// Task switches done.
    pub switches: AtomicU64,
    /// Threads that it took from other CPUs.
    pub steals: AtomicU64,
    /// Threads that wait in its run queue, as of the last change, and whether its idle thread runs: for others, who may see it late.
    pub waiting: AtomicUsize,
    pub idles: AtomicBool,
    /// Has yet to flush its TLB (`arch::tlb`).
    pub(super) flush_pending: AtomicBool,
    /// Free frames that this CPU keeps for itself.
    pub frame_cache: IrqMutex<CpuCache>,
    /// Small pieces of the heap that this CPU keeps for itself.
    pub heap_cache: CpuHeapCache,
    /// Upper bound of the time between timer interrupts, in nanoseconds (lowered by the red-zone test).
    pub tick_cap: AtomicU64,
}

// SAFETY: shared fields are atomic; `segments` is touched by its own CPU only (see the field).
unsafe impl Sync for Cpu {}
// SAFETY: as above.
unsafe impl Send for Cpu {}

pub(super) const OFFSET_INTERRUPT_STACK: usize = core::mem::offset_of!(Cpu, interrupt_stack_top);
pub(super) const OFFSET_EXTENDED_STATE: usize = core::mem::offset_of!(Cpu, extended_state);
pub(super) const OFFSET_SAVE_METHOD: usize = core::mem::offset_of!(Cpu, save_method);
pub(super) const OFFSET_FAULT_STATE: usize = core::mem::offset_of!(Cpu, fault_state);
pub(super) const OFFSET_NMI_STATE: usize = core::mem::offset_of!(Cpu, nmi_state);

/// Started CPUs, in order of index.
static CPUS: [OnceCell<&'static Cpu>; MAX_CPUS] = [const { OnceCell::uninit() }; MAX_CPUS];
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// A CPU as it begins, but for what [`Cpu::init`] sets. It is copied to its place: code that isn't optimised moves what it builds
/// several times, and that many times 18 KiB are more than a boot stack holds.
static BLANK: Cpu = Cpu {
    this: core::ptr::null(),
    interrupt_stack_top: 0,
    extended_state: AtomicPtr::new(core::ptr::null_mut()),
    save_method: AtomicU64::new(0),
    fault_state: AtomicPtr::new(core::ptr::null_mut()),
    nmi_state: AtomicPtr::new(core::ptr::null_mut()),
    recovery: AtomicU64::new(0),
    contained: AtomicU64::new(0),
    sighted: AtomicU64::new(0),
    sighted_at: AtomicU64::new(0),
    sightings: AtomicU64::new(0),
    current: AtomicPtr::new(core::ptr::null_mut()),
    index: 0,
    apic_id: 0,
    segments: UnsafeCell::new(Segments::new()),
    reschedule: AtomicBool::new(false),
    slice_end: AtomicU64::new(u64::MAX),
    in_interrupt: AtomicBool::new(false),
    preempt_off: AtomicU32::new(0),
    interrupts: AtomicU64::new(0),
    switches: AtomicU64::new(0),
    steals: AtomicU64::new(0),
    waiting: AtomicUsize::new(0),
    idles: AtomicBool::new(true),
    flush_pending: AtomicBool::new(false),
    frame_cache: IrqMutex::new(CpuCache::new(0)),
    heap_cache: CpuHeapCache::new(),
    tick_cap: AtomicU64::new(u64::MAX),
};

impl Cpu {
    /// Makes the structure of the CPU that runs this, loads its descriptor tables and its GS base.
    pub fn init(apic_id: u32) -> Result<&'static Cpu, OutOfMemory> {
        let interrupt_stack = Stack::new()?;
        let exception_stacks = [Stack::new()?, Stack::new()?, Stack::new()?, Stack::new()?];
        let bytes = extended_state::area_size() as u64;
        let fault_state = extended_state::Area::new().ok_or(OutOfMemory { bytes })?;
        let nmi_state = extended_state::Area::new().ok_or(OutOfMemory { bytes })?;
        let mut place = Box::<Cpu>::new_uninit();
        // SAFETY: nobody changes the blank one; it owns nothing, and nothing in it refers to itself.
        let cpu = Box::leak(unsafe {
            core::ptr::copy_nonoverlapping(&raw const BLANK, place.as_mut_ptr(), 1);
            place.assume_init()
        });
        cpu.this = cpu;
        cpu.interrupt_stack_top = interrupt_stack.top();
        *cpu.save_method.get_mut() = extended_state::method() as u64;
        *cpu.fault_state.get_mut() = fault_state.as_ptr();
        *cpu.nmi_state.get_mut() = nmi_state.as_ptr();
        // CPUs are started one after the other, so this one's number is that of those published.
        cpu.index = COUNT.load(Ordering::Relaxed);
        cpu.apic_id = apic_id;
        let total_frames = frames::stats().total_frames;
        cpu.frame_cache.lock().fit(total_frames);
        // They belong to the CPU for ever.
        core::mem::forget(interrupt_stack);
        core::mem::forget(fault_state);
        core::mem::forget(nmi_state);
        let cpu: &'static Cpu = cpu;
        // SAFETY: only this CPU touches its segments, and it does so here for the first time.
        unsafe { (*cpu.segments.get()).load(exception_stacks) };
        // Loading the segment registers clears the GS base, so this comes after.
        GsBase::write(VirtAddr::from_ptr(cpu));
        Ok(cpu)
    }

    /// Lets the others know this CPU: it answers their interrupts and takes threads. Called by itself, last.
    pub fn publish(&'static self) {
        CPUS[self.index].init_once(|| self);
        COUNT.store(self.index + 1, Ordering::Release);
    }

    /// The running task.
    pub fn current(&self) -> &'static Task {
        // SAFETY: set before interrupts are first let in on this CPU, and a task that runs is not freed.
        unsafe { &*self.current.load(Ordering::Relaxed) }
    }

    /// The running task's name, also before there is one.
    pub fn current_name(&self) -> &'static str {
        if self.current.load(Ordering::Relaxed).is_null() { "boot" } else { &self.current().name }
    }

    /// Makes `task` the one whose registers the next trap on this CPU saves.
    ///
    /// # Safety
    /// On the CPU itself, with interrupts off; `task` stays alive until another one is set.
    pub unsafe fn set_current(&self, task: &Task) {
        self.current.store(core::ptr::from_ref(task).cast_mut(), Ordering::Relaxed);
        self.extended_state.store(task.extended_state(), Ordering::Relaxed);
        // SAFETY: this CPU, interrupts off: nobody else touches the segments.
        unsafe { (*self.segments.get()).set_trap_frame(task.trap_frame_end()) };
    }
}

/// The CPU that runs this. Meaningful only while the caller cannot be moved: interrupts or preemption off, or in
/// a pinned task.
pub fn this_cpu() -> &'static Cpu {
    let cpu: *const Cpu;
    // SAFETY: every CPU sets its GS base in `Cpu::init`, before it runs anything that gets here.
    unsafe {
        core::arch::asm!("mov {}, gs:[0]", out(reg) cpu, options(nostack, preserves_flags, readonly, pure));
        &*cpu
    }
}

/// Whether this CPU has its structure already (early panics happen before).
pub fn is_ready() -> bool {
    GsBase::read().as_u64() >= layout::DIRECT_MAP
}

/// All started CPUs.
pub fn all() -> impl Iterator<Item = &'static Cpu> {
    CPUS.iter().take(count()).filter_map(|cpu| cpu.get().copied())
}

/// The CPU of an index.
pub fn by_index(index: usize) -> Option<&'static Cpu> {
    CPUS.get(index)?.get().copied()
}

/// How many CPUs have been started.
pub fn count() -> usize {
    COUNT.load(Ordering::Acquire)
}
