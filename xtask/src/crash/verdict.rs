//! From alarms and OOMs to the figures of the table.

use super::rivals::Answer;
use super::run::{Run, SECOND};
use ai_insights::crash_predictor::HORIZON_NS;

/// A warning must come this long before.
pub const LEAD_S: f32 = 5.0;
/// An alarm that was raised earlier than this before an OOM did not mean it.
const LOOK_BACK_NS: u64 = 30 * SECOND;

/// Sums over runs.
#[derive(Debug, Clone, Default)]
pub struct Verdict {
    /// OOMs that come later than 5 s after the workload's start (and after the OOM before).
    pub late_ooms: usize,
    /// Those announced at least 5 s before.
    pub late_caught: usize,
    /// All OOMs.
    pub ooms: usize,
    /// Those announced at least 5 s before.
    pub caught: usize,
    /// Those announced at all.
    pub seen: usize,
    /// Runs in which memory never ran out.
    pub calm_runs: usize,
    /// Those with an alarm.
    pub false_alarm_runs: usize,
    /// Seconds from the alarm to the OOM, of those seen.
    pub leads: Vec<f32>,
    brier: f64,
    answers: usize,
}

impl Verdict {
    /// Adds a run's outcome. Returns the leads of its OOMs, and whether it had a false alarm.
    pub fn add(&mut self, run: &Run, answers: &[Answer]) -> (Vec<Option<f32>>, bool) {
        let alarms: Vec<u64> =
            run.samples.iter().zip(answers).filter(|(_, a)| a.alarm).map(|(s, _)| s.t_ns).collect();
        let mut leads = Vec::new();
        let mut before = run.start_ns;
        for &oom in &run.ooms {
            let from = oom.saturating_sub(LOOK_BACK_NS);
            let first =
                alarms.iter().find(|t| **t >= from && **t < oom && (before == run.start_ns || **t > before));
            let lead = first.map(|t| (oom - t) as f32 / 1e9);
            let caught = usize::from(lead.is_some_and(|l| l >= LEAD_S));
            self.ooms += 1;
            self.caught += caught;
            self.seen += usize::from(lead.is_some());
            if run.is_late(oom) {
                self.late_ooms += 1;
                self.late_caught += caught;
            }
            self.leads.extend(lead);
            leads.push(lead);
            before = oom;
        }
        let false_alarm = run.ooms.is_empty() && !alarms.is_empty();
        self.calm_runs += usize::from(run.ooms.is_empty());
        self.false_alarm_runs += usize::from(false_alarm);
        for (sample, answer) in run.samples.iter().zip(answers).filter(|(s, _)| s.t_ns >= run.start_ns) {
            let truth = f64::from(u8::from(run.oom_within(sample.t_ns, HORIZON_NS)));
            self.brier += (f64::from(answer.probability) - truth).powi(2);
            self.answers += 1;
        }
        (leads, false_alarm)
    }

    /// Share of late OOMs announced at least 5 s before.
    pub fn recall(&self) -> f64 {
        self.late_caught as f64 / self.late_ooms.max(1) as f64
    }

    /// Share of calm runs with an alarm.
    pub fn false_alarms(&self) -> f64 {
        self.false_alarm_runs as f64 / self.calm_runs.max(1) as f64
    }

    /// Mean squared error of the probabilities.
    pub fn brier(&self) -> f64 {
        self.brier / self.answers.max(1) as f64
    }

    /// Tenth percentile, median and ninetieth percentile of the leads.
    pub fn lead_quantiles(&self) -> Option<[f32; 3]> {
        let mut leads = self.leads.clone();
        leads.sort_by(f32::total_cmp);
        let at = |share: f64| {
            leads.get(((leads.len().saturating_sub(1)) as f64 * share).round() as usize).copied()
        };
        Some([at(0.1)?, at(0.5)?, at(0.9)?])
    }
}

/// The head of a table of verdicts.
pub fn header() -> String {
    format!(
        "{:<28} {:>16} {:>16} {:>16} {:>16} {:>20} {:>7}",
        "",
        "recall >=5 s",
        "all OOMs >=5 s",
        "seen at all",
        "false-alarm runs",
        "lead p10/p50/p90 s",
        "Brier"
    )
}

/// A row of it.
pub fn row(name: &str, v: &Verdict) -> String {
    let leads = v.lead_quantiles().map_or("-".into(), |[a, b, c]| format!("{a:.1} / {b:.1} / {c:.1}"));
    format!(
        "{:<28} {:>16} {:>16} {:>16} {:>16} {:>20} {:>7.4}",
        name,
        share(v.late_caught, v.late_ooms),
        share(v.caught, v.ooms),
        share(v.seen, v.ooms),
        share(v.false_alarm_runs, v.calm_runs),
        leads,
        v.brier()
    )
}

/// A part of a whole, and the same in percent.
pub fn share(part: usize, of: usize) -> String {
    match of {
        0 => "-".into(),
        of => format!("{part}/{of} {:>5.1} %", 100.0 * part as f64 / of as f64),
    }
}
