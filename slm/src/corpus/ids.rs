//! The PCI and USB ID databases as their packages carry them (`pci.ids`, `usb.ids`).

use std::collections::BTreeMap;

/// The bus of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bus {
    /// PCI.
    Pci,
    /// USB.
    Usb,
}

impl Bus {
    /// As sentences name it.
    pub fn name(self) -> &'static str {
        match self {
            Bus::Pci => "PCI",
            Bus::Usb => "USB",
        }
    }
}

/// A device of a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Its bus.
    pub bus: Bus,
    /// `vvvv:dddd`.
    pub id: String,
    /// The vendor's name.
    pub vendor: String,
    /// The device's name, without its vendor's.
    pub name: String,
    /// How many boards are listed with it.
    pub subsystems: usize,
}

impl Device {
    /// The line of the database for it: `8086:10d3 Intel Corporation 82574L Gigabit Network Connection`.
    pub fn record(&self) -> String {
        format!("{} {} {}", self.id, self.vendor, self.name)
    }

    /// What the kernel says about it (`llm::rules`).
    pub fn answer(&self) -> String {
        format!("{} device {} is the {} {}.", self.bus.name(), self.id, self.vendor, self.name)
    }

    /// The question that [`Self::answer`] completes.
    pub fn question(&self) -> String {
        format!("{} device {} is", self.bus.name(), self.id)
    }
}

/// A database.
#[derive(Debug, Clone, Default)]
pub struct Ids {
    /// Vendors by number: four hexadecimal digits.
    pub vendors: BTreeMap<String, String>,
    /// Devices in the order of the file.
    pub devices: Vec<Device>,
}

/// Reads a database; what is no vendor, device or board (classes, languages, …) is passed over.
pub fn read(text: &str, bus: Bus) -> Ids {
    let mut ids = Ids::default();
    let mut vendor: Option<(String, String)> = None;
    for line in text.lines().filter(|l| !l.starts_with('#') && !l.trim().is_empty()) {
        let entry = line.trim_start_matches('\t');
        match line.len() - entry.len() {
            0 => {
                vendor = numbered(entry);
                if let Some((id, name)) = &vendor {
                    ids.vendors.insert(id.clone(), name.clone());
                }
            }
            1 => {
                if let Some(((vendor_id, vendor), (id, name))) = vendor.as_ref().zip(numbered(entry)) {
                    let device = Device {
                        bus,
                        id: format!("{vendor_id}:{id}"),
                        vendor: vendor.clone(),
                        name,
                        subsystems: 0,
                    };
                    ids.devices.push(device);
                }
            }
            _ => {
                if let Some(device) = ids.devices.last_mut().filter(|_| vendor.is_some()) {
                    device.subsystems += 1;
                }
            }
        }
    }
    ids
}

/// `10d3  Name`: four hexadecimal digits, two spaces, a name.
fn numbered(entry: &str) -> Option<(String, String)> {
    let (id, name) = entry.split_once("  ")?;
    let is_id = id.len() == 4 && id.bytes().all(|b| b.is_ascii_hexdigit());
    (is_id && !name.trim().is_empty()).then(|| (id.to_lowercase(), name.trim().to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vendors_devices_and_boards_are_told_apart() {
        let text = "# comment\n8086  Intel Corporation\n\t10d3  82574L Gigabit Network Connection\n\t\t103c 1785  NC112i\n\
            \t\t8086 a01f  Gigabit CT\n\t10D4  Other\nC 02  Network controller\n\t00  Ethernet controller\n\t\t01  x\n";
        let ids = read(text, Bus::Pci);
        assert_eq!(ids.vendors.len(), 1);
        assert_eq!(ids.devices.len(), 2);
        let nic = &ids.devices[0];
        assert_eq!(nic.subsystems, 2);
        assert_eq!(ids.devices[1].id, "8086:10d4");
        // The kernel's own words.
        assert_eq!(nic.answer(), llm::answer::plan(&nic.question(), &[]).forced());
    }
}
