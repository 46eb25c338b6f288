//! The scheduler in the booted kernel: faults of the policy that learns, reservations, many threads.

mod common;

use common::{COMMAND, boot, power_off, without_model};
use std::time::Duration;
use xtask::guest::Guest;
use xtask::qemu::Machine;

/// Bound for a self test. Generous: these tests say nothing about speed.
const SELF_TEST: Duration = Duration::from_secs(300);

fn machine(cpus: u32) -> Machine {
    Machine { memory: "512M".to_owned(), cpus, ..without_model() }
}

/// Runs a self test by hand; what it said.
fn passes(guest: &mut Guest, name: &str) -> String {
    let output = guest.command(&format!("selftest {name}"), SELF_TEST).unwrap();
    assert!(output.contains(&format!("selftest {name}: passed")), "{output}");
    output
}

#[test]
fn a_policy_that_breaks_is_contained_and_the_shell_goes_on() {
    for cpus in [1, 2] {
        let (mut guest, _) = boot(&machine(cpus));
        let said = passes(&mut guest, "scheduler-faults");
        assert!(said.contains(&format!("{} faults on {cpus} CPUs", 5 * cpus)), "{said}");
        let log = guest.command("dmesg", COMMAND).unwrap();
        for reason in
            ["panicked", "did not return", "named a task that may not run", "its numbers are not finite"]
        {
            assert!(log.contains(reason), "{reason}: {log}");
        }
        assert!(
            log.contains("contained on CPU 0: panicked: the policy, as a self test has asked it to"),
            "{log}"
        );
        // The shell, threads and the policy itself go on.
        passes(&mut guest, "churn");
        guest.command("schedctl transformer on", COMMAND).unwrap();
        let status = guest.json("schedctl status --json", COMMAND).unwrap();
        assert_eq!((&status["policy"], &status["mode"]), (&"transformer".into(), &"on".into()), "{status}");
        power_off(guest);
    }
}
