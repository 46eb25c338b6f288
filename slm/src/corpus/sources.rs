//! The pinned list of packages (`slm/corpus/sources.toml`).

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// How the files of a package are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
pub enum Group {
    /// Man pages.
    #[serde(rename = "man")]
    Man,
    /// The kernel's documentation: reStructuredText.
    #[serde(rename = "linux")]
    Linux,
    /// Debian's books, laid out as plain text.
    #[serde(rename = "debian")]
    Debian,
    /// The PCI ID database.
    #[serde(rename = "pci.ids")]
    PciIds,
    /// The USB ID database.
    #[serde(rename = "usb.ids")]
    UsbIds,
}

/// One package of Debian, by version and content.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version, as Debian writes it.
    pub version: String,
    /// Its place below a mirror's root.
    pub path: String,
    /// SHA-256 of the file, hexadecimal.
    pub sha256: String,
    /// Size of the file in bytes.
    pub bytes: u64,
    /// Licences of what is taken from it.
    pub licence: String,
    /// How it is read.
    pub group: Group,
    /// Whether the sample has it.
    #[serde(default, skip_serializing)]
    pub sample: bool,
}

/// The whole list.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sources {
    /// Folders of the kernel's documentation that are taken.
    pub linux_folders: Vec<String>,
    /// The packages.
    #[serde(rename = "package")]
    pub packages: Vec<Package>,
}

impl Sources {
    /// The list that this program was built with.
    pub fn pinned() -> Result<Self> {
        toml::from_str(include_str!("../../corpus/sources.toml"))
            .context("slm/corpus/sources.toml is no list of packages")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_package_is_pinned_and_comes_from_the_archive_that_does_not_move() {
        let sources = Sources::pinned().unwrap();
        assert!(sources.packages.len() > 50);
        for p in &sources.packages {
            assert!(p.sha256.len() == 64 && p.sha256.bytes().all(|b| b.is_ascii_hexdigit()), "{}", p.name);
            assert!(
                p.path.starts_with("pool/") && p.path.ends_with(".deb") && !p.path.contains(".."),
                "{}",
                p.path
            );
            assert!(!p.licence.is_empty() && p.bytes > 0, "{}", p.name);
        }
        for group in [Group::Man, Group::Debian, Group::PciIds, Group::UsbIds] {
            assert!(
                sources.packages.iter().any(|p| p.sample && p.group == group),
                "the sample has no {group:?}"
            );
        }
    }
}
