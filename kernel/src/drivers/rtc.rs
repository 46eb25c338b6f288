//! The clock on the mainboard (Motorola MC146818 and its heirs): what day it is.
//!
//! It is read when a file is written; everything else is measured by the time-stamp counter.

use crate::sync::IrqMutex;
use x86_64::instructions::port::Port;

/// Reads of the clock until two are the same, with none of them during an update.
const TRIES: u32 = 100_000;
const SECONDS: u8 = 0;
const MINUTES: u8 = 2;
const HOURS: u8 = 4;
const DAY: u8 = 7;
const MONTH: u8 = 8;
const YEAR: u8 = 9;
const STATUS_A: u8 = 10;
const STATUS_B: u8 = 11;
const UPDATING: u8 = 1 << 7;
const TWENTY_FOUR_HOURS: u8 = 1 << 1;
const BINARY: u8 = 1 << 2;
const AFTERNOON: u8 = 1 << 7;

/// The address and data ports belong together.
static PORTS: IrqMutex<()> = IrqMutex::new(());

fn read(register: u8) -> u8 {
    let _pair = PORTS.lock();
    // SAFETY: the clock's own ports; reading its time has no side effects.
    unsafe {
        Port::new(0x70).write(register);
        Port::new(0x71).read()
    }
}

/// Seconds since 1970 by this clock, which is taken to run in UTC and in this century. `None` when it shows no time.
pub fn unix_seconds() -> Option<i64> {
    let sample = || {
        let running = read(STATUS_A) & UPDATING == 0;
        let now = [SECONDS, MINUTES, HOURS, DAY, MONTH, YEAR].map(read);
        running.then_some(now)
    };
    let [second, minute, hour, day, month, year] = (0..TRIES).find_map(|_| {
        let first = sample()?;
        (Some(first) == sample()).then_some(first)
    })?;
    let status = read(STATUS_B);
    let number =
        |value: u8| i64::from(if status & BINARY != 0 { value } else { (value >> 4) * 10 + (value & 0xf) });
    let hour = match status & TWENTY_FOUR_HOURS {
        0 => number(hour & !AFTERNOON) % 12 + if hour & AFTERNOON != 0 { 12 } else { 0 },
        _ => number(hour),
    };
    let days = days_since_1970(2000 + number(year), number(month), number(day))?;
    Some(((days * 24 + hour) * 60 + number(minute)) * 60 + number(second))
}

/// Days from 1970-01-01 to a day of the Gregorian calendar, counted in years that begin in March.
fn days_since_1970(year: i64, month: i64, day: i64) -> Option<i64> {
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year / 4 - year / 100 + year / 400;
    Some(year * 365 + leap_days + (153 * month + 2) / 5 + day - 1 - 719_468)
}
