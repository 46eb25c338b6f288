//! Random numbers of the host's (virtio 1.2, 5.4): for machines whose CPU has no generator.
//!
//! The device fills the buffers that it has at its own pace; who wants numbers waits for one of them, asleep.

use super::queue::{Queue, Writer};
use super::transport::{PciTransport, VirtioError};
use crate::arch::{apic, irq, time};
use crate::drivers::pci::Function;
use crate::sync::IrqMutex;
use crate::tasks::WaitQueue;
use virtio_drivers::transport::{DeviceStatus, DeviceType, Transport};

const QUEUE: u16 = 0;
const BUFFERS: usize = 4;
const BUFFER: usize = 64;
/// A host that has nothing for so long is not asked any more for this time.
const PATIENCE_NANOS: u64 = 5_000_000_000;

static SOURCE: IrqMutex<Option<Queue<BUFFERS>>> = IrqMutex::new(None);
static NEWS: WaitQueue = WaitQueue::new();

/// Starts a source; the first one is used.
pub(super) fn start(function: &Function) -> Result<(), VirtioError> {
    if SOURCE.lock().is_some() {
        return Err(VirtioError::TooMany(1));
    }
    let vector = irq::register(|| NEWS.wake_all()).ok_or(VirtioError::NoVector)?;
    let mut transport =
        PciTransport::new(function, DeviceType::EntropySource, "virtio-rng", vector, apic::id())?;
    transport.negotiate(0, "virtio 1.0", 0)?;
    let mut queue = Queue::new(&mut transport, QUEUE, Writer::Device)?;
    queue.allocate(BUFFER)?;
    queue.set_interrupts(true);
    transport.set_status(transport.get_status() | DeviceStatus::DRIVER_OK);
    queue.notify();
    *SOURCE.lock() = Some(queue);
    log::info!("virtio: source of random numbers (MSI-X)");
    Ok(())
}

/// 64 random bits; `None` where there is no source, or its host has none to give. In a thread that can wait.
pub fn next() -> Option<u64> {
    SOURCE.lock().as_ref()?;
    let mut bits = None;
    let deadline = time::uptime_nanos().saturating_add(PATIENCE_NANOS);
    NEWS.wait_until_deadline(deadline, || {
        let mut source = SOURCE.lock();
        let Some(queue) = source.as_mut() else { return true };
        let Some((buffer, written)) = queue.take() else { return queue.is_broken() };
        bits = queue
            .bytes(buffer)
            .get(..written)
            .and_then(|bytes| bytes.first_chunk())
            .map(|b| u64::from_le_bytes(*b));
        // Nobody is to find it there.
        queue.bytes(buffer).fill(0);
        queue.give(buffer, BUFFER);
        queue.notify();
        bits.is_some()
    });
    bits
}
