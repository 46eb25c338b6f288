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

#[test]
fn reservations_hold_beside_hostile_threads() {
    let (mut guest, _) = boot(&machine(2));
    let said = guest.command("selftest reservation", SELF_TEST).unwrap();
    // A wrong share fails. A host that takes the virtual CPUs away all the time lets nothing be measured: that is said, and no more.
    match said.contains("nothing can be said") {
        true => eprintln!("not measured: {said}"),
        false => assert!(said.contains("selftest reservation: passed"), "{said}"),
    }
    assert!(said.contains("95000000 ns / 100000000 ns = 95.000 %, and"), "{said}");
    let edf = passes(&mut guest, "edf");
    assert!(edf.contains("is above the limit of 95.000 %"), "{edf}");
    power_off(guest);
}

#[test]
fn a_thousand_threads_move_and_end() {
    let (mut guest, _) = boot(&machine(4));
    for policy in ["eevdf", "transformer"] {
        guest.command(&format!("schedctl policy {policy}"), COMMAND).unwrap();
        let said = passes(&mut guest, "threads-1000");
        assert!(said.contains("1000 threads ended"), "{said}");
    }
    let status = guest.json("schedctl status --json", COMMAND).unwrap();
    let queues = status["queues"].as_array().unwrap();
    assert!(queues.iter().any(|queue| queue["steals"].as_u64() > Some(0)), "{status}");
    power_off(guest);
}

#[test]
fn what_a_switch_costs_is_printed_for_every_policy() {
    let (mut guest, _) = boot(&machine(2));
    let said = passes(&mut guest, "switch-cost");
    for what in ["bare", "rr", "eevdf", "transformer in shadow", "transformer on", "guard acting"] {
        let rest = said.split(&format!(" {what} ")).nth(1).unwrap_or_else(|| panic!("no {what}: {said}"));
        let number: String = rest.chars().take_while(char::is_ascii_digit).collect();
        assert!(number.parse::<u64>().unwrap() > 0, "{what}: {said}");
    }
    power_off(guest);
}
