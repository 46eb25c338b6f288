//! The crash predictor's loop: a sample every 100 ms, whatever the machine does; and the thread that acts when the guard
//! says so. Samples can be recorded, for the evaluation on the host.

use crate::arch::time::uptime_nanos;
use crate::memory::{compaction, frames, hold_back, shortage};
use crate::sync::IrqMutex;
use crate::tasks::{self, SpawnError, WaitQueue};
use ai_insights::crash_predictor::{
    Action, Decision, Done, Guard, HOLD_NS, Mode, Predictor, Sample, ThresholdError,
};
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;
use mm::compact::Goal;
use mm::{FRAME_SIZE, MAX_ORDER, PAGEBLOCK_ORDER, fragmentation};
use shell::{CrashRecording, CrashState, HeldBack};

const PERIOD_NANOS: u64 = 100_000_000;
/// An assessment that takes longer is not used.
const BUDGET_NANOS: u64 = 1_000_000;
/// The order that fragmentation is judged by: 64 KiB, a stack.
const JUDGED_ORDER: usize = 4;
/// Counters that were read within this time belong together.
const MOMENT_NANOS: u64 = 2_000_000;
/// How often they are read for that.
const TRIES: u32 = 4;
/// Samples that a recording holds: three minutes.
const RECORDED: usize = 1800;
/// OOMs that it holds.
const RECORDED_OOMS: usize = 16;
/// Update times are counted by whole microseconds up to this many.
const COUNTED_MICROS: usize = 256;

struct State {
    predictor: Predictor,
    guard: Guard,
    /// Times that memory had run out at the last sample.
    ooms: u64,
    slowest: u64,
    spent: u64,
    /// Updates that took so many microseconds, the last one all longer ones.
    micros: [u32; COUNTED_MICROS],
    action: Option<Action>,
    recording: Recording,
}

/// Filled without an allocation.
struct Recording {
    on: bool,
    samples: Vec<Sample>,
    ooms: heapless::Vec<u64, RECORDED_OOMS>,
    missed: u64,
}

impl Recording {
    const NONE: Self = Self { on: false, samples: Vec::new(), ooms: heapless::Vec::new(), missed: 0 };

    fn add(&mut self, sample: &Sample) {
        if self.on && self.samples.len() < self.samples.capacity() {
            self.samples.push(*sample);
        } else {
            self.missed += u64::from(self.on);
        }
    }
}

static STATE: IrqMutex<State> = IrqMutex::new(State {
    predictor: Predictor::new(),
    guard: Guard::new(BUDGET_NANOS),
    ooms: 0,
    slowest: 0,
    spent: 0,
    micros: [0; COUNTED_MICROS],
    action: None,
    recording: Recording::NONE,
});
static ACT: WaitQueue = WaitQueue::new();

/// Starts both threads; the guard is on.
pub fn start() -> Result<(), SpawnError> {
    STATE.lock().guard.set_mode(Mode::On);
    tasks::spawn("crash-guard", tasks::Options::default(), act)?;
    tasks::spawn("crash-sampler", options(), || {
        let mut next = uptime_nanos();
        loop {
            assess(&sample());
            next += PERIOD_NANOS;
            if next < uptime_nanos() {
                // Late: samples that follow one another at once say nothing.
                next = uptime_nanos() + PERIOD_NANOS;
            }
            tasks::sleep_nanos(next - uptime_nanos().min(next));
        }
    })?;
    Ok(())
}

/// A reservation keeps the samples coming at their times, however busy the machine is. A sample takes a fraction of a
/// millisecond; the rest is for a virtual CPU that is held up by its host while the thread runs, which counts as run time
/// and has to be repaid.
#[cfg(feature = "deterministic")]
fn options() -> tasks::Options {
    let class = sched::Class::Reserved(sched::Reservation { budget: 20_000_000, period: PERIOD_NANOS });
    tasks::Options { class, ..tasks::Options::default() }
}

#[cfg(not(feature = "deterministic"))]
fn options() -> tasks::Options {
    tasks::Options::default()
}

/// The counters at one moment: read again, a few times at most, when something came in between.
fn sample() -> Sample {
    let mut tries = 0;
    loop {
        let start = uptime_nanos();
        let sample = read();
        tries += 1;
        if tries == TRIES || uptime_nanos() - start < MOMENT_NANOS {
            return sample;
        }
    }
}

fn read() -> Sample {
    let (pages, reclaim, stall) = (frames::stats(), shortage::reclaim_stats(), shortage::stall_stats());
    Sample {
        t_ns: uptime_nanos(),
        total_pages: pages.total_frames,
        free_pages: pages.free_frames,
        largest_free_order: pages.largest_free_order.unwrap_or(0).min(MAX_ORDER) as u8,
        fragmentation: fragmentation::extfrag_index(&pages.free_blocks, JUDGED_ORDER) as i16,
        allocated_pages: pages.allocated_frames,
        freed_pages: pages.freed_frames,
        failures: pages.failures,
        reclaimed_pages: reclaim.freed / FRAME_SIZE,
        reclaim_attempts: reclaim.asked / FRAME_SIZE,
        reclaimable_pages: shortage::reclaimable() / FRAME_SIZE,
        stall_some_ns: stall.some.total_ns,
        stall_full_ns: stall.full.total_ns,
    }
}

fn assess(sample: &Sample) {
    let (ooms, _) = shortage::oom_counts();
    let mut state = STATE.lock();
    let state_ref = &mut *state;
    if ooms != state_ref.ooms {
        state_ref.ooms = ooms;
        let when = shortage::last_oom().min(sample.t_ns);
        state_ref.predictor.outcome_oom(when);
        if state_ref.recording.on {
            let _ = state_ref.recording.ooms.push(when);
        }
    }
    state_ref.recording.add(sample);
    let start = uptime_nanos();
    let assessment = state_ref.predictor.sample(*sample);
    let took = uptime_nanos().saturating_sub(start);
    state_ref.slowest = state_ref.slowest.max(took);
    state_ref.spent += took;
    let micros = usize::try_from(took / 1000).unwrap_or(usize::MAX).min(COUNTED_MICROS - 1);
    if let Some(count) = state_ref.micros.get_mut(micros) {
        *count += 1;
    }
    let threshold = state_ref.predictor.threshold();
    let mode = state_ref.guard.mode();
    let decision = state_ref.guard.decide(&assessment, sample, threshold, took);
    let lost = mode == Mode::On && state_ref.guard.mode() != Mode::On;
    if let Decision::Act(action) = decision {
        state_ref.predictor.acted();
        // A hold takes no time, and must not wait for a compaction that goes on.
        if action != Action::HoldBack {
            state_ref.action = Some(action);
        }
    }
    drop(state);
    if lost {
        // The watchdog took control away; growth is not held on its behalf any longer.
        hold_back::release();
    }
    match decision {
        Decision::Act(Action::HoldBack) => {
            hold_back::hold(Duration::from_nanos(HOLD_NS));
            // It may have been switched off since it was decided.
            if STATE.lock().guard.mode() != Mode::On {
                hold_back::release();
            }
        }
        Decision::Act(_) => {
            ACT.wake_one();
        }
        _ => {}
    }
}

/// Does what was decided, one thing after the other; holds are begun where they are decided.
fn act() {
    loop {
        let mut action = None;
        ACT.wait_until(|| {
            action = STATE.lock().action.take();
            action.is_some()
        });
        let pages = match action {
            Some(Action::Reclaim { pages }) => shortage::reclaim(pages * FRAME_SIZE).freed / FRAME_SIZE,
            Some(Action::Compact) => compaction::run(Goal::Order(PAGEBLOCK_ORDER)).moved,
            Some(Action::HoldBack) | None => 0,
        };
        STATE.lock().guard.done(Done { t_ns: uptime_nanos(), pages });
    }
}

/// Everything about it.
pub fn state() -> CrashState {
    let total_pages = frames::stats().total_frames;
    // Room first: nothing is allocated under the lock.
    let mut free_pages = Vec::with_capacity(ai_insights::crash_predictor::RING);
    let mut history = Vec::with_capacity(ai_insights::crash_predictor::RECORDS);
    let held = hold_back::state();
    let state = STATE.lock();
    free_pages.extend(state.predictor.free_series().take(free_pages.capacity()));
    history.extend(state.predictor.history().take(history.capacity()));
    let samples = state.predictor.samples();
    CrashState {
        assessment: state.predictor.last().copied(),
        factors: state.predictor.factors(),
        threshold: state.predictor.threshold(),
        mode: state.guard.mode(),
        total_pages,
        free_pages,
        score: state.predictor.score(),
        guard: state.guard.score(),
        history,
        samples,
        slowest: Duration::from_nanos(state.slowest),
        mean: Duration::from_nanos(state.spent.checked_div(samples).unwrap_or(0)),
        median: quantile(&state.micros, 1, 2, state.slowest),
        p99: quantile(&state.micros, 99, 100, state.slowest),
        held: HeldBack { in_force: held.in_force, waiting: held.waiting, holds: held.holds, time: held.time },
    }
}

/// The whole microseconds that `part` of `of` updates stay within; where those are more than were counted one by one, the slowest.
fn quantile(micros: &[u32], part: u64, of: u64, slowest: u64) -> Duration {
    let all: u64 = micros.iter().map(|&n| u64::from(n)).sum();
    let wanted = (all * part).div_ceil(of);
    let mut sum = 0;
    let within = micros.iter().position(|&n| {
        sum += u64::from(n);
        sum >= wanted
    });
    match within {
        _ if all == 0 => Duration::ZERO,
        Some(whole) if whole + 1 < micros.len() => Duration::from_micros(whole as u64 + 1),
        _ => Duration::from_nanos(slowest),
    }
}

/// Begins a recording, with a predictor that knows nothing yet and the threshold as it is; or ends it.
pub fn record(on: bool) -> Result<(), String> {
    if !on {
        STATE.lock().recording.on = false;
        return Ok(());
    }
    let mut samples = Vec::new();
    if samples.try_reserve_exact(RECORDED).is_err() {
        return Err(String::from("there is no memory for a recording; free some and try again"));
    }
    let recording = Recording { on: true, samples, ..Recording::NONE };
    let old = {
        let mut state = STATE.lock();
        let threshold = state.predictor.threshold();
        state.predictor = Predictor::new();
        // It was valid before.
        let _ = state.predictor.set_threshold(threshold);
        (state.slowest, state.spent, state.micros) = (0, 0, [0; COUNTED_MICROS]);
        core::mem::replace(&mut state.recording, recording)
    };
    // Freed without the lock.
    drop(old);
    Ok(())
}

/// What was recorded.
pub fn recording() -> CrashRecording {
    let (mut samples, mut ooms_ns) = (Vec::new(), Vec::with_capacity(RECORDED_OOMS));
    // Room first: nothing is allocated under the lock.
    let room = STATE.lock().recording.samples.capacity();
    let _ = samples.try_reserve_exact(room);
    let state = STATE.lock();
    let from = &state.recording;
    samples.extend(from.samples.iter().take(samples.capacity()));
    ooms_ns.extend(from.ooms.iter().take(ooms_ns.capacity()));
    CrashRecording { on: from.on, samples, ooms_ns, missed: from.missed }
}

/// Sets the threshold.
pub fn tune(threshold: f32) -> Result<(), ThresholdError> {
    STATE.lock().predictor.set_threshold(threshold)
}

/// Sets who acts. Where nobody does, nothing is held back either.
pub fn set_mode(mode: Mode) {
    STATE.lock().guard.set_mode(mode);
    if mode != Mode::On {
        hold_back::release();
    }
}
