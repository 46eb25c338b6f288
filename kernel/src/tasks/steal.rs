//! A CPU without work takes a thread from one that has more than it can run.
//!
//! It looks when it begins to idle, and whenever it is called ([`call`]) because a thread was queued elsewhere that does not run at once. The
//! idle thread does it, not the switch: to register a thread takes memory. No two queues are locked at a time: between them the thread is
//! ready, but in no queue, so nobody wakes it, and it cannot end.

use super::switch;
use crate::arch::apic;
use crate::arch::percpu::{self, Cpu, this_cpu};
use crate::arch::traps::RESCHEDULE;
use core::sync::atomic::Ordering;
use sched::Enqueue;

/// A thread waits on `target`, whose CPU goes on with another: has an idle CPU look, if there is one. Interrupts are off.
pub(super) fn call(target: &Cpu) {
    let own = this_cpu();
    let idle = percpu::all().find(|cpu| cpu.index != target.index && cpu.idles.load(Ordering::Relaxed));
    // The own CPU looks by itself: it idles no longer than until the end of this interrupt.
    if let Some(idle) = idle.filter(|idle| idle.index != own.index) {
        apic::send_interrupt(idle.apic_id, RESCHEDULE);
    }
}

/// Takes a thread from another CPU, if one has too many, and queues it here. Says whether it did. From the idle thread, with interrupts
/// off: an interrupt between looking and halting would be one that calls this CPU in vain.
pub(super) fn take() -> bool {
    let own = this_cpu();
    let count = percpu::count();
    let others = (1..count).filter_map(|step| percpu::by_index((own.index + step) % count));
    for cpu in others {
        // A CPU that still idles is on its way to run the first of them itself.
        let spare = usize::from(cpu.idles.load(Ordering::Relaxed));
        if cpu.waiting.load(Ordering::Relaxed) <= spare {
            continue;
        }
        let Some(task) = switch::give_away(cpu) else { continue };
        let here = switch::register(own.index, task);
        match here {
            Ok(()) => {
                own.steals.fetch_add(1, Ordering::Relaxed);
            }
            // Back to where there was room for it a moment ago.
            Err(error) => {
                if let Err(again) = switch::register(cpu.index, task) {
                    log::error!("sched: thread {} is lost: {error}; {again}", task.id);
                    return false;
                }
            }
        }
        switch::start(task, Enqueue::Moved);
        return here.is_ok();
    }
    false
}
