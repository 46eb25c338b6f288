//! The service's desk in this kernel: one [`Service`] behind a lock, and the two queues of those who wait for it.

use crate::arch::time;
use crate::drivers::virtio::console;
use crate::sync::IrqMutex;
use crate::tasks::WaitQueue;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};
use llm::service::{
    AuditEntry, ClientId, Fetched, Job, Limits, RequestId, Service, SubmitError, UnknownRequest,
};

static DESK: IrqMutex<Option<Box<Service>>> = IrqMutex::new(None);
/// The model's thread waits here.
static WORK: WaitQueue = WaitQueue::new();
/// Clients wait here for chunks and ends.
static NEWS: WaitQueue = WaitQueue::new();
/// Times that clients were woken.
static TOLD: AtomicU64 = AtomicU64::new(0);

/// Makes the desk; before anything else here.
pub fn init() {
    match Service::new(Limits::default()) {
        Ok(mut service) => {
            // Until a model is loaded.
            service.set_open(false, 0);
            *DESK.lock() = Some(Box::new(service));
        }
        Err(error) => log::error!("SLM: no inference service: {error}"),
    }
}

/// Runs `act` on the desk, interrupts off: short, without waiting. `None` where there was no memory for a desk.
pub fn with<R>(act: impl FnOnce(&mut Service) -> R) -> Option<R> {
    DESK.lock().as_deref_mut().map(act)
}

/// See [`Service::set_open`].
#[cfg(feature = "llm")]
pub fn set_open(open: bool) {
    with(|desk| desk.set_open(open, time::uptime_nanos()));
    tell_clients();
}

/// Takes a request for the model.
pub fn submit(job: Job) -> Result<RequestId, SubmitError> {
    let result = with(|desk| desk.submit(job, time::uptime_nanos()));
    WORK.wake_all();
    result.unwrap_or(Err(SubmitError::NoModel))
}

/// Fetches what is there of an answer, or waits for it until `deadline`.
pub fn fetch(
    id: RequestId,
    client: ClientId,
    deadline: u64,
    out: &mut Vec<u8>,
) -> Result<Fetched, UnknownRequest> {
    let mut fetched = try_fetch(id, client, out);
    if matches!(fetched, Ok(Fetched::Nothing(_))) {
        NEWS.wait_until_deadline(deadline, || {
            fetched = with(|desk| desk.fetch(id, client, out)).unwrap_or(Err(UnknownRequest(id)));
            !matches!(fetched, Ok(Fetched::Nothing(_)))
        });
        WORK.wake_all();
    }
    fetched
}

/// Fetches what is there.
pub fn try_fetch(id: RequestId, client: ClientId, out: &mut Vec<u8>) -> Result<Fetched, UnknownRequest> {
    let fetched = with(|desk| desk.fetch(id, client, out)).unwrap_or(Err(UnknownRequest(id)));
    // A request that paused may go on.
    WORK.wake_all();
    fetched
}

/// See [`Service::cancel`].
pub fn cancel(id: RequestId, by: ClientId, any: bool) -> Result<(), UnknownRequest> {
    let result = with(|desk| desk.cancel(id, by, any, time::uptime_nanos()));
    WORK.wake_all();
    tell_clients();
    result.unwrap_or(Err(UnknownRequest(id)))
}

/// See [`Service::leave`].
pub fn leave(client: ClientId) {
    with(|desk| desk.leave(client, time::uptime_nanos()));
    WORK.wake_all();
}

/// Audits an operation.
pub fn record(entry: AuditEntry) {
    with(|desk| desk.record(entry, time::uptime_nanos()));
}

/// Wakes clients: an answer grew, or ended.
pub fn tell_clients() {
    TOLD.fetch_add(1, Ordering::Release);
    NEWS.wake_all();
    console::wake();
}

/// A number that changes with whatever clients were told.
pub fn news() -> u64 {
    TOLD.load(Ordering::Acquire)
}

/// Wakes the model's thread.
pub fn call_model() {
    WORK.wake_all();
}

/// Blocks the model's thread until the desk changed since it had number `seen`, `more` holds, or something is due.
#[cfg(feature = "llm")]
pub fn wait_for_work(seen: u64, mut more: impl FnMut() -> bool) {
    let due = with(|desk| desk.next_event()).flatten();
    let changed = || with(|desk| desk.changes() != seen).unwrap_or(false);
    match due {
        Some(due) => drop(WORK.wait_until_deadline(due, || more() || changed())),
        None => WORK.wait_until(|| more() || changed()),
    }
}
