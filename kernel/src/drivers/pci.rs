//! PCI: configuration space and enumeration (PCI local bus 3.0, PCI Express base 5.0).
//!
//! Configuration space is reached through memory (ECAM) where the MCFG lists it, else through the ports 0xCF8 and
//! 0xCFC. Bridges are followed as the firmware numbered them; nothing is renumbered.

use super::acpi::Ecam;
use super::registers::Registers;
use crate::memory;
use crate::sync::IrqMutex;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use conquer_once::spin::OnceCell;
use pci_types::{ConfigRegionAccess, HeaderType, PciAddress, PciHeader};
use x86_64::instructions::interrupts;
use x86_64::instructions::port::Port;

const COMMAND: u16 = 0x04;
const DECODE: u32 = 0b11;
/// In the command register: memory decoding, bus mastering, and no interrupts by wire.
const MEMORY: u32 = 1 << 1;
const BUS_MASTER: u32 = 1 << 2;
const NO_WIRE: u32 = 1 << 10;
/// In the status register, which is the upper half: there is a list of capabilities.
const HAS_CAPABILITIES: u32 = 1 << 20;
const CAPABILITIES: u16 = 0x34;
/// No list is longer: each entry takes at least 4 of the 192 bytes behind the header.
const MAX_CAPABILITIES: usize = 48;
const FIRST_BAR: u16 = 0x10;
const BUS_NUMBERS: u16 = 0x18;
const SUBSYSTEM: u16 = 0x2c;
const INTERRUPT: u16 = 0x3c;

/// One function that answered.
#[derive(Clone, Debug)]
pub struct Function {
    /// Where it is.
    pub address: PciAddress,
    /// Vendor id.
    pub vendor: u16,
    /// Device id.
    pub device: u16,
    /// Base class, sub-class, programming interface.
    pub class: [u8; 3],
    /// Revision.
    pub revision: u8,
    /// Subsystem vendor and id; zeros in bridges.
    pub subsystem: (u16, u16),
    /// Base address registers in use.
    pub bars: Vec<Bar>,
    /// Interrupt pin (0 = none) and line.
    pub interrupt: (u8, u8),
}

/// A base address register.
#[derive(Clone, Copy, Debug)]
pub struct Bar {
    /// Number of its (first) register.
    pub index: u8,
    /// What it decodes.
    pub kind: BarKind,
    /// First address or port.
    pub address: u64,
    /// Length of the range.
    pub size: u64,
}

impl Function {
    /// Maps `len` bytes from `offset` on in a memory BAR, if the BAR has them.
    pub fn map(&self, index: u8, offset: u64, len: u64) -> Option<Registers> {
        let bar = self.bars.iter().find(|bar| bar.index == index && bar.kind != BarKind::Io)?;
        let inside = bar.address != 0 && len > 0 && offset.checked_add(len)? <= bar.size;
        let at = inside.then(|| bar.address.checked_add(offset))??;
        Registers::map(at, usize::try_from(len).ok()?)
    }

    /// Its capabilities: the id of each, and where in configuration space it begins.
    pub fn capabilities(&self) -> impl Iterator<Item = (u8, u16)> {
        let has = self.read(COMMAND) & HAS_CAPABILITIES != 0;
        // The lowest two bits of each pointer are reserved. A list that runs in a circle ends all the same.
        let follow = |pointer: u32| u16::from(pointer as u8 & !3);
        let mut next = if has { follow(self.read(CAPABILITIES)) } else { 0 };
        core::iter::from_fn(move || {
            let at = (next >= 0x40).then_some(next)?;
            let header = self.read(at);
            next = follow(header >> 8);
            Some((header as u8, at))
        })
        .take(MAX_CAPABILITIES)
    }

    /// Lets it decode its memory BARs and access memory itself, and keeps it from interrupting by wire. `driver` is what `lspci` shows.
    pub fn start(&self, driver: &'static str) {
        let command = self.read(COMMAND) & 0xffff;
        self.write(COMMAND, command | MEMORY | BUS_MASTER | NO_WIRE);
        let mut drivers = DRIVERS.lock();
        drivers.retain(|(address, _)| *address != self.address);
        // With more devices than places, one is shown without its driver.
        let _ = drivers.push((self.address, driver));
    }

    /// The driver that started it.
    pub fn driver(&self) -> Option<&'static str> {
        DRIVERS.lock().iter().find(|(address, _)| *address == self.address).map(|(_, driver)| *driver)
    }

    /// A register of configuration space.
    pub fn read(&self, offset: u16) -> u32 {
        // SAFETY: the registers that drivers read this way have no side effects on reading.
        CONFIG.get().map_or(u32::MAX, |config| unsafe { config.read(self.address, offset) })
    }

    /// Writes a register of configuration space.
    pub fn write(&self, offset: u16, value: u32) {
        if let Some(config) = CONFIG.get() {
            // SAFETY: the function's driver means this register of it.
            unsafe { config.write(self.address, offset, value) };
        }
    }
}

/// Address space of a BAR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum BarKind {
    Io,
    Memory32 { prefetchable: bool },
    Memory64 { prefetchable: bool },
}

/// The configuration spaces of this machine.
struct Config {
    ecam: &'static [Ecam],
    /// Mapped buses by (segment, bus); mapped when first used, for 256 MiB of mappings would cost boot time.
    buses: IrqMutex<BTreeMap<(u16, u8), usize>>,
    /// The address and data ports belong together.
    ports: IrqMutex<()>,
}

static CONFIG: OnceCell<Config> = OnceCell::uninit();
static FUNCTIONS: OnceCell<Vec<Function>> = OnceCell::uninit();
/// Which driver has which function.
static DRIVERS: IrqMutex<heapless::Vec<(PciAddress, &'static str), 32>> = IrqMutex::new(heapless::Vec::new());

impl Config {
    /// The register in memory, if the MCFG has its bus.
    fn register(&self, address: PciAddress, offset: u16) -> Option<*mut u32> {
        let (segment, bus) = (address.segment(), address.bus());
        let ecam = self
            .ecam
            .iter()
            .find(|ecam| ecam.segment == segment && (ecam.first_bus..=ecam.last_bus).contains(&bus))?;
        let mapped = self.buses.lock().get(&(segment, bus)).copied();
        let base = match mapped {
            Some(base) => base,
            None => {
                let at = ecam.base.checked_add(u64::from(bus) << 20)?;
                let base = memory::map_device(at, 1 << 20)?.as_ptr() as usize;
                *self.buses.lock().entry((segment, bus)).or_insert(base)
            }
        };
        let function = usize::from(address.device()) << 15 | usize::from(address.function()) << 12;
        Some((base + function + usize::from(offset & 0xffc)) as *mut u32)
    }

    /// Selects a register for the data port. Only segment 0 and the first 256 bytes are within its reach.
    fn select(address: PciAddress, offset: u16) -> Option<Port<u32>> {
        if address.segment() != 0 || offset >= 256 {
            return None;
        }
        let function = u32::from(address.device()) << 11 | u32::from(address.function()) << 8;
        let selector = 1 << 31 | u32::from(address.bus()) << 16 | function | u32::from(offset & 0xfc);
        // SAFETY: PCI's configuration address port; the caller holds the lock of the pair.
        unsafe { Port::new(0xcf8).write(selector) };
        Some(Port::new(0xcfc))
    }
}

impl ConfigRegionAccess for Config {
    unsafe fn read(&self, address: PciAddress, offset: u16) -> u32 {
        if let Some(register) = self.register(address, offset) {
            // SAFETY: inside the mapped bus; absent functions read as ones.
            return unsafe { register.read_volatile() };
        }
        let _pair = self.ports.lock();
        // SAFETY: the data port, selected above under the lock.
        Self::select(address, offset).map_or(u32::MAX, |mut data| unsafe { data.read() })
    }

    unsafe fn write(&self, address: PciAddress, offset: u16, value: u32) {
        if let Some(register) = self.register(address, offset) {
            // SAFETY: inside the mapped bus; what the write does is the caller's affair.
            unsafe { register.write_volatile(value) };
            return;
        }
        let _pair = self.ports.lock();
        if let Some(mut data) = Self::select(address, offset) {
            // SAFETY: as above.
            unsafe { data.write(value) };
        }
    }
}

/// Enumerates; once, after ACPI was read. `ecam` is `acpi::ecam()`.
pub fn init(ecam: &'static [Ecam]) {
    let config = CONFIG.get_or_init(|| Config {
        ecam,
        buses: IrqMutex::new(BTreeMap::new()),
        ports: IrqMutex::new(()),
    });
    let functions = FUNCTIONS.get_or_init(|| enumerate(config));
    let way = if config.ecam.is_empty() { "ports 0xcf8/0xcfc" } else { "memory (ECAM)" };
    log::info!("PCI: {} functions, configuration through {way}", functions.len());
}

/// Everything found, in order of address; empty before [`init`].
pub fn functions() -> &'static [Function] {
    FUNCTIONS.get().map_or(&[], Vec::as_slice)
}

/// Writes one byte of configuration space. Does nothing before [`init`].
pub fn write_byte(address: PciAddress, offset: u16, value: u8) {
    let Some(config) = CONFIG.get() else { return };
    let shift = u32::from(offset & 3) * 8;
    // SAFETY: the caller means this register of this function.
    unsafe {
        let others = config.read(address, offset) & !(0xff << shift);
        config.write(address, offset, others | u32::from(value) << shift);
    }
}

fn enumerate(config: &Config) -> Vec<Function> {
    let mut functions = Vec::new();
    let roots: Vec<(u16, u8)> = match config.ecam {
        [] => [(0, 0)].into(),
        ecam => ecam.iter().map(|ecam| (ecam.segment, ecam.first_bus)).collect(),
    };
    for (segment, root) in roots {
        // Each bus is looked at once, whatever the bridges claim.
        let mut seen = [false; 256];
        let mut waiting = Vec::from([root]);
        while let Some(bus) = waiting.pop() {
            if core::mem::replace(&mut seen[usize::from(bus)], true) {
                continue;
            }
            for device in 0..32 {
                enumerate_device(
                    config,
                    PciAddress::new(segment, bus, device, 0),
                    &mut functions,
                    &mut waiting,
                );
            }
        }
    }
    functions.sort_by_key(|function| function.address);
    functions
}

/// Adds the functions of a device, and the buses behind those that are bridges.
fn enumerate_device(config: &Config, first: PciAddress, functions: &mut Vec<Function>, buses: &mut Vec<u8>) {
    let last = match PciHeader::new(first) {
        header if header.id(config).0 == 0xffff => return,
        header if header.has_multiple_functions(config) => 7,
        _ => 0,
    };
    for number in 0..=last {
        let address = PciAddress::new(first.segment(), first.bus(), first.device(), number);
        let header = PciHeader::new(address);
        if header.id(config).0 == 0xffff {
            continue;
        }
        if header.header_type(config) == HeaderType::PciPciBridge {
            // SAFETY: reading bus numbers has no side effects.
            let secondary = (unsafe { config.read(address, BUS_NUMBERS) } >> 8) as u8;
            // Zero: the firmware did not number what is behind it.
            if secondary != 0 {
                buses.push(secondary);
            }
        }
        functions.push(read_function(config, &header));
    }
}

fn read_function(config: &Config, header: &PciHeader) -> Function {
    let address = header.address();
    let (vendor, device) = header.id(config);
    let (revision, class, subclass, interface) = header.revision_and_class(config);
    let bar_count = match header.header_type(config) {
        HeaderType::Endpoint => 6,
        HeaderType::PciPciBridge => 2,
        _ => 0,
    };
    // SAFETY: these registers are read without side effects.
    let (subsystem, interrupt) =
        unsafe { (config.read(address, SUBSYSTEM), config.read(address, INTERRUPT)) };
    let subsystem = if bar_count == 6 { subsystem } else { 0 };
    Function {
        address,
        vendor,
        device,
        class: [class, subclass, interface],
        revision,
        subsystem: (subsystem as u16, (subsystem >> 16) as u16),
        bars: interrupts::without_interrupts(|| read_bars(config, address, bar_count)),
        interrupt: ((interrupt >> 8) as u8, interrupt as u8),
    }
}

/// Sizes the BARs by writing ones and reading back which stuck. The function decodes nothing meanwhile, so that it
/// never answers at a made-up address; all is put back.
fn read_bars(config: &Config, address: PciAddress, count: u8) -> Vec<Bar> {
    let mut bars = Vec::new();
    // SAFETY: registers of this function; interrupts are off, so no handler of its device runs meanwhile.
    unsafe {
        let command = config.read(address, COMMAND);
        // The upper half is status: writing zeros there changes nothing.
        config.write(address, COMMAND, command & 0xffff & !DECODE);
        let mut index = 0;
        while index < count {
            let (bar, registers) = read_bar(config, address, index, count);
            bars.extend(bar);
            index += registers;
        }
        config.write(address, COMMAND, command & 0xffff);
    }
    bars
}

/// One BAR, and how many registers it takes.
///
/// # Safety
/// The function must not decode.
unsafe fn read_bar(config: &Config, address: PciAddress, index: u8, count: u8) -> (Option<Bar>, u8) {
    let low = FIRST_BAR + u16::from(index) * 4;
    // SAFETY: by the caller; each register gets its old value back.
    let probe = |offset: u16| unsafe {
        let old = config.read(address, offset);
        config.write(address, offset, u32::MAX);
        let mask = config.read(address, offset);
        config.write(address, offset, old);
        (old, mask)
    };
    let (old, mask) = probe(low);
    if old & 1 != 0 {
        let mask = mask & 0xfffc;
        let size = u64::from((!mask & 0xffff) + 1);
        let bar = Bar { index, kind: BarKind::Io, address: u64::from(old & 0xfffc), size };
        return ((mask != 0).then_some(bar), 1);
    }
    let prefetchable = old & 1 << 3 != 0;
    match old >> 1 & 3 {
        0b10 if index + 1 < count => {
            let (old_high, mask_high) = probe(low + 4);
            let mask = u64::from(mask_high) << 32 | u64::from(mask & !0xf);
            let start = u64::from(old_high) << 32 | u64::from(old & !0xf);
            let kind = BarKind::Memory64 { prefetchable };
            let bar = Bar { index, kind, address: start, size: (!mask).wrapping_add(1) };
            ((mask != 0).then_some(bar), 2)
        }
        0b00 => {
            let mask = mask & !0xf;
            let kind = BarKind::Memory32 { prefetchable };
            let bar =
                Bar { index, kind, address: u64::from(old & !0xf), size: u64::from((!mask).wrapping_add(1)) };
            ((mask != 0).then_some(bar), 1)
        }
        // A reserved kind, or a 64-bit BAR without room for its upper half.
        _ => (None, 1),
    }
}
