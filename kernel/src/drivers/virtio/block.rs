//! A disk (virtio 1.2, 5.2): one request at a time, its thread asleep until the device interrupts.
//!
//! Data goes through a buffer of the driver's own, so that it need not lie in one run of physical memory.

use super::memory::{DmaMemory, KernelHal};
use super::transport::{Doorbell, PciTransport, VirtioError};
use crate::arch::{apic, irq, time};
use crate::drivers::pci::Function;
use crate::sync::IrqMutex;
use crate::tasks::WaitQueue;
use conquer_once::spin::OnceCell;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, Ordering, fence};
use virtio_drivers::queue::VirtQueue;
use virtio_drivers::transport::{DeviceStatus, DeviceType, Transport};

/// Bytes of a sector, whatever the disk's own are (5.2.4).
pub const SECTOR: usize = 512;
/// Feature bits: it is read-only; it has a cache that is written out on demand.
const READ_ONLY: u64 = 1 << 5;
const FLUSH: u64 = 1 << 9;

const QUEUE: u16 = 0;
/// Descriptors: a request takes three.
const SIZE: usize = 4;
/// What is asked (5.2.6), and the answer that all is well.
const READ: u32 = 0;
const WRITE: u32 = 1;
const WRITE_OUT: u32 = 4;
const WELL: u8 = 0;

/// The memory of a request: header, status, and from here on the data, of which there are so many bytes at most.
const HEADER: usize = 16;
const DATA_AT: usize = 4096;
const MEMORY: usize = 64 << 10;
const MOST: usize = MEMORY - DATA_AT;
/// A device that takes longer is given up. The host may be busy; a disk is never this slow.
const PATIENCE_NANOS: u64 = 60_000_000_000;

static DISK: OnceCell<Disk> = OnceCell::uninit();
static WAITERS: WaitQueue = WaitQueue::new();

/// Why a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlockError {
    /// Not whole sectors, or behind the end.
    #[error("the disk has no such sectors")]
    Range,
    /// The device says so.
    #[error("the disk reports status {0}")]
    Failed(u8),
    /// No answer, now or earlier.
    #[error("the disk does not answer any more")]
    Dead,
}

/// The disk.
pub struct Disk {
    sectors: u64,
    features: u64,
    doorbell: Doorbell,
    /// A request is under way.
    busy: AtomicBool,
    /// The device did something that it must not do; what it still has is left to it for ever.
    dead: AtomicBool,
    ring: IrqMutex<Ring>,
}

struct Ring {
    queue: VirtQueue<KernelHal, SIZE>,
    memory: DmaMemory,
}

// SAFETY: the rings that it points to are its own.
unsafe impl Send for Ring {}

/// Starts a disk; the first one is used.
pub(super) fn start(function: &Function) -> Result<(), VirtioError> {
    if DISK.is_initialized() {
        return Err(VirtioError::TooMany(1));
    }
    let vector = irq::register(|| WAITERS.wake_all()).ok_or(VirtioError::NoVector)?;
    let mut transport = PciTransport::new(function, DeviceType::Block, "virtio-blk", vector, apic::id())?;
    let features = transport.negotiate(0, "virtio 1.0", READ_ONLY | FLUSH)?;
    let sectors = u64::from(transport.config(0)) | u64::from(transport.config(4)) << 32;
    let queue = VirtQueue::new(&mut transport, QUEUE, false, false)
        .map_err(|error| VirtioError::Queue(QUEUE, error))?;
    if !transport.interrupts(QUEUE) {
        return Err(VirtioError::Silent(QUEUE));
    }
    let doorbell = transport.doorbell(QUEUE).ok_or(VirtioError::Missing("doorbell"))?;
    let memory = DmaMemory::new(MEMORY)?;
    let disk = Disk {
        sectors,
        features,
        doorbell,
        busy: AtomicBool::new(false),
        dead: AtomicBool::new(false),
        ring: IrqMutex::new(Ring { queue, memory }),
    };
    // From here on nothing fails: the device may use the queue, which stands for ever.
    DISK.init_once(|| disk);
    transport.set_status(transport.get_status() | DeviceStatus::DRIVER_OK);
    log::info!("virtio: disk of {} MiB (MSI-X)", sectors >> 11);
    Ok(())
}

/// The disk, if there is one.
pub fn disk() -> Option<&'static Disk> {
    DISK.get()
}

impl Disk {
    /// How many sectors it has.
    pub fn sectors(&self) -> u64 {
        self.sectors
    }

    /// Whether it cannot be written.
    pub fn is_read_only(&self) -> bool {
        self.features & READ_ONLY != 0
    }

    /// Reads whole sectors from `sector` on. In a thread that can wait.
    pub fn read(&self, sector: u64, out: &mut [u8]) -> Result<(), BlockError> {
        self.check(sector, out.len())?;
        for (at, part) in (sector..).step_by(MOST / SECTOR).zip(out.chunks_mut(MOST)) {
            self.request(READ, at, part.len(), |_| {}, |data| part.copy_from_slice(data))?;
        }
        Ok(())
    }

    /// Writes whole sectors from `sector` on; they last after [`Self::flush`]. In a thread that can wait.
    pub fn write(&self, sector: u64, bytes: &[u8]) -> Result<(), BlockError> {
        self.check(sector, bytes.len())?;
        for (at, part) in (sector..).step_by(MOST / SECTOR).zip(bytes.chunks(MOST)) {
            self.request(WRITE, at, part.len(), |data| data.copy_from_slice(part), |_| {})?;
        }
        Ok(())
    }

    /// Has what was written last. Without a cache it does already.
    pub fn flush(&self) -> Result<(), BlockError> {
        if self.features & FLUSH == 0 {
            return Ok(());
        }
        self.request(WRITE_OUT, 0, 0, |_| {}, |_| {})
    }

    fn check(&self, sector: u64, len: usize) -> Result<(), BlockError> {
        let end = sector.checked_add((len / SECTOR) as u64);
        let inside = len.is_multiple_of(SECTOR) && end.is_some_and(|end| end <= self.sectors);
        inside.then_some(()).ok_or(BlockError::Range)
    }

    /// One request with `len` bytes of data, which `fill` writes before and `empty` reads after.
    fn request(
        &self,
        kind: u32,
        sector: u64,
        len: usize,
        fill: impl FnOnce(&mut [u8]),
        empty: impl FnOnce(&[u8]),
    ) -> Result<(), BlockError> {
        let free = || self.busy.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_ok();
        WAITERS.wait_until(free);
        let result = self.request_alone(kind, sector, len, fill, empty);
        self.busy.store(false, Ordering::Release);
        WAITERS.wake_all();
        result
    }

    fn request_alone(
        &self,
        kind: u32,
        sector: u64,
        len: usize,
        fill: impl FnOnce(&mut [u8]),
        empty: impl FnOnce(&[u8]),
    ) -> Result<(), BlockError> {
        if self.dead.load(Ordering::Relaxed) {
            return Err(BlockError::Dead);
        }
        let token = {
            let mut ring = self.ring.lock();
            let Parts { header, status, data } = ring.parts(len);
            fill(data);
            header[..4].copy_from_slice(&kind.to_le_bytes());
            header[4..8].fill(0);
            header[8..].copy_from_slice(&sector.to_le_bytes());
            *status = [u8::MAX];
            ring.lend(kind, len)
        };
        self.doorbell.ring();
        let deadline = time::uptime_nanos().saturating_add(PATIENCE_NANOS);
        let done = WAITERS.wait_until_deadline(deadline, || self.ring.lock().queue.can_pop());
        let mut ring = self.ring.lock();
        if !done || !token.is_some_and(|token| ring.get_back(token, kind, len)) {
            self.dead.store(true, Ordering::Relaxed);
            return Err(BlockError::Dead);
        }
        let Parts { status, data, .. } = ring.parts(len);
        match *status {
            [WELL] => {
                empty(data);
                Ok(())
            }
            [status] => Err(BlockError::Failed(status)),
        }
    }
}

/// The memory of a request.
struct Parts<'a> {
    header: &'a mut [u8; HEADER],
    status: &'a mut [u8; 1],
    data: &'a mut [u8],
}

impl Ring {
    /// The memory of a request with `len` bytes of data, while the device does not have it.
    fn parts(&mut self, len: usize) -> Parts<'_> {
        let start = self.memory.start();
        // SAFETY: three parts of the memory that do not overlap. The caller has the only request, and gives it to the device only
        // through `lend`, after which it calls this again only when `get_back` had it back.
        unsafe {
            Parts {
                header: start.cast().as_mut(),
                status: start.add(HEADER).cast().as_mut(),
                data: NonNull::slice_from_raw_parts(start.add(DATA_AT), len.min(MOST)).as_mut(),
            }
        }
    }

    /// Hands the request to the device. `None` when it has another one.
    fn lend(&mut self, kind: u32, len: usize) -> Option<u16> {
        let queue: *mut VirtQueue<KernelHal, SIZE> = &raw mut self.queue;
        let Parts { header, status, data } = self.parts(len);
        // SAFETY: `queue` is another field than the memory. The memory stands for ever, and `parts` says who touches it.
        unsafe {
            match kind {
                READ => (*queue).add(&[header], &mut [data, status]),
                WRITE => (*queue).add(&[header, data], &mut [status]),
                _ => (*queue).add(&[header], &mut [status]),
            }
        }
        .ok()
    }

    /// Takes the request back. `false` when the device gave back something else.
    fn get_back(&mut self, token: u16, kind: u32, len: usize) -> bool {
        if self.queue.peek_used() != Some(token) {
            return false;
        }
        // What the device wrote is seen after its index.
        fence(Ordering::SeqCst);
        let queue: *mut VirtQueue<KernelHal, SIZE> = &raw mut self.queue;
        let Parts { header, status, data } = self.parts(len);
        // SAFETY: the buffers that `lend` added under this token.
        unsafe {
            match kind {
                READ => (*queue).pop_used(token, &[header], &mut [data, status]),
                WRITE => (*queue).pop_used(token, &[header, data], &mut [status]),
                _ => (*queue).pop_used(token, &[header], &mut [status]),
            }
        }
        .is_ok()
    }
}
