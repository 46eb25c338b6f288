//! The scheduler's commands in the booted kernel: policies are exchanged while threads run, weights come and go, `top` is drawn and
//! left, and the bench measures, ends at Ctrl-C, and puts back what was there.

mod common;

use common::{COMMAND, boot, power_off, without_model};
use serde_json::Value;
use std::time::Duration;
use xtask::guest::Guest;
use xtask::qemu::Machine;

/// Bound for a bench of a few seconds by the guest's clock.
const BENCH: Duration = Duration::from_secs(180);

fn small() -> Machine {
    Machine { memory: "256M".to_owned(), ..without_model() }
}

fn list<'a>(object: &'a Value, key: &str) -> &'a Vec<Value> {
    object[key].as_array().unwrap_or_else(|| panic!("no list {key:?} in {object}"))
}

fn number(object: &Value, key: &str) -> f64 {
    object[key].as_f64().unwrap_or_else(|| panic!("no number {key:?} in {object}"))
}

fn json(guest: &mut Guest, line: &str) -> Value {
    guest.json(line, COMMAND).unwrap()
}

#[test]
fn policies_are_exchanged_while_threads_run() {
    let (mut guest, _) = boot(&small());
    let boot_status = json(&mut guest, "schedctl status --json");
    let cpus = list(&boot_status, "queues").len();
    assert!(cpus >= 2, "{boot_status}");
    // Threads that compute, sleep and wake each other, all the while.
    guest.command("selftest background-churn", COMMAND).unwrap();
    for policy in ["rr", "mlfq", "eevdf", "transformer", "rr", "transformer"] {
        let status = json(&mut guest, &format!("schedctl policy {policy} --json"));
        assert_eq!(status["policy"], policy, "{status}");
        for queue in list(&status, "queues") {
            assert_eq!(queue["policy"], policy, "{status}");
            assert_eq!(queue["guard"].is_object(), policy == "transformer", "{status}");
        }
    }
    for (mode, rules) in [
        ("off", &["off"][..]),
        ("shadow", &["shadow"]),
        ("on", &["acting", "shadow"]),
        ("auto", &["acting", "shadow"]),
    ] {
        let status = json(&mut guest, &format!("schedctl transformer {mode} --json"));
        assert_eq!(status["mode"], mode, "{status}");
        for queue in list(&status, "queues") {
            let rule = queue["guard"]["rule"].as_str().unwrap_or_default();
            assert!(rules.contains(&rule), "{status}");
        }
    }
    // `on` was asked for, and that is in the history with its reason.
    let history = json(&mut guest, "schedctl history --json");
    let asked = list(&history, "switch_overs").iter().filter(|change| change["reason"] == "asked for");
    assert!(asked.clone().any(|change| change["to"] == "acting"), "{history}");
    assert!(asked.clone().any(|change| change["to"] == "off"), "{history}");

    let stats = json(&mut guest, "schedctl stats --json");
    let of = |policy: &str| {
        let found = list(&stats, "policies").iter().find(|stats| stats["policy"] == policy);
        found.unwrap_or_else(|| panic!("nothing of {policy}: {stats}"))
    };
    for policy in ["eevdf", "rr", "mlfq"] {
        assert!(number(of(policy), "wakeups") > 0.0 && number(of(policy), "decisions") > 0.0, "{stats}");
        assert!(number(of(policy), "decision_p50_ns") <= number(of(policy), "decision_p99_ns"), "{stats}");
    }
    assert_eq!(list(&stats, "transformer").len(), cpus, "{stats}");
    let churned = guest.command("selftest background-churn", COMMAND).unwrap();
    assert!(churned.contains("passed") && !churned.contains("fault"), "{churned}");
    power_off(guest);
}

#[test]
fn weights_are_put_by_and_come_back() {
    let (mut guest, _) = boot(&small());
    // On a slow machine the boot chooses EEVDF.
    guest.command("schedctl policy transformer", COMMAND).unwrap();
    assert!(guest.command("schedctl rollback", COMMAND).unwrap().contains("error: "));
    for version in 1..=3 {
        let saved = json(&mut guest, "schedctl save --json");
        assert_eq!(saved["version"], version, "{saved}");
        assert_eq!(list(&saved, "versions").len(), version, "{saved}");
    }
    // Those in use are put by first, as version 4.
    let loaded = json(&mut guest, "schedctl load 2 --json");
    assert_eq!((&loaded["version"], list(&loaded, "versions").len()), (&2.into(), 4), "{loaded}");
    for version in [4, 3] {
        let back = json(&mut guest, "schedctl transformer rollback --json");
        assert_eq!(back["version"], version, "{back}");
    }
    assert!(guest.command("schedctl load 9", COMMAND).unwrap().contains("there is no version 9"));
    power_off(guest);
}

#[test]
fn top_is_drawn_every_second_and_left() {
    let (mut guest, _) = boot(&small());
    let top = json(&mut guest, "top --json");
    let tasks = list(&top, "tasks");
    let shell =
        tasks.iter().find(|task| task["name"] == "shell").unwrap_or_else(|| panic!("no shell: {top}"));
    let spent = ["run_s", "wait_s", "sleep_s"].map(|key| number(shell, key)).iter().sum::<f64>();
    // All of its life is accounted for, and it did not begin before the machine.
    assert!(spent > 0.0 && spent <= number(&top, "time_s"), "{shell} at {}", top["time_s"]);
    assert!(
        tasks.iter().all(|task| !task["name"].as_str().unwrap_or_default().starts_with("idle/")),
        "{top}"
    );

    guest.type_line("top").unwrap();
    // Three pictures, of which one comes without a key.
    for _ in 0..2 {
        guest.expect("by cpu", COMMAND).unwrap();
    }
    guest.send(b"n").unwrap();
    guest.expect("by name", COMMAND).unwrap();
    guest.send(b"\x1b[C").unwrap();
    guest.expect("by switches", COMMAND).unwrap();
    guest.send(b"q").unwrap();
    guest.wait_for_prompt(COMMAND).unwrap();
    // Ctrl-C leaves it, too, and is not taken for the next command's.
    guest.type_line("top").unwrap();
    guest.expect("by cpu", COMMAND).unwrap();
    guest.send(b"\x03").unwrap();
    guest.wait_for_prompt(COMMAND).unwrap();
    assert!(guest.command("version", COMMAND).unwrap().contains("AUTON"));
    power_off(guest);
}

#[test]
fn a_bench_measures_and_puts_back_what_was_there() {
    let (mut guest, _) = boot(&small());
    let before = json(&mut guest, "schedctl status --json");
    let bench = "schedctl bench --policies rr,transformer --seconds 1 --seed 3 --json";
    let outcome = guest.json(bench, BENCH).unwrap();
    assert_eq!((&outcome["interrupted"], &outcome["seed"]), (&false.into(), &3.into()), "{outcome}");
    let workloads: Vec<&str> =
        list(&outcome, "workloads").iter().filter_map(|table| table["workload"].as_str()).collect();
    assert_eq!(workloads, ["mixed", "schbench", "hackbench", "bursts"]);
    for table in list(&outcome, "workloads") {
        let policies: Vec<&str> =
            list(table, "policies").iter().filter_map(|row| row["policy"].as_str()).collect();
        assert_eq!(policies, ["rr", "transformer"], "{table}");
        for row in list(table, "policies") {
            figures_are_possible(row);
        }
        let completes = ["mixed", "hackbench"].contains(&table["workload"].as_str().unwrap_or_default());
        assert!(
            list(table, "policies").iter().all(|row| row["completion_ms"].is_number() == completes),
            "{table}"
        );
    }
    let after = json(&mut guest, "schedctl status --json");
    assert_eq!((&after["policy"], &after["mode"]), (&before["policy"], &before["mode"]), "{after}");

    // The next one is ended while it goes on, with another policy in force before.
    guest.command("schedctl policy mlfq", COMMAND).unwrap();
    guest.type_line("schedctl bench mixed --policies eevdf --seconds 60").unwrap();
    guest.expect("mixed under eevdf", BENCH).unwrap();
    guest.send(b"\x03").unwrap();
    guest.expect("Ended early", COMMAND).unwrap();
    guest.wait_for_prompt(COMMAND).unwrap();
    assert_eq!(json(&mut guest, "schedctl status --json")["policy"], "mlfq");
    // Its threads are gone.
    let names: Vec<String> = list(&json(&mut guest, "ps --json"), "tasks")
        .iter()
        .filter_map(|task| task["name"].as_str().map(str::to_owned))
        .collect();
    for gone in ["browser", "consumer", "arrivals", "cc"] {
        assert!(!names.iter().any(|name| name == gone), "{names:?}");
    }
    let unknown = guest.command("schedctl bench juggling", COMMAND).unwrap();
    assert!(unknown.contains("there is no workload `juggling`"), "{unknown}");
    power_off(guest);
}

/// A row's figures fit each other.
fn figures_are_possible(row: &Value) {
    assert!(number(row, "bursts") > 0.0 && number(row, "runs") == 1.0, "{row}");
    assert!(number(row, "mean_ms") > 0.0 && number(row, "p99_ms") > 0.0, "{row}");
    assert!(number(row, "slowdown") >= 1.0 && number(row, "switches_per_burst") > 0.0, "{row}");
    assert!((0.0..=1.0).contains(&number(row, "jain")), "{row}");
    assert!((0.0..=1.0).contains(&number(row, "utilisation")) && number(row, "speed") > 0.0, "{row}");
    if row["policy"] == "transformer" {
        assert!((0.0..=1.0).contains(&number(row, "acted")), "{row}");
    }
}
