//! Growth is held back, and only growth.

use super::Outcome;
use crate::arch::time::uptime_nanos;
use crate::memory::{frames, hold_back, shortage};
use crate::sync::IrqMutex;
use crate::tasks::{self, Options, Task};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;
use mm::{Block, MigrateType};

/// Long enough for the whole test on a slow machine.
const LONG: Duration = Duration::from_secs(60);
const PACED_NANOS: u64 = 1_500_000_000;

/// Frames that go back when dropped.
#[derive(Default)]
struct Taken(Vec<Block>);

impl Taken {
    fn one_more(&mut self) -> bool {
        let block = shortage::alloc(0, MigrateType::Movable);
        self.0.extend(block.ok());
        block.is_ok()
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.0.drain(..).for_each(|block| frames::free_frame(block.pfn, MigrateType::Movable));
    }
}

fn available() -> u64 {
    frames::stats().free_frames + shortage::reclaimable() / mm::FRAME_SIZE
}

pub fn hold_back() -> Outcome {
    if hold_back::state().in_force {
        return Err(String::from("a hold is in force already; try again later"));
    }
    let result = unkillable().and_then(|()| paced()).and_then(|taken| {
        killed()?;
        recovered()?;
        Ok(taken)
    });
    hold_back::release();
    let taken = result?;
    Ok(format!(
        "{taken} pages in {} ms at most; the kernel's own, kills and frees went on",
        PACED_NANOS / 1_000_000
    ))
}

/// A thread that did not agree to be ended is not held back.
fn unkillable() -> Result<(), String> {
    let before = hold_back::state().time;
    hold_back::hold(LONG);
    let mut taken = Taken::default();
    let all = (0..available() / 20).all(|_| taken.one_more());
    match (all, hold_back::state().time == before) {
        (true, true) => Ok(()),
        (false, _) => Err(String::from("a twentieth of the memory was not to be had")),
        (true, false) => Err(String::from("a thread of the kernel waited")),
    }
}

/// One that did agree gets no more than its share.
fn paced() -> Result<u64, String> {
    hold_back::release();
    let most_a_second = available() / 60 + 1;
    hold_back::hold(LONG);
    let (taken, nanos) = run(|| {
        let start = uptime_nanos();
        let mut taken = Taken::default();
        while uptime_nanos() - start < PACED_NANOS && taken.one_more() {}
        (taken.0.len() as u64, uptime_nanos() - start)
    })?;
    // A quarter of a second's worth may have been saved up, and the last request may be ahead of its time.
    let most = most_a_second * nanos / 1_000_000_000 + most_a_second / 4 + 2;
    match taken {
        0 => Err(String::from("nothing was to be had at all")),
        taken if taken > most => Err(format!("{taken} pages in {nanos} ns; the pace allows {most}")),
        taken => Ok(taken),
    }
}

/// One that waits ends when it is asked to.
fn killed() -> Result<(), String> {
    static WAITER: IrqMutex<Option<Arc<Task>>> = IrqMutex::new(None);
    let options = Options { killable: true, ..Options::default() };
    let waiter = tasks::spawn("held", options, || {
        *WAITER.lock() = Some(tasks::current());
        let mut taken = Taken::default();
        // Without the kill this would go on as long as the hold.
        while taken.one_more() {}
        tasks::current().is_killed()
    });
    let waiter = waiter.map_err(|error| error.to_string())?;
    while hold_back::state().waiting == 0 {
        tasks::sleep_nanos(1_000_000);
    }
    if let Some(task) = WAITER.lock().take() {
        task.kill();
    }
    if waiter.join() { Ok(()) } else { Err(String::from("it ended by itself")) }
}

/// The hold ends when memory is back.
fn recovered() -> Result<(), String> {
    hold_back::release();
    let mut taken = Taken::default();
    while (taken.0.len() as u64) < frames::stats().total_frames / 25 && taken.one_more() {}
    hold_back::hold(LONG);
    drop(taken);
    run(|| Taken::default().one_more())?;
    match hold_back::state().in_force {
        false => Ok(()),
        true => Err(String::from("memory is back, and the hold goes on")),
    }
}

/// Runs it in a thread that agreed to be ended.
fn run<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> Result<T, String> {
    let options = Options { killable: true, ..Options::default() };
    Ok(tasks::spawn("held", options, body).map_err(|error| error.to_string())?.join())
}
