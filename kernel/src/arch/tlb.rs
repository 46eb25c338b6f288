//! TLB shootdown: making every CPU forget a mapping that was taken away.

use super::percpu::{self, this_cpu};
use super::{apic, traps};
use core::sync::atomic::{AtomicU64, Ordering};
use x86_64::VirtAddr;
use x86_64::instructions::tlb;

/// One shootdown at a time. The holder is never preempted, so that a waiter on its CPU cannot wait for ever; waiters
/// keep interrupts on, so that they can serve the holder's.
static TURN: spin::Mutex<()> = spin::Mutex::new(());
/// The page to forget; [`EVERYTHING`] for all of them.
static PAGE: AtomicU64 = AtomicU64::new(EVERYTHING);

const EVERYTHING: u64 = 0;

/// Flushes the TLB of every CPU and returns when all have done so.
///
/// Call with interrupts on and no lock held: another CPU may be asking the same of this one. (During boot, while
/// nobody else asks, they may be off.)
pub fn flush_everywhere() {
    shoot_down(EVERYTHING);
}

/// As [`flush_everywhere`], for one page only.
pub fn flush_page_everywhere(virt: u64) {
    shoot_down(virt);
}

fn shoot_down(page: u64) {
    let _stay = crate::tasks::no_preempt();
    let _turn = TURN.lock();
    PAGE.store(page, Ordering::Relaxed);
    let own = this_cpu().index;
    let others = || percpu::all().filter(|cpu| cpu.index != own);
    others().for_each(|cpu| {
        cpu.flush_pending.store(true, Ordering::Release);
        apic::send_interrupt(cpu.apic_id, traps::TLB_FLUSH);
    });
    flush(page);
    while others().any(|cpu| cpu.flush_pending.load(Ordering::Acquire)) {
        core::hint::spin_loop();
    }
}

/// The other side: in the interrupt, and by whoever spins with interrupts off for longer.
pub fn acknowledge() {
    let cpu = this_cpu();
    if cpu.flush_pending.load(Ordering::Acquire) {
        flush(PAGE.load(Ordering::Relaxed));
        cpu.flush_pending.store(false, Ordering::Release);
    }
}

fn flush(page: u64) {
    match page {
        EVERYTHING => tlb::flush_all(),
        page => tlb::flush(VirtAddr::new_truncate(page)),
    }
}
