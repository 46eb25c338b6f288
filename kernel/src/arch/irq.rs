//! Which function handles which interrupt vector.

use core::sync::atomic::{AtomicPtr, AtomicU8, AtomicU64, Ordering};

/// Vectors for devices: from here up to [`LAST`].
pub const FIRST: u8 = 0x30;
/// The last vector for devices.
pub const LAST: u8 = 0xdf;

static HANDLERS: [AtomicPtr<()>; 256] = [const { AtomicPtr::new(core::ptr::null_mut()) }; 256];
static NEXT: AtomicU8 = AtomicU8::new(FIRST);
static UNEXPECTED: AtomicU64 = AtomicU64::new(0);

/// Reserves a free vector for `handler`, which runs with interrupts off and must not sleep or allocate.
/// `None` when all are taken.
pub fn register(handler: fn()) -> Option<u8> {
    let vector =
        NEXT.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |v| (v < LAST).then_some(v + 1)).ok()?;
    HANDLERS[usize::from(vector)].store(handler as *mut (), Ordering::Release);
    Some(vector)
}

/// Runs the handler of `vector`.
pub(super) fn handle(vector: u8) {
    let handler = HANDLERS[usize::from(vector)].load(Ordering::Acquire);
    if handler.is_null() {
        UNEXPECTED.fetch_add(1, Ordering::Relaxed);
        return;
    }
    // SAFETY: only `register` stores here, and it stores a `fn()`.
    let handler = unsafe { core::mem::transmute::<*mut (), fn()>(handler) };
    handler();
}

/// Interrupts that no handler was registered for.
pub fn unexpected() -> u64 {
    UNEXPECTED.load(Ordering::Relaxed)
}
