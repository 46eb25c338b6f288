//! What the end-to-end tests share: bounds, boots, and damaged models.
#![allow(dead_code, reason = "each test program uses a part of it")]

pub mod damaged;

use std::path::PathBuf;
use std::time::Duration;
use xtask::guest::Guest;
use xtask::kernel_image::{self, Variant};
use xtask::qemu::{Exit, Machine};
use xtask::workspace::{Workspace, created};

/// Bound for a boot. Generous: these tests say nothing about speed.
pub const BOOT: Duration = Duration::from_secs(180);
/// Bound for a command that the model takes part in.
pub const ANSWER: Duration = Duration::from_secs(400);
/// Bound for any other command.
pub const COMMAND: Duration = Duration::from_secs(60);
/// The question whose answer must be the same on every machine.
pub const QUESTION: &str = "slm query \"What is virtual memory?\" --backend neural --max-tokens 10 --json";

/// The standard machine with the default model.
pub fn with_model() -> Machine {
    Machine::boot_kernel(&kernel_image::build(&Variant::with_default_model()).unwrap())
}

/// The standard machine with a kernel that embeds no model.
pub fn without_model() -> Machine {
    Machine::boot_kernel(&kernel_image::build(&Variant::without_model()).unwrap())
}

/// Boots `machine`, alone on this host, to its prompt; the guest and the boot's output.
pub fn boot(machine: &Machine) -> (Guest, String) {
    let mut guest = Guest::start_alone(machine).unwrap();
    let log = guest.wait_for_prompt(BOOT).unwrap();
    (guest, log)
}

/// Types `poweroff` and checks that the machine switches itself off.
pub fn power_off(mut guest: Guest) {
    guest.type_line("poweroff").unwrap();
    assert_eq!(guest.wait_for_exit(COMMAND).unwrap(), Exit::PoweredOff);
}

/// A folder for files that a test makes.
pub fn scratch() -> PathBuf {
    created(Workspace::find().auton_dir().unwrap().join("e2e")).unwrap()
}
