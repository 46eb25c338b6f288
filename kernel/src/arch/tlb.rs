//! TLB shootdown: making every CPU forget a mapping that was taken away.

use super::percpu::{self, this_cpu};
use super::{apic, traps};
use core::sync::atomic::{AtomicUsize, Ordering};
use x86_64::instructions::tlb;

/// One shootdown at a time. Waiters keep interrupts on, so that they can serve the holder's.
static TURN: spin::Mutex<()> = spin::Mutex::new(());
/// CPUs that have yet to flush.
static PENDING: AtomicUsize = AtomicUsize::new(0);

/// Flushes the TLB of every CPU and returns when all have done so.
///
/// Call with interrupts on and no lock held: another CPU may be asking the same of this one. (During boot, while
/// nobody else asks, they may be off.)
pub fn flush_everywhere() {
    let _turn = TURN.lock();
    let _stay = crate::tasks::no_preempt();
    let own = this_cpu().index;
    PENDING.store(percpu::count() - 1, Ordering::Release);
    percpu::all()
        .filter(|cpu| cpu.index != own)
        .for_each(|cpu| apic::send_interrupt(cpu.apic_id, traps::TLB_FLUSH));
    tlb::flush_all();
    while PENDING.load(Ordering::Acquire) != 0 {
        core::hint::spin_loop();
    }
}

/// The other side, in the interrupt.
pub(super) fn acknowledge() {
    tlb::flush_all();
    PENDING.fetch_sub(1, Ordering::AcqRel);
}
