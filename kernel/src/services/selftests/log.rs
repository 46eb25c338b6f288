//! The log grows while memory is plentiful, gives way to reclaim, and keeps its newest lines.

use super::Outcome;
use crate::memory::{frames, shortage};
use crate::{log as ring, tasks};
use alloc::string::String;
use mm::FRAME_SIZE;

const LINES: usize = 12_000;
/// Lines that fit what is supplied at a time; then the test waits for more.
const AT_ONCE: usize = 600;
const SUPPLIED_NANOS: u64 = 120_000_000;
/// Frames that others may take meanwhile.
const SLACK: u64 = 64;
const MARK: &str = "log ring: line ";

/// Writes many lines, then has reclaim take them.
pub fn log() -> Outcome {
    for number in 0..LINES {
        ring::note(format_args!("{MARK}{number}"));
        if number % AT_ONCE == 0 {
            tasks::sleep_nanos(SUPPLIED_NANOS);
        }
    }
    let (lines, bytes) = ring::usage();
    let kept = newest()?;
    let held = held();
    let free = frames::stats().free_frames;
    let parts = shortage::reclaim(u64::MAX);
    let freed = parts.parts().find(|part| part.name == NAME).map_or(0, |part| part.freed);
    let (now_lines, now_bytes) = ring::usage();
    let (now_free, still) = (frames::stats().free_frames, newest()?);
    if held < 16 * FRAME_SIZE || freed < held - 16 * FRAME_SIZE {
        return Err(alloc::format!("{held} bytes could be freed, {freed} were"));
    }
    if now_free + SLACK < free + freed / FRAME_SIZE {
        return Err(alloc::format!("{free} frames were free, {freed} bytes were freed, {now_free} are free"));
    }
    Ok(alloc::format!(
        "{lines} lines in {} KiB, the test's newest {kept} in order; reclaim freed {} KiB: {now_lines} lines in {} KiB, \
         the newest {still} in order",
        bytes >> 10,
        freed >> 10,
        now_bytes >> 10
    ))
}

const NAME: &str = "log ring";

fn held() -> u64 {
    shortage::caches().iter().find(|(name, _)| *name == NAME).map_or(0, |(_, bytes)| *bytes)
}

/// How many of the test's lines are there, without a gap up to the last one.
fn newest() -> Result<usize, String> {
    let lines = ring::lines();
    let numbers = lines.iter().filter_map(|line| line.text.strip_prefix(MARK)?.parse::<usize>().ok());
    let mut wanted = LINES;
    for number in numbers.rev() {
        wanted = wanted.checked_sub(1).ok_or("more lines than were written")?;
        if number != wanted {
            return Err(alloc::format!("line {number} stands where {wanted} should"));
        }
    }
    match LINES - wanted {
        0 => Err(String::from("the newest lines are gone")),
        count => Ok(count),
    }
}
