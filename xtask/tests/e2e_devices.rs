//! What the kernel writes for its host to keep: memory shared with it, and a disk.

mod common;

use common::{COMMAND, boot, power_off, scratch, without_model};
use xtask::export_region;
use xtask::qemu::Machine;

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
