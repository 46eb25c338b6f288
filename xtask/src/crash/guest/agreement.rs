//! Does the kernel's predictor say what the host's says of the same samples? Both are the same code, so every difference is a
//! sample or an OOM that one of them did not see, or saw at another time.

use super::boot::Recorded;
use ai_insights::crash_predictor::{Predictor, Score};
use serde_json::Value;

/// What differs, in words; nothing where they agree.
pub fn differences(recorded: &Recorded) -> Vec<String> {
    let seen = recorded.stats["samples"].as_u64().unwrap_or(0) as usize;
    let mut predictor = Predictor::new();
    let mut ooms = recorded.recording.ooms_ns.iter().copied().peekable();
    let mut differences = Vec::new();
    for (taken, sample) in (1..).zip(&recorded.recording.samples) {
        while let Some(oom) = ooms.next_if(|oom| *oom <= sample.t_ns) {
            predictor.outcome_oom(oom);
        }
        predictor.sample(*sample);
        if taken == seen {
            differences = scores(&recorded.stats, &predictor.score());
        }
    }
    let taken = recorded.recording.samples.len();
    if !(1..=taken).contains(&seen) {
        differences.push(format!("{seen} samples in the kernel, {taken} in the recording"));
    }
    let raised = |record: &Value| (record["raised_s"].as_f64().unwrap_or(-1.0) * 1000.0).round() as u64;
    let ours: Vec<u64> = predictor.history().map(|record| (record.raised_ns + 500_000) / 1_000_000).collect();
    for record in &recorded.history {
        if !ours.contains(&raised(record)) {
            differences.push(format!("alarm at {} ms in the kernel only", raised(record)));
        }
    }
    differences
}

fn scores(stats: &Value, ours: &Score) -> Vec<String> {
    let counts = [
        ("true_positives", ours.true_positives),
        ("false_positives", ours.false_positives),
        ("misses", ours.misses),
        ("averted", ours.averted),
        ("pending", ours.pending),
        ("resolved", ours.resolved),
    ];
    let mut differences = Vec::new();
    for (name, host) in counts {
        let kernel = &stats[name];
        if kernel.as_u64() != Some(host) {
            differences.push(format!("{name}: kernel {kernel}, host {host}"));
        }
    }
    for (name, host) in [("brier", ours.brier), ("mean_lead_s", ours.mean_lead_s)] {
        let kernel = stats[name].as_f64();
        let alike = match (kernel, host) {
            // Printed with three decimals.
            (Some(kernel), Some(host)) => (kernel - f64::from(host)).abs() < 1e-3,
            (None, None) => true,
            _ => false,
        };
        if !alike {
            differences.push(format!("{name}: kernel {kernel:?}, host {host:?}"));
        }
    }
    differences
}
