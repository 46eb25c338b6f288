//! `lspci`: the PCI functions, named from the PCI ID database.
//!
//! JSON: `{"devices":[{"address","vendor_id","device_id","vendor","device","class_code","class",
//! "revision","subsystem":{"vendor_id","device_id","name"}|null,"bars":[{"index","kind","address","size",
//! "prefetchable"}],"interrupt":{"pin","line"}|null,"driver"}]}`. Names that nobody registered are null;
//! `class_code` is the class triple in one number; `kind` is io, mem32 or mem64.

use super::{Command, CommandError, Context, JSON, Next, OptionSpec, PLAIN};
use crate::json;
use crate::system::{PciBar, PciBarKind, PciDevice};
use crate::units::exact_bytes;
use alloc::format;
use alloc::string::{String, ToString};
use llm::knowledge::pci;

pub const LSPCI: Command = Command {
    name: "lspci",
    summary: "List the PCI devices by name.",
    usage: "lspci [-v|--verbose] [--json]",
    options: &[
        OptionSpec {
            name: "verbose",
            short: Some('v'),
            value: None,
            summary: "Show subsystem, addresses, interrupt and driver too.",
        },
        JSON,
    ],
    example: "lspci -v",
    run,
    ..PLAIN
};

fn run(context: &mut Context<'_>) -> Result<Next, CommandError> {
    let devices = context.system.pci_devices();
    if context.args.flag("json") {
        let json = json::document(|o| {
            o.objects("devices", &devices, as_json);
        });
        return context.print(&json);
    }
    let mut text = String::new();
    for device in &devices {
        text.push_str(&line(device));
        if context.args.flag("verbose") {
            text.push_str(&details(device));
        }
    }
    context.print(&text)
}

fn address(d: &PciDevice) -> String {
    let segment = if d.segment == 0 { String::new() } else { format!("{:04x}:", d.segment) };
    format!("{segment}{:02x}:{:02x}.{:x}", d.bus, d.device, d.function)
}

fn line(d: &PciDevice) -> String {
    let class = pci::class_name(d.class, d.subclass)
        .map_or_else(|| format!("Class {:02x}{:02x}", d.class, d.subclass), ToString::to_string);
    let vendor = pci::vendor(d.vendor_id).unwrap_or("Unknown vendor");
    let device = pci::device(d.vendor_id, d.device_id).unwrap_or("Unknown device");
    let revision = if d.revision == 0 { String::new() } else { format!(" (rev {:02x})", d.revision) };
    format!("{} {class}: {vendor} {device} [{:04x}:{:04x}]{revision}\n", address(d), d.vendor_id, d.device_id)
}

fn details(d: &PciDevice) -> String {
    let mut text = String::new();
    if let Some((vendor, id)) = d.subsystem {
        let vendor_name = pci::vendor(vendor).unwrap_or("Unknown vendor");
        let name = pci::subsystem(d.vendor_id, d.device_id, vendor, id).unwrap_or("Unknown subsystem");
        text.push_str(&format!("        Subsystem: {vendor_name} {name} [{vendor:04x}:{id:04x}]\n"));
    }
    for bar in &d.bars {
        let what = match bar.kind {
            PciBarKind::Io => format!("I/O ports at {:04x}", bar.address),
            PciBarKind::Memory32 { prefetchable } => memory(bar, 32, prefetchable),
            PciBarKind::Memory64 { prefetchable } => memory(bar, 64, prefetchable),
        };
        text.push_str(&format!("        BAR {}: {what} [size {}]\n", bar.index, exact_bytes(bar.size)));
    }
    if let Some(interrupt) = d.interrupt {
        let pin = char::from(b'A'.saturating_add(interrupt.pin.saturating_sub(1)));
        text.push_str(&format!("        Interrupt: pin {pin}, line {}\n", interrupt.line));
    }
    if let Some(driver) = d.driver {
        text.push_str(&format!("        Driver: {driver}\n"));
    }
    text
}

fn memory(bar: &PciBar, bits: u8, prefetchable: bool) -> String {
    let kind = if prefetchable { "prefetchable" } else { "non-prefetchable" };
    format!("Memory at {:08x} ({bits}-bit, {kind})", bar.address)
}

fn as_json(o: &mut json::Object<'_>, d: &PciDevice) {
    o.text("address", &address(d)).number("vendor_id", d.vendor_id).number("device_id", d.device_id);
    o.text_or_null("vendor", pci::vendor(d.vendor_id));
    o.text_or_null("device", pci::device(d.vendor_id, d.device_id));
    let code = u32::from_be_bytes([0, d.class, d.subclass, d.interface]);
    o.number("class_code", code).text_or_null("class", pci::class_name(d.class, d.subclass));
    o.number("revision", d.revision);
    match d.subsystem {
        Some((vendor, id)) => o.object("subsystem", |o| {
            o.number("vendor_id", vendor).number("device_id", id);
            o.text_or_null("name", pci::subsystem(d.vendor_id, d.device_id, vendor, id));
        }),
        None => o.null("subsystem"),
    };
    o.objects("bars", &d.bars, |o, bar| {
        let (kind, prefetchable) = match bar.kind {
            PciBarKind::Io => ("io", false),
            PciBarKind::Memory32 { prefetchable } => ("mem32", prefetchable),
            PciBarKind::Memory64 { prefetchable } => ("mem64", prefetchable),
        };
        o.number("index", bar.index).text("kind", kind).number("address", bar.address);
        o.number("size", bar.size).boolean("prefetchable", prefetchable);
    });
    match d.interrupt {
        Some(interrupt) => o.object("interrupt", |o| {
            o.number("pin", interrupt.pin).number("line", interrupt.line);
        }),
        None => o.null("interrupt"),
    };
    o.text_or_null("driver", d.driver);
}
