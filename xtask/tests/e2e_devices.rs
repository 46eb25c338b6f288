//! What the kernel writes for its host to keep: memory shared with it, and a disk.

mod common;

use common::{COMMAND, boot, power_off, scratch, without_model};
use xtask::qemu::{Exit, Machine};
use xtask::{disk, export_region};

#[test]
fn the_host_reads_what_the_guest_exports_while_it_runs() {
    let path = scratch().join("export.region");
    let _ = std::fs::remove_file(&path);
    let (mut guest, log) = boot(&Machine { export_region: Some(path.clone()), ..without_model() });
    assert!(log.contains("ivshmem: 1024 KiB shared with the host"), "{log}");
    let error = format!("{:#}", export_region::read(&path).unwrap_err());
    assert!(error.contains("nothing was exported"), "{error}");
    let output = guest.command("selftest export", COMMAND).unwrap();
    assert!(output.contains("documents of up to 1048544 bytes"), "{output}");
    assert_eq!(export_region::read(&path).unwrap(), b"selftest export\n");
    power_off(guest);
    // It stays when the machine is gone.
    assert_eq!(export_region::read(&path).unwrap(), b"selftest export\n");
    std::fs::remove_file(path).unwrap();
}

#[test]
fn files_outlast_the_machine_whether_it_is_switched_off_or_killed() {
    let path = scratch().join("disk.img");
    let _ = std::fs::remove_file(&path);
    disk::make(&path, "64M").unwrap();
    let machine = Machine { disk: Some(path.clone()), ..without_model() };
    let (mut guest, log) = boot(&machine);
    assert!(log.contains("virtio: disk of 64 MiB (MSI-X)"), "{log}");
    let output = guest.command("selftest disk", COMMAND).unwrap();
    assert!(output.contains("files of up to 1000000 bytes"), "{output}");
    // Killed: nothing is unmounted, and the journal was not emptied.
    drop(guest);
    disk::check(&path).unwrap();
    assert_eq!(disk::read(&path, "/selftest/last.txt").unwrap(), b"selftest disk\n");
    // A second life on the same disk, which replaces what the first one wrote.
    let (mut guest, _) = boot(&machine);
    let output = guest.command("selftest disk", COMMAND).unwrap();
    assert!(output.contains("files of up to 1000000 bytes"), "{output}");
    guest.type_line("poweroff").unwrap();
    assert_eq!(guest.wait_for_exit(COMMAND).unwrap(), Exit::PoweredOff);
    disk::check(&path).unwrap();
    assert_eq!(disk::read(&path, "/selftest/last.txt").unwrap(), b"selftest disk\n");
    std::fs::remove_file(path).unwrap();
}
