//! The kernel log: timestamped lines, kept in a ring for `dmesg` and written to the serial port.
//!
//! Output is polled and needs nothing but the port, so that it works from the first instruction to the last
//! panic. Before [`init`] there is no log. Lines longer than [`LINE`] bytes are cut.

mod ring;

pub use ring::{keep_spares, register as register_shrinker, usage};

use crate::sync::IrqMutex;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{self, Write};
use log::{Level, LevelFilter, Metadata, Record};
use x86_64::instructions::port::Port;

/// Longest line that the ring keeps.
const LINE: usize = 200;

/// COM1's registers.
const COM1: u16 = 0x3f8;

/// One writer at a time, so that lines do not mix.
static OUTPUT: IrqMutex<()> = IrqMutex::new(());

/// Bytes that had arrived before the UART was configured.
static EARLY: IrqMutex<heapless::Vec<u8, 64>> = IrqMutex::new(heapless::Vec::new());

/// Takes the bytes that were received before [`init`].
pub fn early_input() -> heapless::Vec<u8, 64> {
    core::mem::take(&mut *EARLY.lock())
}

/// A line of the log.
#[derive(Clone, Debug)]
pub struct Line {
    /// Nanoseconds since reset.
    pub nanos: u64,
    /// Severity.
    pub level: Level,
    /// Text without time and line end.
    pub text: String,
}

struct KernelLog;

/// Keeps a line for `dmesg` that is not written to the terminal.
pub fn note(arguments: fmt::Arguments<'_>) {
    let nanos = crate::arch::time::uptime_nanos();
    let mut text = Text::default();
    let _ = text.write_fmt(arguments);
    ring::push(nanos, Level::Info as u8, &text.0);
}

impl log::Log for KernelLog {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let nanos = crate::arch::time::uptime_nanos();
        let mut text = Text::default();
        let _ = write!(text, "{}", record.args());
        let _output = OUTPUT.lock();
        let (seconds, micros) = (nanos / 1_000_000_000, nanos / 1000 % 1_000_000);
        let _ = write!(Polled, "[{seconds:5}.{micros:06}] {}\r\n", whole_characters(&text.0));
        ring::push(nanos, record.level() as u8, &text.0);
    }

    fn flush(&self) {}
}

/// A line while it is written, without the heap.
#[derive(Default)]
struct Text(heapless::Vec<u8, LINE>);

impl Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let take = text.len().min(LINE - self.0.len());
        let _ = self.0.extend_from_slice(&text.as_bytes()[..take]);
        Ok(())
    }
}

/// The text without a character that was cut in two at the end of the line.
fn whole_characters(bytes: &[u8]) -> &str {
    match core::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => core::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or(""),
    }
}

/// Starts the log at level `info`.
pub fn init() {
    Polled::configure();
    if log::set_logger(&KernelLog).is_ok() {
        log::set_max_level(LevelFilter::Info);
    }
}

/// Sets the level from the command line (`log=debug`).
pub fn set_level(level: &str) {
    match level.parse() {
        Ok(level) => log::set_max_level(level),
        Err(_) => log::warn!("log={level}: not a level; use error, warn, info, debug or trace"),
    }
}

/// The lines that the ring still holds, oldest first; when memory is too short for all, the newest.
pub fn lines() -> Vec<Line> {
    // The ring's lock is taken per line: making a `String` allocates. So lines may come and go meanwhile.
    let mut place = ring::Place::default();
    let count = usage().0;
    let mut lines = Vec::new();
    let mut room = count;
    while lines.try_reserve_exact(room).is_err() && room > 0 {
        room /= 2;
    }
    for _ in 0..count - room {
        place = ring::next(place).map_or(place, |(_, after)| after);
    }
    while let Some((entry, after)) = ring::next(place)
        && lines.len() < room
    {
        place = after;
        let mut text = String::new();
        if text.try_reserve_exact(entry.text.len()).is_err() {
            break;
        }
        text.push_str(whole_characters(&entry.text));
        let level = Level::iter().nth(usize::from(entry.level).saturating_sub(1)).unwrap_or(Level::Error);
        lines.push(Line { nanos: entry.nanos, level, text });
    }
    lines
}

/// Writes console bytes, whole, never mixed with a log line.
pub fn write_console(bytes: &[u8]) {
    // In pieces, so that interrupts are not off for the length of a page of text.
    for piece in bytes.chunks(16) {
        let _output = OUTPUT.lock();
        piece.iter().for_each(|&byte| Polled::send(byte));
    }
}

/// Writes a fatal report: takes the output by force, for the holder will never run again.
pub fn emergency(arguments: fmt::Arguments<'_>) {
    // SAFETY: called only when every other CPU has been stopped or is itself lost.
    unsafe { OUTPUT.force_unlock() };
    let _ = Polled.write_fmt(arguments);
}

/// The polled UART.
struct Polled;

impl Polled {
    /// 115200 baud, 8n1, FIFO on. Turning the FIFO on clears what the UART holds, so that is kept first; in loopback
    /// mode QEMU does not refill the UART as soon as it is read.
    fn configure() {
        let set = |register: u16, value: u8| {
            // SAFETY: COM1's own registers; writing them has no effect on memory.
            unsafe { Port::new(COM1 + register).write(value) };
        };
        // SAFETY: as above.
        let get = |register: u16| -> u8 { unsafe { Port::new(COM1 + register).read() } };
        set(1, 0x00);
        set(3, 0x80);
        set(0, 0x01);
        set(1, 0x00);
        set(3, 0x03);
        set(4, 0x1b);
        let mut early = EARLY.lock();
        while !early.is_full() && get(5) & 1 != 0 {
            let _ = early.push(get(0));
        }
        set(2, 0x01);
        set(4, 0x0b);
    }

    fn send(byte: u8) {
        let mut status = Port::<u8>::new(COM1 + 5);
        // A missing UART must not hang the kernel: give up on a byte after a while.
        for _ in 0..100_000 {
            // SAFETY: reading the line status has no side effect on memory.
            if unsafe { status.read() } & 0x20 != 0 {
                break;
            }
            core::hint::spin_loop();
        }
        // SAFETY: the transmit register of COM1.
        unsafe { Port::new(COM1).write(byte) };
    }
}

impl Write for Polled {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.bytes().for_each(Self::send);
        Ok(())
    }
}
