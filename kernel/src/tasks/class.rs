//! Another scheduling class for a thread that lives.

use super::switch;
use super::task::Task;
use crate::arch::apic;
use crate::arch::time::uptime_nanos;
use core::sync::atomic::Ordering;
use sched::{Class, RegisterError};

/// Moves a thread to another class, or gives it another reservation, whatever it is doing; from a thread. An error leaves it in its old class.
///
/// Only a pinned thread may be given a reservation: others change their CPU, and a reservation is one CPU's.
pub fn set_class(task: &Task, class: Class) -> Result<(), RegisterError> {
    debug_assert!(task.pinned || class == Class::Fair);
    let changed = switch::with_queue_of(task, |queue, cpu| {
        let now = uptime_nanos();
        // Under the queue's lock it stays what it is.
        let running = cpu.current().id == task.id;
        let mut entity = task.entity.lock();
        if running {
            let ran = entity.account(now);
            queue.run.charge(task.id, ran, now);
        }
        let result = queue.run.set_class(&mut entity, class, running, now);
        cpu.waiting.store(queue.run.len(), Ordering::Relaxed);
        // Its CPU picks anew.
        cpu.reschedule.store(true, Ordering::Relaxed);
        (result, cpu.apic_id)
    });
    let Some((result, apic_id)) = changed else { return Err(RegisterError::NoMemory { task: task.id }) };
    apic::send_interrupt(apic_id, crate::arch::traps::RESCHEDULE);
    result
}
