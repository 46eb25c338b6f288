//! The two queues on which a console and its driver speak about ports (virtio 1.2, 5.3.6.2).

use super::super::queue::{Queue, Writer};
use super::super::transport::{PciTransport, VirtioError};
use super::port::NAME;

/// What the messages are about.
pub const DEVICE_READY: u16 = 0;
pub const DEVICE_ADD: u16 = 1;
pub const DEVICE_REMOVE: u16 = 2;
pub const PORT_READY: u16 = 3;
pub const CONSOLE_PORT: u16 = 4;
pub const RESIZE: u16 = 5;
pub const PORT_OPEN: u16 = 6;
pub const PORT_NAME: u16 = 7;

const RECEIVE_QUEUE: u16 = 2;
const TRANSMIT_QUEUE: u16 = 3;

/// Messages that may wait to be looked at: as many as QEMU's queue takes. QEMU drops what finds no room.
pub const RECEIVED: usize = 32;
/// Messages on the way to the device. Each of ours is answered by three at most, so the answers always find room.
const SENT: usize = 8;
/// Bytes of a message, and of one with a name behind it, which is cut.
const MESSAGE: usize = 8;
const LONGEST: usize = 128;

/// A message of the device.
pub struct Message {
    /// The port that it is about.
    pub port: u32,
    /// See the constants.
    pub event: u16,
    /// What that means depends on the event.
    pub value: u16,
    /// What follows, if it is the name of a port: `None` if that is no printable ASCII, or too long.
    pub name: Option<heapless::String<NAME>>,
}

impl Message {
    /// From its bytes, of which there may be too few.
    fn parse(bytes: &[u8]) -> Option<Self> {
        let (&[p0, p1, p2, p3, e0, e1, v0, v1], rest) = bytes.split_first_chunk::<MESSAGE>()?;
        let name = rest.split(|&byte| byte == 0).next().unwrap_or_default();
        let printable = name.iter().all(u8::is_ascii_graphic).then_some(name);
        Some(Self {
            port: u32::from_le_bytes([p0, p1, p2, p3]),
            event: u16::from_le_bytes([e0, e1]),
            value: u16::from_le_bytes([v0, v1]),
            name: printable.and_then(|name| core::str::from_utf8(name).ok()?.try_into().ok()),
        })
    }
}

/// The messages that were there at one look.
#[derive(Default)]
pub struct Batch {
    /// In the order in which the device sent them.
    pub messages: heapless::Vec<Message, RECEIVED>,
    /// How many were none.
    pub garbage: usize,
    /// There may have been more, which found no room.
    pub overflow: bool,
}

/// Both queues.
pub struct Control {
    incoming: Queue<RECEIVED>,
    outgoing: Queue<SENT>,
    free: heapless::Vec<usize, SENT>,
}

impl Control {
    /// Sets the queues up. [`Self::start`] follows when the device runs.
    pub fn new(transport: &mut PciTransport) -> Result<Self, VirtioError> {
        let mut incoming = Queue::new(transport, RECEIVE_QUEUE, Writer::Device)?;
        let mut outgoing = Queue::new(transport, TRANSMIT_QUEUE, Writer::Driver)?;
        incoming.allocate(LONGEST)?;
        outgoing.allocate(MESSAGE)?;
        Ok(Self { incoming, outgoing, free: (0..SENT).collect() })
    }

    /// Begins to receive, and asks for the ports.
    pub fn start(&mut self) {
        self.incoming.notify();
        self.send(0, DEVICE_READY, 1);
    }

    /// Takes all messages that are there.
    pub fn receive(&mut self) -> Batch {
        let mut batch = Batch::default();
        let mut buffers = heapless::Vec::<usize, RECEIVED>::new();
        // None is given back before all are taken: so it shows whether the device had found no room.
        while let (false, Some((buffer, len))) = (buffers.is_full(), self.incoming.take()) {
            let _ = buffers.push(buffer);
            match Message::parse(self.incoming.bytes(buffer).get(..len).unwrap_or_default()) {
                Some(message) => drop(batch.messages.push(message)),
                None => batch.garbage += 1,
            }
        }
        batch.overflow = buffers.is_full();
        if !buffers.is_empty() {
            buffers.iter().for_each(|&buffer| self.incoming.give(buffer, LONGEST));
            self.incoming.notify();
        }
        batch
    }

    /// Whether a message is there.
    pub fn has_news(&self) -> bool {
        self.incoming.has_news()
    }

    /// Sends a message, or says that there is no room before the device has taken others.
    pub fn send(&mut self, port: u32, event: u16, value: u16) -> bool {
        while let Some((buffer, _)) = self.outgoing.take() {
            let _ = self.free.push(buffer);
        }
        let Some(buffer) = self.free.pop() else { return false };
        let parts = port.to_le_bytes().into_iter().chain(event.to_le_bytes()).chain(value.to_le_bytes());
        self.outgoing.bytes(buffer).iter_mut().zip(parts).for_each(|(to, from)| *to = from);
        self.outgoing.give(buffer, MESSAGE);
        self.outgoing.notify();
        true
    }

    /// Whether the device gave back what it did not have.
    pub fn is_broken(&self) -> bool {
        self.incoming.is_broken() || self.outgoing.is_broken()
    }
}
