//! One run: a boot of its own, so that what the kernel learned in one run does not help it in the next.

use super::recording::{self, Recording};
use crate::guest::Guest;
use crate::qemu::Machine;
use ai_insights::crash_predictor::Sample;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

/// Bound for a boot.
const BOOT: Duration = Duration::from_secs(180);
/// Bound for a command that has nothing to wait for.
const COMMAND: Duration = Duration::from_secs(90);
/// The machine is watched this long before the workload begins.
const IDLE: Duration = Duration::from_secs(2);

/// What is to be run.
#[derive(Debug, Clone)]
pub struct Task {
    /// As `memctl stress` calls it.
    pub family: &'static str,
    /// What its parameters are drawn from.
    pub seed: u64,
    /// Whether the guard acts.
    pub guarded: bool,
    /// Seconds that the workload lasts at most.
    pub seconds: u64,
}

/// A recording, and what the kernel's own predictor said at its end.
pub struct Recorded {
    /// What was seen.
    pub recording: Recording,
    /// `crashctl stats --json`, before the recording was stopped.
    pub stats: Value,
    /// `crashctl history --json`, after that.
    pub history: Vec<Value>,
}

/// Boots the machine and runs it.
pub fn record(machine: &Machine, task: &Task) -> Result<Recorded> {
    let mut guest = Guest::start(machine)?;
    guest.wait_for_prompt(BOOT)?;
    guest.command(if task.guarded { "crashctl auto on" } else { "crashctl auto off" }, COMMAND)?;
    let started = guest.json("crashctl record on --json", COMMAND)?;
    ensure!(started["recording"] == true, "the kernel does not record: {started}");
    std::thread::sleep(IDLE);
    let stress =
        format!("memctl stress {} --seconds {} --seed {} --json", task.family, task.seconds, task.seed);
    let outcome = guest.json(&stress, Duration::from_secs(task.seconds * 4 + 60))?;
    let stats = guest.json("crashctl stats --json", COMMAND)?;
    let history = guest.json("crashctl history --json", COMMAND)?;
    guest.command("crashctl record off", COMMAND)?;
    let recorded = guest.json("crashctl samples --json", COMMAND)?;
    guest.type_line("poweroff")?;
    guest.wait_for_exit(COMMAND)?;
    let (samples, ooms_ns) = parse(&recorded).with_context(|| format!("`{stress}` left no recording"))?;
    let start_ns = outcome["start_ns"].as_u64().with_context(|| format!("no start in {outcome}"))?;
    let seconds = outcome["seconds"].as_f64().with_context(|| format!("no time in {outcome}"))?;
    Ok(Recorded {
        recording: Recording {
            family: task.family.to_owned(),
            seed: task.seed,
            guarded: task.guarded,
            start_ns,
            end_ns: start_ns + (seconds.max(0.0) * 1e9) as u64,
            end: outcome["end"].as_str().unwrap_or("unknown").to_owned(),
            ooms_ns,
            facts: facts(&stats),
            samples,
        },
        stats,
        history: history["records"].as_array().cloned().unwrap_or_default(),
    })
}

/// The numbers of the statistics that the tables need.
fn facts(stats: &Value) -> BTreeMap<String, f64> {
    let of = |object: &Value, names: &[&str]| -> Vec<(String, f64)> {
        let number = |name: &&str| Some(((*name).to_owned(), object.get(name)?.as_f64()?));
        names.iter().filter_map(number).collect()
    };
    let mut facts = of(stats, &["mean_us", "p50_us", "p99_us", "slowest_us"]);
    facts.extend(of(
        &stats["guard"],
        &["actions", "reclaims", "compactions", "holds", "held_s", "pages", "watchdog", "over_budget"],
    ));
    facts.into_iter().collect()
}

/// From `crashctl samples --json`.
fn parse(recorded: &Value) -> Result<(Vec<Sample>, Vec<u64>)> {
    ensure!(recorded["missed"].as_u64() == Some(0), "samples are missing: {}", recorded["missed"]);
    let list = |name: &str| recorded[name].as_array().with_context(|| format!("there is no list {name}"));
    let columns: Vec<&str> = list("columns")?.iter().filter_map(Value::as_str).collect();
    let numbers = |row: &Value| -> Option<Vec<i64>> { row.as_array()?.iter().map(Value::as_i64).collect() };
    let rows: Option<Vec<Vec<i64>>> = list("samples")?.iter().map(numbers).collect();
    let ooms: Option<Vec<u64>> = list("ooms_ns")?.iter().map(Value::as_u64).collect();
    let samples = recording::samples(&columns, &rows.context("a sample is not made of numbers")?)?;
    Ok((samples, ooms.context("ooms_ns are not numbers")?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_the_kernel_prints_is_read() {
        let row = [100, 64000, 5000, 9, -1000, 7, 6, 5, 4, 3, 2, 1, 0];
        let good = json!({"missed": 0, "ooms_ns": [70], "columns": Sample::COLUMNS, "samples": [row]});
        let (samples, ooms) = parse(&good).unwrap();
        assert_eq!((samples.len(), ooms), (1, vec![70]));
        assert_eq!(
            (samples[0].free_pages, samples[0].fragmentation, samples[0].stall_some_ns),
            (5000, -1000, 1)
        );
        for (key, value) in [
            ("missed", json!(3)),
            ("missed", json!("none")),
            ("ooms_ns", json!([-1])),
            ("ooms_ns", json!(null)),
            ("columns", json!(["t_ns"])),
            ("samples", json!([["a"]])),
            ("samples", json!([[1, 2]])),
            ("samples", json!([row, row])),
            ("samples", json!({})),
        ] {
            let mut bad = good.clone();
            bad[key] = value;
            assert!(parse(&bad).is_err(), "{bad}");
        }
    }
}
