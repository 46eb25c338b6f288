//! The two serial ports: COM1 is the console, COM2 the control plane (16550A).
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

const DATA: u16 = 0;
const INTERRUPT_ENABLE: u16 = 1;
const FIFO_CONTROL: u16 = 2;
const LINE_CONTROL: u16 = 3;
const MODEM_CONTROL: u16 = 4;
const LINE_STATUS: u16 = 5;
const SCRATCH: u16 = 7;

const DATA_READY: u8 = 1;
const OVERRUN: u8 = 2;
const TRANSMIT_EMPTY: u8 = 0x20;
/// What a port without a UART reads as.
const NOTHING: u8 = 0xff;

/// The console.
pub static COM1: Uart = Uart::new(0x3f8);
/// The control plane.
pub static COM2: Uart = Uart::new(0x2f8);

/// One serial port.
pub struct Uart {
    base: u16,
    received: IrqMutex<Received>,
    readers: WaitQueue,
    present: AtomicBool,
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
            present: AtomicBool::new(false),
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

    /// Whether there is a UART.
    pub fn is_present(&self) -> bool {
        self.present.load(Ordering::Relaxed)
    }

    /// Bytes lost: in the UART before they were read.
    pub fn overruns(&self) -> u64 {
        self.overruns.load(Ordering::Relaxed)
    }

    fn probe(&self) -> bool {
        self.set(SCRATCH, 0x5a);
        let present = self.get(SCRATCH) == 0x5a && self.get(LINE_STATUS) != NOTHING;
        self.present.store(present, Ordering::Relaxed);
        present
    }

    /// 115200 baud, 8 bits, no parity, FIFO on, interrupts off.
    fn configure(&self) {
        self.set(INTERRUPT_ENABLE, 0);
        self.set(LINE_CONTROL, 0x80);
        self.set(DATA, 1);
        self.set(INTERRUPT_ENABLE, 0);
        self.set(LINE_CONTROL, 0x03);
        self.set(FIFO_CONTROL, 0x01);
        self.set(MODEM_CONTROL, 0x0b);
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

    /// Sends bytes, waiting for the UART. Not for COM1, which shares its output with the log.
    pub fn write(&self, bytes: &[u8]) {
        for &byte in bytes {
            // A UART that never gets ready must not hang the caller.
            let ready = (0..100_000).any(|_| self.get(LINE_STATUS) & TRANSMIT_EMPTY != 0);
            if !ready {
                return;
            }
            self.set(DATA, byte);
        }
    }
}

/// Starts reception on both ports, where they exist. Needs ACPI and the I/O APICs; called once.
/// A port whose interrupt cannot be had is left alone, which is logged.
pub fn init(platform: &Platform) {
    // COM1 was configured by the log, which keeps the bytes typed before.
    if COM1.probe() {
        for byte in crate::log::early_input() {
            COM1.received.lock().ring.push(byte);
        }
        start(&COM1, platform, 4, || COM1.receive());
    }
    if COM2.probe() {
        COM2.configure();
        start(&COM2, platform, 3, || COM2.receive());
    }
}

fn start(uart: &Uart, platform: &Platform, line: u8, handler: fn()) {
    let Some(vector) = irq::register(handler) else {
        log::error!("serial: no interrupt vector is left for port {:#x}; it cannot receive", uart.base);
        return;
    };
    if let Err(error) = ioapic::route_isa(platform, line, vector, apic::id()) {
        log::error!("serial: port {:#x} cannot receive: {error}", uart.base);
        return;
    }
    // If bytes wait already, this raises the interrupt.
    uart.set(INTERRUPT_ENABLE, 1);
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
