//! A spin lock that keeps interrupts off while it is held.
//!
//! Everything shared with interrupt handlers is behind one of these. Lock order, outermost first:
//! task table → run queue → timers → queues of devices (a console's control queue, then a port's) → page tables, address
//! ranges, spare stacks → heap → a CPU's frame cache → zones → console output. The holder never sleeps.

use core::ops::{Deref, DerefMut};
use x86_64::instructions::interrupts;

/// Data behind a spin lock with interrupts off.
pub struct IrqMutex<T: ?Sized> {
    inner: spin::Mutex<T>,
}

/// Access to the data; unlocks, then restores the interrupt flag, when dropped.
pub struct IrqGuard<'a, T: ?Sized> {
    guard: core::mem::ManuallyDrop<spin::MutexGuard<'a, T>>,
    interrupts_were_on: bool,
}

impl<T> IrqMutex<T> {
    /// A lock around `value`.
    pub const fn new(value: T) -> Self {
        Self { inner: spin::Mutex::new(value) }
    }
}

impl<T: ?Sized> IrqMutex<T> {
    /// Takes the lock. Interrupts stay as they are while waiting for it.
    pub fn lock(&self) -> IrqGuard<'_, T> {
        loop {
            if let Some(guard) = self.try_lock() {
                return guard;
            }
            core::hint::spin_loop();
        }
    }

    /// Takes the lock if it is free.
    pub fn try_lock(&self) -> Option<IrqGuard<'_, T>> {
        let interrupts_were_on = interrupts::are_enabled();
        interrupts::disable();
        match self.inner.try_lock() {
            Some(guard) => Some(IrqGuard { guard: core::mem::ManuallyDrop::new(guard), interrupts_were_on }),
            None => {
                if interrupts_were_on {
                    interrupts::enable();
                }
                None
            }
        }
    }

    /// Whether somebody has it at this moment.
    pub fn is_locked(&self) -> bool {
        self.inner.is_locked()
    }

    /// Opens the lock by force.
    ///
    /// # Safety
    /// Only while reporting a fatal error, when the holder will never run again.
    pub unsafe fn force_unlock(&self) {
        // SAFETY: by the caller.
        unsafe { self.inner.force_unlock() }
    }
}

impl<T: ?Sized> Deref for IrqGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.guard
    }
}

impl<T: ?Sized> DerefMut for IrqGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.guard
    }
}

impl<T: ?Sized> Drop for IrqGuard<'_, T> {
    fn drop(&mut self) {
        // SAFETY: dropped once, here; unlocking comes before interrupts are let in again.
        unsafe { core::mem::ManuallyDrop::drop(&mut self.guard) };
        if self.interrupts_were_on {
            interrupts::enable();
        }
    }
}
