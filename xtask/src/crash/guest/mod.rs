//! Leg (c): the booted kernel under `memctl stress <family>`, with the predictor watching, and then acting.
//!
//! Each run has a boot of its own, so that what the kernel learned in one does not help it in the next. The kernel keeps
//! the predictor's score itself. The baselines see what the workload prints once a second: the free memory. (It does not
//! print stalls, so those that go by pressure are left out.) Workloads with a random part draw anew in each run.

use super::fit;
use super::rivals::Rival;
use super::run::{Run, SECOND};
use super::verdict::{self, LEAD_S, Verdict};
use crate::guest::Guest;
use crate::kernel_image::{self, Variant};
use crate::qemu::Machine;
use ai_insights::crash_predictor::Sample;
use anyhow::{Context, Result};
use serde_json::Value;
use std::time::Duration;

/// What `memctl stress` offers, and the same family's name in leg (a), by which families are for training or not.
const FAMILIES: [(&str, &str); 7] = [
    ("leak", "leak"),
    ("forks", "fork-storm"),
    ("fragments", "fragmentation"),
    ("burst", "burst"),
    ("cache", "cache-growth"),
    ("sawtooth", "sawtooth"),
    ("plateau", "plateau"),
];
/// Those that can run out of memory: again, with the guard acting.
const CRASHING: [&str; 4] = ["leak", "forks", "fragments", "burst"];
const MEMORY: &str = "256M";
const SECONDS: u64 = 45;
/// Bound for a command that has nothing to wait for.
const COMMAND: Duration = Duration::from_secs(60);
/// In this time every alarm is resolved: more than the horizon.
const RESOLVED: Duration = Duration::from_secs(40);
const PAGE: f64 = 4096.0;

/// What a run told.
struct Outcome {
    /// What the baselines see, and when memory ran out.
    run: Run,
    end: String,
    seconds: f64,
    /// The kernel's score, all alarms resolved.
    stats: Value,
    records: Vec<Value>,
}

/// Runs each family with the guard off, and those that crash with the guard on; prints both.
pub fn eval() -> Result<()> {
    let kernel = kernel_image::build(&Variant::without_model())?;
    let machine = Machine { memory: MEMORY.to_owned(), ..Machine::boot_kernel(&kernel) };
    println!("{MEMORY}, a boot for each run of at most {SECONDS} s\n\n{}", head());
    let (mut watched, mut guarded) = (Vec::new(), Vec::new());
    for (family, _) in FAMILIES {
        let Some(outcome) = one(&machine, family, "off")? else {
            println!("skipped: no memctl in this kernel");
            return Ok(());
        };
        println!("{}", line("off", &outcome));
        watched.push(outcome);
    }
    for family in CRASHING {
        let Some(outcome) = one(&machine, family, "on")? else { break };
        println!("{}", line("on", &outcome));
        guarded.push(outcome);
    }
    for training in [false, true] {
        let of = |outcome: &&Outcome| is_training(&outcome.run.family) == training;
        let (watched, guarded): (Vec<_>, Vec<_>) =
            (watched.iter().filter(of).collect(), guarded.iter().filter(of).collect());
        let names: Vec<&str> = watched.iter().map(|outcome| outcome.run.family.as_str()).collect();
        let what = if training { "families that the fit has seen" } else { "test families" };
        println!("\n{what}: {}; guard off, the baselines see one sample a second", names.join(", "));
        table(&watched);
        prevention(&watched, &guarded);
    }
    Ok(())
}

fn is_training(family: &str) -> bool {
    FAMILIES.iter().any(|(name, simulated)| *name == family && fit::is_training(simulated))
}

fn table(watched: &[&Outcome]) {
    println!("{}", verdict::header());
    println!("{}", predictor(watched));
    let baselines = Rival::baselines();
    for rival in baselines.iter().filter(|r| !matches!(r, Rival::PressureOomd | Rival::PressureSome)) {
        let mut verdict = Verdict::default();
        for outcome in watched {
            verdict.add(&outcome.run, &rival.answers(&outcome.run));
        }
        println!("{}", verdict::row(&rival.name(), &verdict));
    }
}

/// Of the families whose OOM was announced with the guard off: those in which the guard acted, and memory lasted. (A random
/// workload that happens to fit the second time, without an action, is no success.)
fn prevention(watched: &[&Outcome], guarded: &[&Outcome]) {
    let announced = |outcome: &Outcome| {
        watched.iter().any(|w| w.run.family == outcome.run.family && w.count("true_positives") > 0)
    };
    let predicted: Vec<_> = guarded.iter().filter(|outcome| announced(outcome)).collect();
    let lasted = |outcome: &Outcome| outcome.run.ooms.is_empty() && outcome.end == "time";
    let prevented = predicted.iter().filter(|outcome| lasted(outcome) && outcome.actions() > 0.0).count();
    let unasked = predicted.iter().filter(|outcome| lasted(outcome) && outcome.actions() == 0.0).count();
    println!(
        "acting: {prevented} of {} predicted OOMs prevented, nothing killed; {unasked} did not come again, without an action",
        predicted.len()
    );
}

/// Boots and runs a family. `None` when this kernel has no such commands.
fn one(machine: &Machine, family: &str, auto: &str) -> Result<Option<Outcome>> {
    let mut guest = Guest::start_alone(machine)?;
    guest.wait_for_prompt(Duration::from_secs(120))?;
    let help = guest.command("help", COMMAND)?;
    if !help.contains("memctl") || !help.contains("crashctl") {
        return Ok(None);
    }
    let status = guest.json(&format!("crashctl auto {auto} --json"), COMMAND)?;
    let total = number(&status, "total_pages") as u64;
    let ooms_before = number(&guest.json("memctl status --json", COMMAND)?, "ooms");
    let stress = format!("memctl stress {family} --seconds {SECONDS}");
    let text = guest.command(&stress, Duration::from_secs(SECONDS * 4 + 60))?;
    let (end, seconds) = ending(&text).with_context(|| format!("`{stress}` printed:\n{text}"))?;
    let ooms = number(&guest.json("memctl status --json", COMMAND)?, "ooms") - ooms_before;
    let stats = resolved(&mut guest)?;
    let history = guest.json("crashctl history --json", COMMAND)?;
    let records = history["records"].as_array().cloned().unwrap_or_default();
    guest.type_line("poweroff")?;
    guest.wait_for_exit(COMMAND)?;
    let run = Run {
        family: family.to_owned(),
        simulated: false,
        name: format!("{family} {auto}"),
        samples: samples(&text, total, family == "cache"),
        start_ns: 0,
        // A run ends with its first: the workload is what is ended.
        ooms: if ooms > 0.0 { vec![(seconds * SECOND as f64) as u64] } else { Vec::new() },
    };
    Ok(Some(Outcome { run, end, seconds, stats, records }))
}

/// The kernel's score once no alarm waits for its outcome any more.
fn resolved(guest: &mut Guest) -> Result<Value> {
    let start = std::time::Instant::now();
    loop {
        let stats = guest.json("crashctl stats --json", COMMAND)?;
        if number(&stats, "pending") == 0.0 || start.elapsed() > RESOLVED {
            return Ok(stats);
        }
        std::thread::sleep(Duration::from_secs(2));
    }
}

/// `… ended by time after 45.1 s; …`
fn ending(text: &str) -> Option<(String, f64)> {
    let (end, rest) = text.rsplit_once("ended by ")?.1.split_once(" after ")?;
    Some((end.to_owned(), rest.split_once(" s;")?.0.parse().ok()?))
}

/// From `  3.0 s  holds   12.5 MiB  free  200.0 MiB `, again and again.
fn samples(text: &str, total_pages: u64, reclaimable: bool) -> Vec<Sample> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let of = |words: &[&str]| {
        let [seconds, "s", "holds", held, held_unit, "free", free, free_unit] = words else { return None };
        let held = pages(held, held_unit)?;
        Some(Sample {
            t_ns: (seconds.parse::<f64>().ok()? * SECOND as f64) as u64,
            total_pages,
            free_pages: pages(free, free_unit)?,
            // The only workload whose memory reclaim can take.
            reclaimable_pages: if reclaimable { held } else { 0 },
            largest_free_order: 0,
            fragmentation: 0,
            allocated_pages: 0,
            freed_pages: 0,
            failures: 0,
            reclaimed_pages: 0,
            reclaim_attempts: 0,
            stall_some_ns: 0,
            stall_full_ns: 0,
        })
    };
    words.windows(8).filter_map(of).collect()
}

fn pages(number: &str, unit: &str) -> Option<u64> {
    let scale = match unit {
        "B" => 1.0,
        "KiB" => 1024.0,
        "MiB" => 1_048_576.0,
        "GiB" => 1_073_741_824.0,
        _ => return None,
    };
    Some((number.parse::<f64>().ok()? * scale / PAGE) as u64)
}

impl Outcome {
    fn count(&self, key: &str) -> u64 {
        number(&self.stats, key) as u64
    }

    fn actions(&self) -> f64 {
        number(&self.stats["guard"], "actions")
    }

    /// Seconds from the alarm to the OOM, of the alarms that were right.
    fn leads(&self) -> Vec<f32> {
        let right = self.records.iter().filter(|record| record["outcome"] == "true positive");
        right.map(|record| number(record, "lead_s") as f32).collect()
    }
}

fn head() -> String {
    format!(
        "{:<10} {:>5} {:>8} {:>6} {:>5} {:>6} {:>6} {:>6} {:>8} {:>7} {:>7} {:>8} {:>9}",
        "family",
        "auto",
        "ended by",
        "s",
        "OOMs",
        "right",
        "false",
        "missed",
        "averted",
        "lead s",
        "Brier",
        "actions",
        "slowest us"
    )
}

fn line(auto: &str, outcome: &Outcome) -> String {
    let family = &outcome.run.family;
    let lead = outcome.leads().into_iter().reduce(f32::max);
    format!(
        "{family:<10} {auto:>5} {:>8} {:>6.1} {:>5} {:>6} {:>6} {:>6} {:>8} {:>7} {:>7.4} {:>8} {:>9.0}",
        outcome.end,
        outcome.seconds,
        outcome.run.ooms.len(),
        outcome.count("true_positives"),
        outcome.count("false_positives"),
        outcome.count("misses"),
        outcome.count("averted"),
        lead.map_or("-".into(), |lead| format!("{lead:.1}")),
        number(&outcome.stats, "brier"),
        outcome.actions(),
        number(&outcome.stats, "slowest_us"),
    )
}

/// The predictor's row, from the kernel's own records.
fn predictor(outcomes: &[&Outcome]) -> String {
    let mut verdict = Verdict::default();
    let (mut squared, mut resolved) = (0.0, 0.0);
    for outcome in outcomes {
        let leads = outcome.leads();
        for oom in &outcome.run.ooms {
            let caught = usize::from(leads.iter().any(|lead| *lead >= LEAD_S));
            let late = outcome.run.is_late(*oom);
            verdict.ooms += 1;
            verdict.caught += caught;
            verdict.seen += usize::from(!leads.is_empty());
            verdict.late_ooms += usize::from(late);
            verdict.late_caught += if late { caught } else { 0 };
        }
        if outcome.run.ooms.is_empty() {
            verdict.calm_runs += 1;
            verdict.false_alarm_runs += usize::from(outcome.count("false_positives") > 0);
        }
        verdict.leads.extend(leads);
        squared += number(&outcome.stats, "brier") * number(&outcome.stats, "resolved");
        resolved += number(&outcome.stats, "resolved");
    }
    // The last column is made from probabilities, which stayed in the kernel; it has its own sum of their errors.
    let row = verdict::row("crash predictor", &verdict);
    let kept = row.rfind(' ').unwrap_or(row.len());
    format!("{} {:.4}", &row[..kept], squared / f64::max(resolved, 1.0))
}

fn number(object: &Value, key: &str) -> f64 {
    object.get(key).and_then(Value::as_f64).unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workloads_output_is_read() {
        let text = "  1.0 s  holds    7.0 MiB  free  220.0 MiB   2.0 s  holds   14.0 MiB  free  213.0 MiB \n\
                    leak: ended by killed after 33.1 s; held 220.4 MiB at the most; 1 allocations refused, \
                    out of memory 1 times.\n";
        assert_eq!(ending(text), Some(("killed".to_owned(), 33.1)));
        let samples = samples(text, 65_536, false);
        assert_eq!(samples.iter().map(|s| s.t_ns / SECOND).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(samples[1].free_pages, 213 * 256);
        assert_eq!(ending("memctl: no such family"), None);
    }
}
