//! All threads by id.

use super::task::Task;
use crate::sync::IrqMutex;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicPtr, Ordering};
use sched::TaskId;

/// Most threads at a time.
pub const MAX_THREADS: usize = 4096;

struct Table {
    tasks: BTreeMap<TaskId, Arc<Task>>,
    next: TaskId,
}

static TABLE: IrqMutex<Table> = IrqMutex::new(Table { tasks: BTreeMap::new(), next: 1 });

/// Threads by `id % MAX_THREADS`: what [`running`] reads without a lock.
static SLOTS: [AtomicPtr<Task>; MAX_THREADS] = [const { AtomicPtr::new(core::ptr::null_mut()) }; MAX_THREADS];

fn slot(id: TaskId) -> &'static AtomicPtr<Task> {
    &SLOTS[id as usize % MAX_THREADS]
}

/// An id that no thread has, with a free slot. `None` when there are too many threads.
pub fn new_id() -> Option<TaskId> {
    let mut table = TABLE.lock();
    for _ in 0..MAX_THREADS {
        let id = table.next;
        table.next = id.wrapping_add(1).max(1);
        // Reserved by a marker that is never dereferenced: `insert` or `release` follows.
        let marker = core::ptr::dangling_mut();
        if slot(id)
            .compare_exchange(core::ptr::null_mut(), marker, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
        {
            return Some(id);
        }
    }
    None
}

/// Gives back an id that no thread was made for.
pub fn release(id: TaskId) {
    slot(id).store(core::ptr::null_mut(), Ordering::Relaxed);
}

/// Enters a thread under its (new) id.
pub fn insert(task: Arc<Task>) {
    slot(task.id).store(Arc::as_ptr(&task).cast_mut(), Ordering::Release);
    TABLE.lock().tasks.insert(task.id, task);
}

/// Forgets a thread that has ended, or never began. Dropping it frees it, unless somebody still refers to it.
pub fn remove(id: TaskId) -> Option<Arc<Task>> {
    slot(id).store(core::ptr::null_mut(), Ordering::Release);
    TABLE.lock().tasks.remove(&id)
}

/// The thread of an id that is, or a moment ago was, in a run queue whose lock the caller holds: such a thread lives, for only a thread
/// that runs can end.
pub fn running(id: TaskId) -> Option<&'static Task> {
    let task = slot(id).load(Ordering::Acquire);
    // SAFETY: by the above it is neither null, nor a marker, nor freed.
    let task = unsafe { task.as_ref() }?;
    debug_assert_eq!(task.id, id);
    Some(task)
}

/// How many threads there are.
pub fn count() -> usize {
    TABLE.lock().tasks.len()
}

/// Runs `act` on all threads, while none comes or goes: it must be short and must not allocate.
pub fn with_all<R>(act: impl FnOnce(&BTreeMap<TaskId, Arc<Task>>) -> R) -> R {
    act(&TABLE.lock().tasks)
}

/// All threads, in order of id.
pub fn all() -> Vec<Arc<Task>> {
    // `count` lets the lock go before memory is asked for.
    let mut tasks = Vec::with_capacity(count() + 16);
    let table = TABLE.lock();
    // Never grows the vector under the lock; a thread made in between may be missing.
    tasks.extend(table.tasks.values().take(tasks.capacity()).cloned());
    tasks
}
