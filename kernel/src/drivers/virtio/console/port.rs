//! One port: a stream of bytes to a program on the host, which comes and goes.
//!
//! Bytes that arrived lie in the buffers that the device filled, until they are read; so they are bounded by these.
//! [`collect`](Port::collect) and the messages on the control queue are the business of [`look`](super::Console::look), which says
//! what happens to the bytes of a connection that has ended.

use super::super::queue::{Queue, Writer};
use super::super::transport::{PciTransport, VirtioError};
use crate::sync::IrqMutex;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use heapless::Deque;

/// Longest name of a port.
pub const NAME: usize = 32;
/// Buffers in each direction, and bytes in each.
const BUFFERS: usize = 16;
const BUFFER: usize = 1024;

/// What the device is still to be told: that we use the port, that we cannot, that our end is open.
pub const READY: u8 = 1;
pub const FAILED: u8 = 2;
pub const OPEN: u8 = 4;

/// A port. It stands for ever; the device may take it away and add it again.
pub struct Port {
    number: u32,
    present: AtomicBool,
    open: AtomicBool,
    connections: AtomicU64,
    owed: AtomicU8,
    streams: IrqMutex<Streams>,
}

/// Bytes in a buffer that the device filled.
struct Piece {
    buffer: usize,
    from: usize,
    to: usize,
}

struct Streams {
    name: heapless::String<NAME>,
    incoming: Queue<BUFFERS>,
    received: Deque<Piece, BUFFERS>,
    /// So many pieces, the first ones, came before anything that the control queue has not told yet.
    settled: usize,
    /// Messages were lost: which connection bytes belong to is not known before the next opening.
    unsure: bool,
    outgoing: Queue<BUFFERS>,
    /// Buffers to write into.
    free: heapless::Vec<usize, BUFFERS>,
}

impl Port {
    /// Sets the queues of port `number` up, as the device demands for all it could have; there are no buffers yet.
    pub(super) fn new(transport: &mut PciTransport, number: u16) -> Result<Self, VirtioError> {
        // Queues 2 and 3 are the control queues (5.3.2).
        let first = if number == 0 { 0 } else { 2 * number + 2 };
        let incoming = Queue::new(transport, first, Writer::Device)?;
        let mut outgoing = Queue::new(transport, first + 1, Writer::Driver)?;
        outgoing.set_interrupts(false);
        Ok(Self {
            number: number.into(),
            present: AtomicBool::new(false),
            open: AtomicBool::new(false),
            connections: AtomicU64::new(0),
            owed: AtomicU8::new(0),
            streams: IrqMutex::new(Streams {
                name: heapless::String::new(),
                incoming,
                received: Deque::new(),
                settled: 0,
                unsure: false,
                outgoing,
                free: (0..BUFFERS).collect(),
            }),
        })
    }

    /// Its name, which the host gave it.
    pub fn name(&self) -> heapless::String<NAME> {
        self.streams.lock().name.clone()
    }

    /// Its number in its device.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// How often the host has opened it so far: a change means another client, and what was begun with the last one is void.
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Whether the host's end is open.
    pub fn is_open(&self) -> bool {
        self.open.load(Ordering::Relaxed)
    }

    /// Whether the device has it now.
    pub(super) fn is_present(&self) -> bool {
        self.present.load(Ordering::Relaxed)
    }

    /// Reads what the last [`wait`](super::wait) found, as much as `out` holds; 0 when there is nothing, or the host's end is closed.
    pub fn read(&self, out: &mut [u8]) -> usize {
        if !self.is_open() {
            return 0;
        }
        let mut streams = self.streams.lock();
        let streams = &mut *streams;
        let (mut done, mut emptied) = (0, false);
        while let (Some(rest @ [_, ..]), Some(piece)) = (out.get_mut(done..), streams.received.front_mut()) {
            let bytes = streams.incoming.bytes(piece.buffer).get(piece.from..piece.to).unwrap_or_default();
            let count = bytes.len().min(rest.len());
            rest.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
            done += count;
            piece.from += count;
            if piece.from >= piece.to || count == 0 {
                streams.drop_piece();
                emptied = true;
            }
        }
        if emptied {
            streams.incoming.notify();
        }
        done
    }

    /// Writes as much as there is room for, and says how much; 0 while the host does not read, or its end is closed. When there
    /// is room again, [`wait`](super::wait) returns.
    pub fn write(&self, bytes: &[u8]) -> usize {
        if !self.is_open() {
            return 0;
        }
        let mut streams = self.streams.lock();
        let mut taken = streams.send(bytes);
        // Only who has more to say wants to know of room.
        streams.outgoing.set_interrupts(taken < bytes.len());
        if let Some(rest @ [_, ..]) = bytes.get(taken..) {
            taken += streams.send(rest);
        }
        taken
    }

    /// The device has the port: gets memory for its buffers.
    pub(super) fn add(&self) -> Result<(), VirtioError> {
        let mut streams = self.streams.lock();
        let allocated = streams.incoming.allocate(BUFFER).and_then(|()| streams.outgoing.allocate(BUFFER));
        self.owe(if allocated.is_ok() { READY | OPEN } else { FAILED });
        allocated?;
        streams.incoming.notify();
        self.present.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// The device has it no more. The buffers stay for the next time.
    pub(super) fn remove(&self) {
        self.present.store(false, Ordering::Relaxed);
        self.open.store(false, Ordering::Relaxed);
        let mut streams = self.streams.lock();
        streams.name.clear();
        streams.discard(BUFFERS);
    }

    pub(super) fn set_name(&self, name: heapless::String<NAME>) {
        self.streams.lock().name = name;
    }

    /// The host's end was opened, or closed.
    pub(super) fn set_open(&self, open: bool) {
        if open {
            let mut streams = self.streams.lock();
            let settled = core::mem::take(&mut streams.settled);
            streams.discard(settled);
            streams.unsure = false;
            self.connections.fetch_add(1, Ordering::Relaxed);
        }
        self.open.store(open, Ordering::Relaxed);
    }

    /// Messages about the port were lost: it counts as closed until the device, asked again, says otherwise.
    pub(super) fn ask_again(&self) {
        self.open.store(false, Ordering::Relaxed);
        let mut streams = self.streams.lock();
        streams.unsure = true;
        streams.settled = 0;
        self.owe(READY);
    }

    /// Takes from the device what it has filled.
    pub(super) fn collect(&self) {
        self.streams.lock().collect();
    }

    /// The control queue was empty after the last [`collect`](Self::collect): whatever was collected belongs to the connection
    /// that is known, or to none.
    pub(super) fn settle(&self) {
        let mut streams = self.streams.lock();
        if self.is_open() {
            streams.settled = streams.received.len();
        } else if !streams.unsure {
            streams.discard(BUFFERS);
        }
    }

    fn owe(&self, what: u8) {
        self.owed.fetch_or(what, Ordering::Relaxed);
    }

    /// What the device is to be told.
    pub(super) fn owed(&self) -> u8 {
        self.owed.load(Ordering::Relaxed)
    }

    /// It was told.
    pub(super) fn told(&self, what: u8) {
        self.owed.fetch_and(!what, Ordering::Relaxed);
    }

    /// Whether the device gave back what it did not have.
    pub(super) fn is_broken(&self) -> bool {
        let streams = self.streams.lock();
        streams.incoming.is_broken() || streams.outgoing.is_broken()
    }
}

impl Streams {
    fn collect(&mut self) {
        while let (false, Some((buffer, to))) = (self.received.is_full(), self.incoming.take()) {
            // There is a place for each buffer.
            let _ = self.received.push_back(Piece { buffer, from: 0, to });
        }
    }

    /// Gives the buffer of the first piece back to the device.
    fn drop_piece(&mut self) {
        if let Some(piece) = self.received.pop_front() {
            self.incoming.give(piece.buffer, BUFFER);
            self.settled = self.settled.saturating_sub(1);
        }
    }

    /// Drops the first `count` pieces, or all if there are fewer.
    fn discard(&mut self, count: usize) {
        let count = count.min(self.received.len());
        (0..count).for_each(|_| self.drop_piece());
        if count > 0 {
            self.incoming.notify();
        }
    }

    /// Fills free buffers with `bytes` and hands them to the device; how many bytes found room.
    fn send(&mut self, bytes: &[u8]) -> usize {
        while let Some((buffer, _)) = self.outgoing.take() {
            let _ = self.free.push(buffer);
        }
        let mut taken = 0;
        for part in bytes.chunks(BUFFER) {
            let Some(buffer) = self.free.pop() else { break };
            self.outgoing.bytes(buffer).iter_mut().zip(part).for_each(|(to, from)| *to = *from);
            self.outgoing.give(buffer, part.len());
            taken += part.len();
        }
        if taken > 0 {
            self.outgoing.notify();
        }
        taken
    }
}
