//! Small pieces of the heap that each CPU keeps for itself ([`mm::HeapCache`]), so that most allocations take no lock.
//!
//! A CPU's cache is touched by that CPU alone, with interrupts off: not even an uncontended lock is needed. So another CPU
//! cannot empty it, it can only ask for that ([`drain`]): by an interrupt, which empties the cache of the CPU that it comes
//! to. While memory is short there are no caches, lest one CPU keep what another looks for: [`switch_off`] when an
//! allocation has failed or free memory is below the low mark, [`switch_on`] when it is plentiful.

use super::heap;
use crate::arch::percpu::{self, this_cpu};
use crate::arch::{apic, irq};
use conquer_once::spin::OnceCell;
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, Ordering, compiler_fence};
use mm::HeapCache;
use x86_64::instructions::interrupts::without_interrupts;

/// Set once every CPU has its structure, and memory is not short.
static IN_USE: AtomicBool = AtomicBool::new(false);
/// The interrupt by which a CPU is asked to empty its cache.
static VECTOR: OnceCell<u8> = OnceCell::uninit();

/// One CPU's.
pub struct CpuHeapCache {
    cache: UnsafeCell<HeapCache>,
    /// Another CPU waits for this one to empty it.
    drain_pending: AtomicBool,
    /// It is being changed: an NMI must not leave it so.
    being_changed: AtomicBool,
}

// SAFETY: the cache is reached by `change` alone, on its own CPU with interrupts off; the rest is atomic.
unsafe impl Sync for CpuHeapCache {}

impl CpuHeapCache {
    /// An empty one.
    pub const fn new() -> Self {
        Self {
            cache: UnsafeCell::new(HeapCache::new()),
            drain_pending: AtomicBool::new(false),
            being_changed: AtomicBool::new(false),
        }
    }
}

/// Runs `act` on the cache of this CPU; `None` when there are no caches. `act` must not allocate but by what it is given.
#[inline]
pub(super) fn with<R>(act: impl FnOnce(&mut HeapCache) -> R) -> Option<R> {
    // The flag is looked at with interrupts off: once a drain has come to this CPU, nothing is put into its cache any more
    // by somebody who looked before.
    without_interrupts(|| {
        // SAFETY: interrupts are off, and `act` does not come back here; caches are in use only when every CPU has its
        // structure.
        IN_USE.load(Ordering::Acquire).then(|| unsafe { change(act) })
    })
}

/// Runs `act` on the cache of this CPU.
///
/// # Safety
/// This CPU has its structure, interrupts are off, and `act` does not come back here.
unsafe fn change<R>(act: impl FnOnce(&mut HeapCache) -> R) -> R {
    let own = &this_cpu().heap_cache;
    own.being_changed.store(true, Ordering::Relaxed);
    // An NMI comes to this CPU itself: the order of its own instructions is enough.
    compiler_fence(Ordering::SeqCst);
    // SAFETY: other CPUs never take a reference, and this one has no other, by the caller.
    let result = act(unsafe { &mut *own.cache.get() });
    compiler_fence(Ordering::SeqCst);
    own.being_changed.store(false, Ordering::Relaxed);
    result
}

/// Whether this CPU is changing its cache. Interrupts are off.
pub(super) fn is_being_changed() -> bool {
    this_cpu().heap_cache.being_changed.load(Ordering::Relaxed)
}

/// Makes caches possible. Once, in a thread, with all CPUs running.
pub(super) fn init() {
    match irq::register(drain_own) {
        Some(vector) => VECTOR.init_once(|| vector),
        None => log::warn!("MM: no interrupt is left for the heap's caches; there are none"),
    }
}

/// From here on the CPUs keep pieces for themselves.
pub(super) fn switch_on() {
    IN_USE.store(VECTOR.is_initialized(), Ordering::Release);
}

/// Empties the caches, and leaves them so. As [`drain`].
pub(super) fn switch_off() {
    IN_USE.store(false, Ordering::Release);
    drain();
}

/// Gives the heap what the CPUs keep, and returns when all have done so. In a thread, with interrupts on and no lock held;
/// the caller does not have to stay on its CPU.
pub(super) fn drain() {
    let Some(&vector) = VECTOR.get() else { return };
    percpu::all().for_each(|cpu| cpu.heap_cache.drain_pending.store(true, Ordering::Release));
    let this = without_interrupts(|| {
        drain_own();
        this_cpu().index
    });
    for cpu in percpu::all().filter(|cpu| cpu.index != this) {
        apic::send_interrupt(cpu.apic_id, vector);
    }
    while percpu::all().any(|cpu| cpu.heap_cache.drain_pending.load(Ordering::Acquire)) {
        core::hint::spin_loop();
    }
}

/// Empties the cache of this CPU: in the interrupt, or with interrupts off. It frees, and allocates nothing.
fn drain_own() {
    // SAFETY: interrupts are off, and freeing to the heap does not come back here; a drain comes to CPUs with a structure.
    unsafe { change(heap::take_back) };
    // Whoever asks from here on sends another interrupt.
    this_cpu().heap_cache.drain_pending.store(false, Ordering::Release);
}
