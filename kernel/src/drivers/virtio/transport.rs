//! A virtio device on PCI: where its registers are, and its interrupts (virtio 1.2, 4.1).
//!
//! Registers are reached through [`Registers`], so that a device whose offsets lead astray reads as ones. Each queue interrupts by
//! entry 0 of the MSI-X table.

use crate::drivers::msix::{MsiX, MsixError};
use crate::drivers::pci::Function;
use crate::drivers::registers::Registers;
use virtio_drivers::transport::{DeviceStatus, DeviceType, InterruptStatus, Transport};
use virtio_drivers::{Error, PhysAddr};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// The id of vendor-specific capabilities, and the kinds of structures that they lead to (4.1.4).
const VENDOR_SPECIFIC: u8 = 0x09;
const COMMON: u8 = 1;
const NOTIFY: u8 = 2;
const DEVICE: u8 = 4;

/// The common configuration (4.1.4.3).
const DEVICE_FEATURE_SELECT: usize = 0;
const DEVICE_FEATURE: usize = 4;
const DRIVER_FEATURE_SELECT: usize = 8;
const DRIVER_FEATURE: usize = 12;
const CONFIG_VECTOR: usize = 16;
const STATUS: usize = 20;
const GENERATION: usize = 21;
const QUEUE_SELECT: usize = 22;
const QUEUE_SIZE: usize = 24;
const QUEUE_VECTOR: usize = 26;
const QUEUE_ENABLE: usize = 28;
const QUEUE_NOTIFY_OFFSET: usize = 30;
const QUEUE_DESCRIPTORS: usize = 32;
const QUEUE_DRIVER: usize = 40;
const QUEUE_DEVICE: usize = 48;
const COMMON_LEN: usize = 56;

/// No interrupt for this.
const NO_VECTOR: u16 = 0xffff;
/// The entry of the MSI-X table that all queues use.
const QUEUES_ENTRY: u16 = 0;
/// Reads of the status within which a reset must be done.
const RESET_READS: u32 = 1_000_000;

/// The feature bit of devices that follow version 1 (6).
pub const VERSION_1: u64 = 1 << 32;

/// Why a device cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VirtioError {
    /// A structure is absent or outside its BAR.
    #[error("its {0} is missing or lies outside its memory")]
    Missing(&'static str),
    /// It does not do what the driver needs.
    #[error("it does not offer {0}")]
    Lacks(&'static str),
    /// It does not take the features that were chosen.
    #[error("it refused the features {0:#x}")]
    Refused(u64),
    /// It does not come back from a reset.
    #[error("it does not reset")]
    Stuck,
    /// Its interrupts cannot be had.
    #[error(transparent)]
    Interrupts(#[from] MsixError),
    /// There are others already.
    #[error("{0} of its kind are in use already")]
    TooMany(usize),
    /// No vector is left.
    #[error("all interrupt vectors are taken")]
    NoVector,
    /// A queue cannot be made.
    #[error("queue {0} cannot be set up: {1}")]
    Queue(u16, Error),
    /// The device does not let a queue interrupt.
    #[error("queue {0} gets no interrupt")]
    Silent(u16),
    /// No memory for its buffers.
    #[error(transparent)]
    OutOfMemory(#[from] crate::memory::OutOfMemory),
}

/// A device's registers.
pub struct PciTransport {
    kind: DeviceType,
    common: Registers,
    notify: Registers,
    notify_multiplier: usize,
    device: Registers,
}

/// The register that tells the device of new buffers in one queue.
#[derive(Clone, Copy)]
pub struct Doorbell {
    register: Registers,
    queue: u16,
}

impl Doorbell {
    /// Tells it.
    pub fn ring(&self) {
        self.register.write(0, self.queue);
    }
}

impl PciTransport {
    /// Finds the registers of a device, lets it use memory, resets it, and has its queues raise `vector` on CPU `cpu`.
    pub fn new(
        function: &Function,
        kind: DeviceType,
        driver: &'static str,
        vector: u8,
        cpu: u32,
    ) -> Result<Self, VirtioError> {
        function.start(driver);
        let (common, _) = structure(function, COMMON).ok_or(VirtioError::Missing("common configuration"))?;
        let (notify, multiplier) = structure(function, NOTIFY).ok_or(VirtioError::Missing("doorbell"))?;
        let (device, _) = structure(function, DEVICE).ok_or(VirtioError::Missing("configuration"))?;
        if common.len() < COMMON_LEN {
            return Err(VirtioError::Missing("common configuration"));
        }
        let mut transport = Self { kind, common, notify, notify_multiplier: multiplier as usize, device };
        transport.reset()?;
        let interrupts = MsiX::of(function)?;
        interrupts.route(QUEUES_ENTRY, vector, cpu)?;
        interrupts.unmask();
        // What may change in the configuration of our devices, a size, we do not use.
        transport.common.write(CONFIG_VECTOR, NO_VECTOR);
        Ok(transport)
    }

    fn reset(&mut self) -> Result<(), VirtioError> {
        self.set_status(DeviceStatus::empty());
        // It answers at once or takes as long as it needs to finish what it does (4.1.4.3.2).
        let done = (0..RESET_READS).any(|_| self.get_status() == DeviceStatus::empty());
        done.then_some(()).ok_or(VirtioError::Stuck)
    }

    /// Agrees with the device on `needed`, called `name`, all of which it must offer, and on what it offers of `welcome`;
    /// says what was agreed on.
    pub fn negotiate(&mut self, needed: u64, name: &'static str, welcome: u64) -> Result<u64, VirtioError> {
        self.set_status(DeviceStatus::ACKNOWLEDGE | DeviceStatus::DRIVER);
        let offered = self.read_device_features();
        let needed = needed | VERSION_1;
        if offered & needed != needed {
            return Err(VirtioError::Lacks(name));
        }
        let chosen = needed | offered & welcome;
        self.write_driver_features(chosen);
        self.set_status(DeviceStatus::ACKNOWLEDGE | DeviceStatus::DRIVER | DeviceStatus::FEATURES_OK);
        let agreed = self.get_status().contains(DeviceStatus::FEATURES_OK);
        agreed.then_some(chosen).ok_or(VirtioError::Refused(chosen))
    }

    /// A 32-bit number of the device's own configuration.
    pub fn config(&self, offset: usize) -> u32 {
        self.device.read(offset)
    }

    /// Where to tell the device of new buffers in `queue`. `None` when the device names a place outside its memory.
    pub fn doorbell(&mut self, queue: u16) -> Option<Doorbell> {
        self.common.write(QUEUE_SELECT, queue);
        let number = usize::from(self.common.read::<u16>(QUEUE_NOTIFY_OFFSET));
        let register = self.notify.skip(number.checked_mul(self.notify_multiplier)?)?;
        (register.len() >= size_of::<u16>()).then_some(Doorbell { register, queue })
    }

    /// Whether `queue` interrupts: a device that has run out of what it needs says no.
    pub fn interrupts(&mut self, queue: u16) -> bool {
        self.common.write(QUEUE_SELECT, queue);
        self.common.read::<u16>(QUEUE_VECTOR) == QUEUES_ENTRY
    }

    fn write_address(&self, offset: usize, address: PhysAddr) {
        self.common.write(offset, address as u32);
        self.common.write(offset + 4, (address >> 32) as u32);
    }
}

/// Maps the structure of `kind`, the first that is where it can be; and the word behind its capability (the notify structure's
/// multiplier).
fn structure(function: &Function, kind: u8) -> Option<(Registers, u32)> {
    let mut ours = function.capabilities().filter(|&(id, _)| id == VENDOR_SPECIFIC);
    ours.find_map(|(_, at)| {
        if (function.read(at) >> 24) as u8 != kind {
            return None;
        }
        let (offset, len) = (function.read(at + 8), function.read(at + 12));
        let registers = function.map(function.read(at + 4) as u8, offset.into(), len.into())?;
        Some((registers, function.read(at + 16)))
    })
}

impl Transport for PciTransport {
    fn device_type(&self) -> DeviceType {
        self.kind
    }

    fn read_device_features(&mut self) -> u64 {
        let half = |select: u32| {
            self.common.write(DEVICE_FEATURE_SELECT, select);
            u64::from(self.common.read::<u32>(DEVICE_FEATURE))
        };
        half(0) | half(1) << 32
    }

    fn write_driver_features(&mut self, features: u64) {
        for select in [0u32, 1] {
            self.common.write(DRIVER_FEATURE_SELECT, select);
            self.common.write(DRIVER_FEATURE, (features >> (32 * select)) as u32);
        }
    }

    fn max_queue_size(&mut self, queue: u16) -> u32 {
        self.common.write(QUEUE_SELECT, queue);
        self.common.read::<u16>(QUEUE_SIZE).into()
    }

    fn notify(&mut self, queue: u16) {
        if let Some(doorbell) = self.doorbell(queue) {
            doorbell.ring();
        }
    }

    fn get_status(&self) -> DeviceStatus {
        DeviceStatus::from_bits_truncate(self.common.read::<u8>(STATUS).into())
    }

    fn set_status(&mut self, status: DeviceStatus) {
        self.common.write(STATUS, status.bits() as u8);
    }

    fn set_guest_page_size(&mut self, _: u32) {
        // Old devices only.
    }

    fn requires_legacy_layout(&self) -> bool {
        false
    }

    fn queue_set(
        &mut self,
        queue: u16,
        size: u32,
        descriptors: PhysAddr,
        driver: PhysAddr,
        device: PhysAddr,
    ) {
        self.common.write(QUEUE_SELECT, queue);
        self.common.write(QUEUE_SIZE, size as u16);
        self.write_address(QUEUE_DESCRIPTORS, descriptors);
        self.write_address(QUEUE_DRIVER, driver);
        self.write_address(QUEUE_DEVICE, device);
        // Before the queue is enabled.
        self.common.write(QUEUE_VECTOR, QUEUES_ENTRY);
        self.common.write(QUEUE_ENABLE, 1u16);
    }

    fn queue_unset(&mut self, _: u16) {
        // A queue ends with a reset of its device only (4.1.4.3.2).
    }

    fn queue_used(&mut self, queue: u16) -> bool {
        self.common.write(QUEUE_SELECT, queue);
        self.common.read::<u16>(QUEUE_ENABLE) == 1
    }

    fn ack_interrupt(&mut self) -> InterruptStatus {
        // MSI-X needs none (4.1.5.3).
        InterruptStatus::empty()
    }

    fn read_config_generation(&self) -> u32 {
        self.common.read::<u8>(GENERATION).into()
    }

    fn read_config_space<T: FromBytes + IntoBytes>(&self, offset: usize) -> Result<T, Error> {
        // By the field's own width (4.1.3.1).
        let read = match size_of::<T>() {
            1 => T::read_from_bytes(&[self.device.read::<u8>(offset)]).ok(),
            2 => T::read_from_bytes(&self.device.read::<u16>(offset).to_le_bytes()).ok(),
            4 => T::read_from_bytes(&self.device.read::<u32>(offset).to_le_bytes()).ok(),
            _ => None,
        };
        read.ok_or(Error::Unsupported)
    }

    fn write_config_space<T: IntoBytes + Immutable>(&mut self, offset: usize, value: T) -> Result<(), Error> {
        match *value.as_bytes() {
            [a] => self.device.write(offset, a),
            [a, b] => self.device.write(offset, u16::from_le_bytes([a, b])),
            [a, b, c, d] => self.device.write(offset, u32::from_le_bytes([a, b, c, d])),
            _ => return Err(Error::Unsupported),
        }
        Ok(())
    }
}
