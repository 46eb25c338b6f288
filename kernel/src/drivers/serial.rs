//! The serial port: COM1 is the console (16550A).
//!
//! Reception is by interrupt into a ring. When the ring is nearly full the receive interrupt is turned off and bytes
//! stay in the UART; a sender with flow control (QEMU's pipes are such) then waits, so nothing is lost however
//! long the paste. A real cable without flow control overruns the UART then, which is counted. Transmission is polled.

use super::acpi::Platform;
use super::ioapic;
use crate::arch::{apic, irq, time};
use crate::boot;
use crate::sync::IrqMutex;
use crate::tasks::WaitQueue;
use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use core::time::Duration;
use shell::TypeAhead;
use x86_64::instructions::port::Port;

/// Bytes that the ring holds.
const RING: usize = 16 * 1024;
/// At this fill the interrupt is turned off…
const HIGH: usize = RING - 64;
/// …and at this one on again.
const LOW: usize = RING / 2;

/// Its interrupt line.
const LINE: u8 = 4;

const DATA: u16 = 0;
const INTERRUPT_ENABLE: u16 = 1;
const LINE_STATUS: u16 = 5;
const SCRATCH: u16 = 7;

const DATA_READY: u8 = 1;
const OVERRUN: u8 = 2;
/// What a port without a UART reads as.
const NOTHING: u8 = 0xff;

/// The console.
pub static COM1: Uart = Uart::new(0x3f8);

/// One serial port.
pub struct Uart {
    base: u16,
    received: IrqMutex<Received>,
    readers: WaitQueue,
    overruns: AtomicU64,
}

struct Received {
    ring: TypeAhead<RING>,
    /// The ring was full and the interrupt is off.
    held: bool,
}

impl Uart {
    const fn new(base: u16) -> Self {
        Self {
            base,
            received: IrqMutex::new(Received { ring: TypeAhead::new(), held: false }),
            readers: WaitQueue::new(),
            overruns: AtomicU64::new(0),
        }
    }

    fn get(&self, register: u16) -> u8 {
        // SAFETY: one of this UART's eight registers; no effect on memory.
        unsafe { Port::new(self.base + register).read() }
    }

    fn set(&self, register: u16, value: u8) {
        // SAFETY: as in `get`.
        unsafe { Port::new(self.base + register).write(value) }
    }

    /// Bytes lost: in the UART before they were read.
    pub fn overruns(&self) -> u64 {
        self.overruns.load(Ordering::Relaxed)
    }

    fn probe(&self) -> bool {
        self.set(SCRATCH, 0x5a);
        self.get(SCRATCH) == 0x5a && self.get(LINE_STATUS) != NOTHING
    }

    /// Moves what the UART has into the ring. In the interrupt, and by readers.
    fn receive(&self) {
        let mut received = self.received.lock();
        while !received.held {
            let status = self.get(LINE_STATUS);
            if status == NOTHING || status & DATA_READY == 0 {
                break;
            }
            if status & OVERRUN != 0 {
                self.overruns.fetch_add(1, Ordering::Relaxed);
            }
            let byte = self.get(DATA);
            received.ring.push(byte);
            if received.ring.len() >= HIGH {
                received.held = true;
                self.set(INTERRUPT_ENABLE, 0);
            }
        }
        drop(received);
        self.readers.wake_all();
    }

    /// Lets the UART interrupt again once there is room.
    fn resume(&self, received: &mut Received) {
        if received.held && received.ring.len() <= LOW {
            received.held = false;
            self.set(INTERRUPT_ENABLE, 1);
        }
    }

    /// The oldest byte not read yet.
    pub fn pop(&self) -> Option<u8> {
        let mut received = self.received.lock();
        let byte = received.ring.pop();
        self.resume(&mut received);
        byte
    }

    /// The next byte, waiting for it for ever or until `deadline` (nanoseconds since reset).
    pub fn read(&self, deadline: Option<u64>) -> Option<u8> {
        let mut byte = self.pop();
        if byte.is_some() {
            return byte;
        }
        let mut arrived = || {
            byte = self.pop();
            byte.is_some()
        };
        match deadline {
            None => self.readers.wait_until(arrived),
            Some(deadline) if deadline <= time::uptime_nanos() => {
                arrived();
            }
            Some(deadline) => {
                self.readers.wait_until_deadline(deadline, arrived);
            }
        }
        byte
    }

    /// Whether an unread Ctrl-C waits.
    pub fn interrupted(&self) -> bool {
        self.received.lock().ring.interrupted()
    }

    /// Drops the unread Ctrl-C that came first, and those directly behind it.
    pub fn clear_interrupt(&self) {
        let mut received = self.received.lock();
        received.ring.clear_interrupt();
        self.resume(&mut received);
    }
}

/// Starts reception, where there is a UART. Needs ACPI and the I/O APICs; called once. If its interrupt cannot be had it is left
/// alone, which is logged.
pub fn init(platform: &Platform) {
    if !COM1.probe() {
        return;
    }
    // The log has configured it, and keeps the bytes typed before.
    for byte in crate::log::early_input() {
        COM1.received.lock().ring.push(byte);
    }
    let Some(vector) = irq::register(|| COM1.receive()) else {
        log::error!("serial: no interrupt vector is left; the console cannot receive");
        return;
    };
    if let Err(error) = ioapic::route_isa(platform, LINE, vector, apic::id()) {
        log::error!("serial: the console cannot receive: {error}");
        return;
    }
    // If bytes wait already, this raises the interrupt.
    COM1.set(INTERRUPT_ENABLE, 1);
}

/// The terminal on COM1.
pub struct Terminal;

impl fmt::Write for Terminal {
    /// Line ends are sent as carriage return and line feed.
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for line in text.split_inclusive('\n') {
            match line.strip_suffix('\n') {
                Some(line) => {
                    crate::log::write_console(line.as_bytes());
                    crate::log::write_console(b"\r\n");
                }
                None => crate::log::write_console(line.as_bytes()),
            }
        }
        Ok(())
    }
}

/// Leaves a line for `dmesg` the first time: the shell reads when its first prompt stands.
fn note_first_prompt() {
    static FIRST: AtomicBool = AtomicBool::new(true);
    if FIRST.swap(false, Ordering::Relaxed) {
        let micros = time::ticks_to_nanos(time::tsc() - boot::first_instruction_tsc()) / 1_000;
        let (millis, micros) = (micros / 1_000, micros % 1_000);
        crate::log::note(format_args!(
            "Boot: first prompt {millis}.{micros:03} ms after the first instruction"
        ));
    }
}

impl shell::Console for Terminal {
    fn read_byte(&mut self) -> u8 {
        note_first_prompt();
        loop {
            if let Some(byte) = COM1.read(None) {
                return byte;
            }
        }
    }

    fn read_byte_timeout(&mut self, timeout: Duration) -> Option<u8> {
        note_first_prompt();
        let nanos = u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX);
        COM1.read(Some(time::uptime_nanos().saturating_add(nanos)))
    }

    fn interrupted(&mut self) -> bool {
        COM1.interrupted()
    }

    fn clear_interrupt(&mut self) {
        COM1.clear_interrupt();
    }
}
