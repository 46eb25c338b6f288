//! Who raises the alarm: the predictor, and the baselines that cost nothing. All see the same samples.

use super::run::{Run, SECOND};
use ai_insights::crash_predictor::{Coefficients, Predictor, Sample};
use std::collections::VecDeque;

/// One who raises alarms.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rival {
    /// The predictor with these coefficients, from a fresh start in each run; it learns of an OOM when it happens.
    Predictor(Coefficients),
    /// Available memory below this share (earlyoom's rule: 10 %).
    FreeBelow(f64),
    /// The straight line (least squares) through the last 5 s meets zero within 20 s.
    Extrapolation,
    /// systemd-oomd's default: pressure "full" over 10 s is at least 60 % for 30 s.
    PressureOomd,
    /// A nervous PSI: "some" over 10 s is at least 10 %.
    PressureSome,
}

/// What a rival said at one sample.
#[derive(Debug, Clone, Copy)]
pub struct Answer {
    /// Probability of an OOM within the horizon; an alarm without one says 0 or 1.
    pub probability: f32,
    /// Whether there is an alarm.
    pub alarm: bool,
}

impl Rival {
    /// A name for tables.
    pub fn name(&self) -> String {
        match self {
            Rival::Predictor(_) => "crash predictor".into(),
            Rival::FreeBelow(share) if *share == 0.10 => "earlyoom (10 % free)".into(),
            Rival::FreeBelow(share) => format!("{:.0} % free", share * 100.0),
            Rival::Extrapolation => "linear, 20 s".into(),
            Rival::PressureOomd => "PSI full 60 %, 30 s (oomd)".into(),
            Rival::PressureSome => "PSI some 10 %, 10 s".into(),
        }
    }

    /// The baselines.
    pub fn baselines() -> [Rival; 5] {
        [
            Rival::FreeBelow(0.10),
            Rival::FreeBelow(0.25),
            Rival::Extrapolation,
            Rival::PressureOomd,
            Rival::PressureSome,
        ]
    }

    /// What it says at every sample of a run.
    pub fn answers(&self, run: &Run) -> Vec<Answer> {
        let sure = |alarm: bool| Answer { probability: f32::from(u8::from(alarm)), alarm };
        match self {
            Rival::Predictor(fit) => predict(run, *fit),
            Rival::FreeBelow(share) => {
                let below = |s: &Sample| available(s) < share * s.total_pages as f64;
                run.samples.iter().map(|s| sure(below(s))).collect()
            }
            Rival::Extrapolation => {
                let mut window = VecDeque::new();
                run.samples.iter().map(|s| sure(meets_zero(&mut window, s))).collect()
            }
            Rival::PressureOomd => pressure(run, |s| s.stall_full_ns, 0.60, 30 * SECOND),
            Rival::PressureSome => pressure(run, |s| s.stall_some_ns, 0.10, 0),
        }
    }
}

fn available(sample: &Sample) -> f64 {
    (sample.free_pages + sample.reclaimable_pages) as f64
}

fn predict(run: &Run, fit: Coefficients) -> Vec<Answer> {
    let mut predictor = Predictor::with(fit);
    let mut ooms = run.ooms.iter().copied().peekable();
    run.samples
        .iter()
        .map(|sample| {
            while let Some(oom) = ooms.next_if(|oom| *oom <= sample.t_ns) {
                predictor.outcome_oom(oom);
            }
            let probability = predictor.sample(*sample).probability;
            Answer { probability, alarm: probability >= predictor.threshold() }
        })
        .collect()
}

/// Least squares over the last 5 s, at least 1 s of them.
fn meets_zero(window: &mut VecDeque<(f64, f64)>, sample: &Sample) -> bool {
    let now = sample.t_ns as f64 / 1e9;
    window.push_back((now, available(sample)));
    while window.front().is_some_and(|(t, _)| now - t > 5.0) {
        window.pop_front();
    }
    if window.front().is_none_or(|(t, _)| now - t < 1.0) {
        return false;
    }
    let n = window.len() as f64;
    let (mut t_mean, mut y_mean) = (0.0, 0.0);
    for (t, y) in window.iter() {
        t_mean += (t - now) / n;
        y_mean += y / n;
    }
    let (mut ty, mut tt) = (0.0, 0.0);
    for (t, y) in window.iter() {
        ty += (t - now - t_mean) * (y - y_mean);
        tt += (t - now - t_mean) * (t - now - t_mean);
    }
    let slope = ty / tt;
    slope < 0.0 && available(sample) / -slope < 20.0
}

/// The exponential average over 10 s, as the kernel's `avg10`.
fn pressure(run: &Run, counter: impl Fn(&Sample) -> u64, limit: f64, duration_ns: u64) -> Vec<Answer> {
    let (mut average, mut since, mut last) = (0.0, None, None::<&Sample>);
    run.samples
        .iter()
        .map(|sample| {
            if let Some(last) = last.filter(|last| last.t_ns < sample.t_ns) {
                let dt = (sample.t_ns - last.t_ns) as f64 / 1e9;
                let share = counter(sample).saturating_sub(counter(last)) as f64 / 1e9 / dt;
                average += (share.min(1.0) - average) * (1.0 - (-dt / 10.0).exp());
            }
            last = Some(sample);
            since = if average >= limit { since.or(Some(sample.t_ns)) } else { None };
            let alarm = since.is_some_and(|t| sample.t_ns - t >= duration_ns);
            Answer { probability: f32::from(u8::from(alarm)), alarm }
        })
        .collect()
}
