//! What the crash predictor's evaluation leans on: workloads from a seed, recordings, holding back.

mod common;

use common::{COMMAND, boot, power_off, without_model};
use serde_json::Value;
use std::time::Duration;
use xtask::qemu::Machine;

/// Bound for a workload of a few seconds.
const WORKLOAD: Duration = Duration::from_secs(120);

fn small() -> Machine {
    Machine { memory: "256M".to_owned(), ..without_model() }
}

fn numbers(row: &Value) -> Vec<i64> {
    row.as_array().unwrap_or_else(|| panic!("{row}")).iter().map(|n| n.as_i64().unwrap()).collect()
}

#[test]
fn a_workload_from_a_seed_is_recorded_sample_by_sample() {
    let (mut guest, _) = boot(&small());
    guest.command("crashctl auto off", COMMAND).unwrap();
    assert!(guest.command("crashctl samples", COMMAND).unwrap().contains("crashctl record on"));
    guest.command("crashctl record on", COMMAND).unwrap();
    let stress =
        guest.json("memctl stress sawtooth --seconds 6 --seed 18446744073709551615 --json", WORKLOAD);
    let stress = stress.unwrap();
    assert_eq!((&stress["end"], &stress["ooms"]), (&"time".into(), &0.into()), "{stress}");
    let stats = guest.json("crashctl stats --json", COMMAND).unwrap();
    let stopped = guest.json("crashctl record off --json", COMMAND).unwrap();
    assert_eq!((&stopped["recording"], &stopped["missed"]), (&false.into(), &0.into()), "{stopped}");

    let recording = guest.json("crashctl samples --json", COMMAND).unwrap();
    assert_eq!(recording["ooms_ns"].as_array().map(Vec::len), Some(0), "{}", recording["ooms_ns"]);
    let rows: Vec<Vec<i64>> = recording["samples"].as_array().unwrap().iter().map(numbers).collect();
    let columns = recording["columns"].as_array().unwrap();
    assert!(rows.iter().all(|row| row.len() == columns.len() && row.len() == 13));
    assert!(rows.windows(2).all(|pair| pair[0][0] < pair[1][0]), "in the order of time");
    // Every 100 ms: at least 5 a second even where the machine is busy.
    assert!(rows.len() > 30 && rows.len() as u64 >= stats["samples"].as_u64().unwrap(), "{stats}");
    assert!(stats["p50_us"].as_f64() <= stats["p99_us"].as_f64(), "{stats}");
    let free = |row: &Vec<i64>| row[2];
    let (least, most) = (rows.iter().map(free).min().unwrap(), rows.iter().map(free).max().unwrap());
    assert!(most - least > 1000, "the workload is seen: {least} to {most} pages free");
    let start = stress["start_ns"].as_i64().unwrap();
    assert!(0 < start && start < rows[rows.len() - 1][0], "{start}");

    // What people see is the same.
    let table = guest.command("crashctl samples", COMMAND).unwrap();
    let lines: Vec<&str> = table.lines().filter(|line| line.split(',').count() == 13).collect();
    assert_eq!(lines.len(), rows.len() + 1, "{}", table.len());
    for (line, row) in lines[1..].iter().zip(&rows) {
        let cells: Vec<String> = row.iter().map(i64::to_string).collect();
        assert_eq!(*line, cells.join(","));
    }
    power_off(guest);
}

#[test]
fn growth_is_held_back_and_only_growth() {
    let (mut guest, _) = boot(&small());
    let said = guest.command("selftest hold-back", WORKLOAD).unwrap();
    assert!(said.contains("passed") && said.contains("pages in 1500 ms"), "{said}");
    let status = guest.json("crashctl status --json", COMMAND).unwrap();
    assert_eq!(status["held_back"]["in_force"], false, "{status}");
    let stats = guest.json("crashctl stats --json", COMMAND).unwrap();
    assert!(stats["guard"]["holds"].as_u64() >= Some(3), "{stats}");
    assert!(stats["guard"]["held_s"].as_f64() > Some(0.5), "{stats}");
    power_off(guest);
}
