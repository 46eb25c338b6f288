//! The machine that QEMU plays: its command line, and what its exit means.

use crate::control_ports::ControlPorts;
use crate::disk;
use crate::export_region;
use crate::packages;
use crate::qmp::Reason;
use crate::workspace::Workspace;
use anyhow::{Context, Result, bail};
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

/// Exit status after the guest wrote 0x10 to `isa-debug-exit`: QEMU exits with `(code << 1) | 1`.
pub const DEBUG_EXIT_SUCCESS: i32 = (0x10 << 1) | 1;
/// Exit status after the guest wrote 0x20: a panic or a fatal exception under `panic=exit`.
pub const DEBUG_EXIT_FAILURE: i32 = (0x20 << 1) | 1;

/// What the machine starts from.
#[derive(Debug, Clone)]
pub enum Boot {
    /// An ELF by PVH (`-kernel`).
    Kernel(PathBuf),
    /// An ISO under SeaBIOS, or under OVMF where `uefi` is set.
    Iso {
        /// The image.
        image: PathBuf,
        /// UEFI firmware instead of a BIOS.
        uefi: bool,
    },
}

/// A virtual machine. The public fields are QEMU's own terms.
#[derive(Debug, Clone)]
pub struct Machine {
    /// What it boots.
    pub boot: Boot,
    /// `-m`, such as `1G`.
    pub memory: String,
    /// `-smp`.
    pub cpus: u32,
    /// `-cpu`.
    pub cpu_model: String,
    /// The kernel's command line (for an ISO it stands in its `grub.cfg` instead).
    pub append: String,
    /// A GGUF passed as ramdisk. Only [`Boot::Kernel`] can take one.
    pub initrd: Option<PathBuf>,
    /// The control plane's ports.
    pub control: Option<ControlPorts>,
    /// A file that the guest sees as memory and exports documents to.
    pub export_region: Option<PathBuf>,
    /// An image of a disk.
    pub disk: Option<PathBuf>,
    /// The guest's clock counts its instructions, 1 ns each (`-icount`), so that what it measures does not depend on this host. By emulation
    /// only.
    pub instruction_clock: bool,
    /// Let a reset restart the machine instead of ending QEMU.
    pub restart_on_reset: bool,
}

impl Machine {
    /// The machine that `cargo run` starts: 2 CPUs, 1 GiB, every CPU feature that the host can give or emulate.
    pub fn boot_kernel(kernel: &Path) -> Self {
        Self {
            boot: Boot::Kernel(kernel.to_path_buf()),
            memory: "1G".to_owned(),
            cpus: 2,
            cpu_model: "max".to_owned(),
            append: "panic=exit".to_owned(),
            initrd: None,
            control: None,
            export_region: None,
            disk: None,
            instruction_clock: false,
            restart_on_reset: false,
        }
    }

    /// The same machine from an ISO.
    pub fn boot_iso(image: &Path, uefi: bool) -> Self {
        let boot = Boot::Iso { image: image.to_path_buf(), uefi };
        Self { boot, append: String::new(), ..Self::boot_kernel(Path::new("")) }
    }

    /// QEMU's command line for this machine, without serial line and monitor. Installs QEMU where it is missing.
    pub fn command(&self) -> Result<Command> {
        if let (Boot::Iso { .. }, Some(initrd)) = (&self.boot, &self.initrd) {
            bail!(
                "an ISO boots without a ramdisk, so {} would not be used: leave out --iso, or leave out --initrd and \
                 embed the model with AUTON_MODEL=PATH",
                initrd.display()
            );
        }
        packages::ensure(&packages::QEMU)?;
        let mut qemu = Command::new("qemu-system-x86_64");
        let accelerator = if self.instruction_clock { "tcg" } else { accelerator() };
        qemu.args(["-machine", "q35", "-accel", accelerator, "-cpu", &self.cpu_model, "-m", &self.memory]);
        if self.instruction_clock {
            qemu.args(["-icount", "shift=0"]);
        }
        qemu.args(["-smp", &self.cpus.to_string(), "-display", "none"]);
        qemu.args(["-device", "isa-debug-exit,iobase=0xf4,iosize=4"]);
        // An Intel 82574L, so that the machine has a device to ask about. No boot ROM: nothing boots from it.
        qemu.args(["-netdev", "user,id=net0", "-device", "e1000e,netdev=net0,romfile="]);
        if let Some(ports) = &self.control {
            ports.add_to(&mut qemu);
        }
        if let Some(path) = &self.export_region {
            export_region::add_to(&mut qemu, path);
        }
        if let Some(path) = &self.disk {
            disk::add_to(&mut qemu, path);
        }
        if !self.restart_on_reset {
            qemu.arg("-no-reboot");
        }
        match &self.boot {
            Boot::Kernel(kernel) => {
                qemu.arg("-kernel").arg(kernel).args(["-append", &self.append]);
                if let Some(initrd) = &self.initrd {
                    qemu.arg("-initrd").arg(initrd);
                }
            }
            Boot::Iso { image, uefi } => {
                if *uefi {
                    add_uefi_firmware(&mut qemu)?;
                }
                qemu.arg("-cdrom").arg(image);
            }
        }
        Ok(qemu)
    }
}

/// `kvm` where the CPU can virtualise *and* `/dev/kvm` opens, else `tcg`. A `/dev/kvm` without the CPU flags exists
/// on some machines and cannot run ring-0 SSE code.
pub fn accelerator() -> &'static str {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let opens = || std::fs::File::options().read(true).write(true).open("/dev/kvm").is_ok();
    if can_virtualise(&cpuinfo) && opens() { "kvm" } else { "tcg" }
}

fn can_virtualise(cpuinfo: &str) -> bool {
    cpuinfo
        .lines()
        .filter(|line| line.starts_with("flags"))
        .any(|line| line.split_whitespace().any(|flag| flag == "vmx" || flag == "svm"))
}

/// OVMF as flash, with a fresh copy of its variables.
fn add_uefi_firmware(qemu: &mut Command) -> Result<()> {
    packages::ensure(&packages::OVMF)?;
    let [code, vars] = packages::OVMF.files else { unreachable!("OVMF is code and variables") };
    let copy = Workspace::find().auton_dir()?.join("ovmf-vars.fd");
    std::fs::copy(vars, &copy).with_context(|| format!("{vars} cannot be copied to {}", copy.display()))?;
    qemu.arg("-drive").arg(format!("if=pflash,format=raw,unit=0,readonly=on,file={code}"));
    qemu.arg("-drive").arg(format!("if=pflash,format=raw,unit=1,file={}", copy.display()));
    Ok(())
}

/// How a run of QEMU ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// ACPI S5: the guest's `poweroff`.
    PoweredOff,
    /// The machine was reset: the guest's `reboot`, or a triple fault.
    Reset,
    /// The guest ended QEMU through `isa-debug-exit` with success.
    DebugSuccess,
    /// … with failure: it panicked, or took a fatal exception.
    DebugFailure,
    /// The user ended QEMU from its terminal (Ctrl-A X), or a signal did.
    Stopped,
    /// QEMU itself failed; its status, if it had one.
    Failed(Option<i32>),
}

impl Exit {
    /// From QEMU's exit status and the reason for the shutdown that it reported.
    pub fn new(status: ExitStatus, reason: Option<Reason>) -> Self {
        match (status.code(), reason) {
            (Some(DEBUG_EXIT_SUCCESS), _) => Self::DebugSuccess,
            (Some(DEBUG_EXIT_FAILURE), _) => Self::DebugFailure,
            (Some(0), Some(Reason::GuestShutdown)) => Self::PoweredOff,
            (Some(0), Some(Reason::GuestReset)) => Self::Reset,
            (Some(0), _) => Self::Stopped,
            (code, _) => Self::Failed(code),
        }
    }

    /// Whether the guest switched the machine off itself.
    pub fn powered_off(self) -> bool {
        self == Self::PoweredOff
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PoweredOff => write!(f, "the guest powered off"),
            Self::Reset => write!(f, "the machine was reset (a reboot, or a triple fault)"),
            Self::DebugSuccess => write!(f, "the guest reported success (exit status {DEBUG_EXIT_SUCCESS})"),
            Self::DebugFailure => {
                write!(
                    f,
                    "the kernel panicked, took a fatal exception or could not start (exit status {DEBUG_EXIT_FAILURE})"
                )
            }
            Self::Stopped => write!(f, "QEMU was stopped from outside"),
            Self::Failed(Some(code)) => write!(f, "QEMU failed with exit status {code}"),
            Self::Failed(None) => write!(f, "QEMU was killed by a signal"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;

    #[test]
    fn only_a_cpu_with_vmx_or_svm_gets_kvm() {
        assert!(can_virtualise("processor : 0\nflags\t\t: fpu vmx sse2\n"));
        assert!(can_virtualise("flags\t\t: svm"));
        assert!(!can_virtualise("flags\t\t: fpu sse2 avx2\nvmx flags : x"));
    }

    #[test]
    fn exits_are_told_apart() {
        let code = |code: i32| ExitStatus::from_raw(code << 8);
        assert_eq!(Exit::new(code(0), Some(Reason::GuestShutdown)), Exit::PoweredOff);
        assert_eq!(Exit::new(code(0), Some(Reason::GuestReset)), Exit::Reset);
        assert_eq!(Exit::new(code(0), None), Exit::Stopped);
        assert_eq!(Exit::new(code(33), None), Exit::DebugSuccess);
        assert_eq!(Exit::new(code(65), Some(Reason::GuestShutdown)), Exit::DebugFailure);
        assert_eq!(Exit::new(code(1), None), Exit::Failed(Some(1)));
        assert_eq!(Exit::new(ExitStatus::from_raw(9), None), Exit::Failed(None));
    }

    #[test]
    fn an_iso_with_a_ramdisk_is_refused() {
        let iso = Machine::boot_iso(Path::new("auton.iso"), false);
        let error = Machine { initrd: Some("model.gguf".into()), ..iso }.command().unwrap_err().to_string();
        assert!(error.contains("model.gguf") && error.contains("--iso"), "{error}");
    }
}
