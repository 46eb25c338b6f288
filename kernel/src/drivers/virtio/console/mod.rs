//! Consoles with several ports (virtio 1.2, 5.3): streams of bytes to programs on the host.
//!
//! The interrupt only wakes the one thread that serves the ports; [`wait`] then looks at the queues. Nothing here blocks but `wait`.
//! Memory is 32 KiB for each port that exists, and 16 KiB for the rings of each that the device could have.
//!
//! # One connection's bytes and the next one's
//!
//! The device tells on the control queue, in order, that a client has come or gone, and puts bytes into another queue; nothing says
//! how the two interleave. What is known: an entry is in its queue before a later one is in another. So [`Console::look`] collects bytes
//! first and reads messages then. Bytes that were collected before the control queue was seen empty came before any opening that it
//! did not show, and are discarded when that comes. After a closing, everything that has arrived is collected and discarded as soon as
//! the control queue is seen empty after it. So no byte of a connection reaches the next one if there was a look between the
//! two. If a client goes and another comes between two looks, the bytes that arrived between these two looks cannot be told apart and
//! are all given to the new connection: better a damaged frame, which the frame's checksum finds, than a lost one. In the other direction the
//! device drops what waits when a client goes; what is written before the next look may reach the new client.

mod control;
mod port;

pub use port::Port;

use super::transport::{PciTransport, VirtioError};
use crate::arch::{apic, irq};
use crate::drivers::pci::Function;
use crate::sync::IrqMutex;
use crate::tasks::WaitQueue;
use alloc::boxed::Box;
use alloc::vec::Vec;
use conquer_once::spin::OnceCell;
use control::{Control, Message};
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use virtio_drivers::transport::{DeviceStatus, DeviceType, Transport};

/// The feature bit of devices with several ports.
const MULTIPORT: u64 = 1 << 1;
/// Where the configuration says how many they may be.
const MAX_PORTS: usize = 4;
/// More are not used: the standard's own limit of a queue's number is far off, the memory for rings is not.
const MOST_PORTS: u32 = 32;
/// Consoles that are used.
const MOST_CONSOLES: usize = 4;
/// Ports whose names begin so are served.
const PREFIX: &str = "auton.";
/// Lines about nonsense from one device; then it is ignored in silence.
const MOST_COMPLAINTS: u32 = 8;

static CONSOLES: IrqMutex<heapless::Vec<&'static Console, MOST_CONSOLES>> =
    IrqMutex::new(heapless::Vec::new());
static VECTOR: OnceCell<Option<u8>> = OnceCell::uninit();
/// An interrupt came after the last look.
static NEWS: AtomicBool = AtomicBool::new(false);
static WAITERS: WaitQueue = WaitQueue::new();

/// A device.
struct Console {
    ports: Vec<Port>,
    control: IrqMutex<Control>,
    complaints: AtomicU32,
}

/// Starts a console. Its ports turn up later, when the device tells of them.
pub(super) fn start(function: &Function) -> Result<(), VirtioError> {
    let vector = (*VECTOR.get_or_init(|| irq::register(on_interrupt))).ok_or(VirtioError::NoVector)?;
    let mut transport =
        PciTransport::new(function, DeviceType::Console, "virtio-console", vector, apic::id())?;
    transport.negotiate(MULTIPORT, "several ports (VIRTIO_CONSOLE_F_MULTIPORT)", 0)?;
    let count = transport.config(MAX_PORTS).min(MOST_PORTS) as u16;
    let ports: Result<Vec<Port>, _> = (0..count).map(|number| Port::new(&mut transport, number)).collect();
    let control = IrqMutex::new(Control::new(&mut transport)?);
    // Until the device is told to go on, it touches no memory of ours; from here on nothing fails, and the queues stand for ever.
    let console: &'static Console =
        Box::leak(Box::new(Console { ports: ports?, control, complaints: AtomicU32::new(0) }));
    if CONSOLES.lock().push(console).is_err() {
        return Err(VirtioError::TooMany(MOST_CONSOLES));
    }
    transport.set_status(transport.get_status() | DeviceStatus::DRIVER_OK);
    console.control.lock().start();
    log::info!("virtio: console with up to {count} ports (MSI-X)");
    Ok(())
}

/// In the interrupt, which all queues of all consoles share.
fn on_interrupt() {
    NEWS.store(true, Ordering::Release);
    WAITERS.wake_all();
}

/// Whether there is a console, so that there may be ports.
pub fn is_present() -> bool {
    !CONSOLES.lock().is_empty()
}

/// The ports that are there now and whose names begin with `auton.`. A port that the host adds later is among them from then on.
pub fn ports() -> impl Iterator<Item = &'static Port> {
    let consoles = CONSOLES.lock().clone();
    let all = consoles.into_iter().flat_map(|console| console.ports.iter());
    all.filter(|port| port.is_present() && port.name().starts_with(PREFIX))
}

/// Blocks until a port has news (bytes, room, an opening, a closing, a new port), `more` holds, or it is `deadline`
/// (nanoseconds since reset). It may return without any of these. `more` runs with interrupts off. For one thread.
pub fn wait(deadline: Option<u64>, mut more: impl FnMut() -> bool) {
    let news = || NEWS.load(Ordering::Acquire) || more();
    match deadline {
        None => WAITERS.wait_until(news),
        Some(deadline) => {
            WAITERS.wait_until_deadline(deadline, news);
        }
    }
    if NEWS.swap(false, Ordering::AcqRel) {
        let consoles = CONSOLES.lock().clone();
        consoles.iter().for_each(|console| console.look());
    }
}

/// Has the waiter look at its `more` again, which must hold by now.
pub fn wake() {
    WAITERS.wake_all();
}

impl Console {
    /// Takes what the device has brought. See the head of this module for the order.
    fn look(&self) {
        self.ports.iter().for_each(Port::collect);
        let batch = self.control.lock().receive();
        if batch.garbage > 0 {
            self.complain(format_args!("sent {} messages that are too short", batch.garbage));
        }
        for message in batch.messages {
            self.obey(message);
        }
        if batch.overflow {
            self.complain(format_args!("had so much to tell of its ports that it is asked again"));
            self.ports.iter().filter(|port| port.is_present()).for_each(Port::ask_again);
        }
        self.ports.iter().filter(|port| !port.is_open()).for_each(Port::collect);
        if self.control.lock().has_news() {
            NEWS.store(true, Ordering::Release);
        } else {
            self.ports.iter().for_each(Port::settle);
        }
        self.tell();
        if self.control.lock().is_broken() || self.ports.iter().any(Port::is_broken) {
            self.complain(format_args!(
                "gave back a buffer that it did not have; that queue is not used any more"
            ));
        }
    }

    fn obey(&self, message: Message) {
        let Message { port: number, event, value, name } = message;
        let Some(port) = usize::try_from(number).ok().and_then(|number| self.ports.get(number)) else {
            return self.complain(format_args!("spoke of port {number}, and has {}", self.ports.len()));
        };
        match event {
            control::DEVICE_ADD => {
                if let Err(error) = port.add() {
                    self.complain(format_args!("added port {number}, which cannot be used: {error}"));
                }
            }
            control::DEVICE_REMOVE => port.remove(),
            control::PORT_OPEN => port.set_open(value != 0),
            control::PORT_NAME => match name {
                Some(name) => {
                    log::debug!("virtio: port {number} is {name}");
                    port.set_name(name);
                }
                None => self.complain(format_args!("gave port {number} a name that cannot be used")),
            },
            // We tell ports by their names, and use none as a terminal.
            control::CONSOLE_PORT | control::RESIZE => {}
            event => self.complain(format_args!("sent an event {event}, which there is not")),
        }
    }

    /// Tells the device what it is owed, as far as there is room; the rest follows when it has taken that.
    fn tell(&self) {
        let mut control = self.control.lock();
        for port in self.ports.iter().filter(|port| port.owed() != 0) {
            let messages = [
                (port::FAILED, control::PORT_READY, 0),
                (port::READY, control::PORT_READY, 1),
                (port::OPEN, control::PORT_OPEN, 1),
            ];
            for (what, event, value) in messages.into_iter().filter(|(what, ..)| port.owed() & what != 0) {
                if !control.send(port.number(), event, value) {
                    return;
                }
                port.told(what);
            }
        }
    }

    fn complain(&self, what: core::fmt::Arguments<'_>) {
        if self.complaints.fetch_add(1, Ordering::Relaxed) < MOST_COMPLAINTS {
            log::warn!("virtio: the console {what}");
        }
    }
}
