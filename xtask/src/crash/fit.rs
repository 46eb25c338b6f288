//! Fitting the predictor: moments from runs, leave-one-family-out cross-validation, calibration, the threshold, the time quantiles.

use super::boost::{self, Bag};
use super::rivals::{Answer, Rival};
use super::run::{Run, SECOND};
use super::verdict::{self, Verdict};
use ai_insights::crash_predictor::{
    Coefficients, FEATURES, FITTED, HORIZON_NS, NAMES, NEVER, Predictor, Tree, Values, score,
};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::ops::Neg;

/// A warning must come this long before; a moment more, for the samples are not exact.
const LEAD_NS: u64 = 5 * SECOND + SECOND / 5;
/// Alarms that come earlier than this before an OOM are not asked for.
const EARLIEST_NS: u64 = 13 * SECOND;
/// False alarms weigh this much more than misses.
const CALM_WEIGHT: f64 = 1.2;
/// Both kinds of machine, and both outcomes, have this weight in all.
const WEIGHT: f64 = 100.0;

/// The simulated families that the fit may see: every second one in the order of the issue, and two that are there for learning
/// alone. Recorded stressors are all learned from, and judged by fits without them.
pub fn is_training(family: &str) -> bool {
    ["leak", "cache-growth", "burst", "plateau", "sessions", "backlog"].contains(&family)
}

/// A run as the fit sees it.
pub struct Prepared<'r> {
    /// The run.
    pub run: &'r Run,
    moments: Vec<Moment>,
}

struct Moment {
    t_ns: u64,
    features: Values,
}

/// Features of every sample since the workload's start.
pub fn prepare(run: &Run) -> Prepared<'_> {
    let mut predictor = Predictor::new();
    let mut moments = Vec::with_capacity(run.samples.len());
    for sample in &run.samples {
        predictor.sample(*sample);
        if sample.t_ns >= run.start_ns {
            moments.push(Moment { t_ns: sample.t_ns, features: *predictor.features() });
        }
    }
    Prepared { run, moments }
}

impl Prepared<'_> {
    /// The time before each OOM that can be announced, and the time in which there should be no alarm.
    fn bags(&self) -> Vec<Bag> {
        let ooms = &self.run.ooms;
        // Neighbours are alike, and simulated runs are many.
        let stride = if self.run.simulated { 2 } else { 1 };
        let bag = |from: u64, to: u64, stride: usize| {
            let here = self.moments.iter().filter(|m| (from..=to).contains(&m.t_ns));
            here.step_by(stride).map(|m| m.features).collect::<Vec<_>>()
        };
        let (Some(first), Some(last)) = (ooms.first(), ooms.last()) else {
            return vec![Bag { moments: bag(0, u64::MAX, stride), happened: false, weight: 1.0 }];
        };
        let mut bags = Vec::new();
        let mut before = self.run.start_ns;
        for oom in ooms {
            if self.run.is_late(*oom) {
                let moments =
                    bag(oom.saturating_sub(EARLIEST_NS).max(before), oom.saturating_sub(LEAD_NS), 1);
                bags.push(Bag { moments, happened: true, weight: 1.0 });
            }
            before = *oom;
        }
        // What lies farther off than the horizon is no matter for an alarm yet. What is left of a run that had its OOM says less
        // than a run that never had one.
        for moments in [
            bag(0, first.saturating_sub(HORIZON_NS + 2 * SECOND), stride),
            bag(last + 6 * SECOND, u64::MAX, 1),
        ] {
            if moments.len() > 30 {
                bags.push(Bag { moments, happened: false, weight: 0.25 });
            }
        }
        bags.retain(|bag| !bag.moments.is_empty());
        bags
    }
}

/// Fits trees to runs. Simulated runs are many and recorded ones few: both kinds count alike, and so do both outcomes.
fn trees(runs: &[&Prepared]) -> Vec<Tree> {
    let mut all = Vec::new();
    for simulated in [true, false] {
        let mut bags: Vec<Bag> =
            runs.iter().filter(|r| r.run.simulated == simulated).flat_map(|r| r.bags()).collect();
        for happened in [true, false] {
            let total: f64 = bags.iter().filter(|b| b.happened == happened).map(|b| b.weight).sum();
            let scale = WEIGHT * if happened { 1.0 } else { CALM_WEIGHT } / total.max(1e-9);
            bags.iter_mut().filter(|b| b.happened == happened).for_each(|b| b.weight *= scale);
        }
        all.extend(bags);
    }
    boost::fit(&all)
}

/// Each family with a fit that was made without it, all calibrated alike.
pub struct LeftOut {
    /// The fits; their threshold is the committed one.
    pub fits: BTreeMap<String, Coefficients>,
    scale: f32,
    bias: f32,
    base_rate: f32,
}

/// Fits without each family in turn.
pub fn leave_one_out(runs: &[Prepared]) -> LeftOut {
    let families: BTreeSet<&str> = runs.iter().map(|r| r.run.family.as_str()).collect();
    let trees: BTreeMap<String, Vec<Tree>> = families
        .into_iter()
        .map(|family| {
            let others: Vec<&Prepared> = runs.iter().filter(|r| r.run.family != family).collect();
            (family.to_owned(), trees(&others))
        })
        .collect();
    let (scale, bias, base_rate) = calibrate(runs, &trees);
    let mut left_out = LeftOut { fits: BTreeMap::new(), scale, bias, base_rate };
    left_out.fits =
        trees.iter().map(|(family, trees)| (family.clone(), left_out.calibrated(trees))).collect();
    left_out
}

impl LeftOut {
    fn calibrated(&self, trees: &[Tree]) -> Coefficients {
        Coefficients {
            bias: self.bias,
            base_rate: self.base_rate,
            trees: keep(scaled(trees, self.scale)),
            ..FITTED
        }
    }
}

/// A fit that lives as long as the program: coefficients are constants wherever else they occur.
fn keep(trees: Vec<Tree>) -> &'static [Tree] {
    Box::leak(trees.into_boxed_slice())
}

/// Fits everything, and says how it chose.
pub fn fit(runs: &[Run]) -> (Coefficients, Vec<String>) {
    let prepared: Vec<Prepared> = runs.iter().map(prepare).collect();
    let left_out = leave_one_out(&prepared);
    let fits = &left_out.fits;
    let mut log = thresholds(runs, fits);
    // Not chosen: the trees were fitted to have runs with an OOM above 0 and all others below, and this is what 0 means.
    let threshold = 1.0 / (1.0 + (-left_out.bias).exp());
    let mut by_family: BTreeMap<&str, Verdict> = BTreeMap::new();
    for run in runs {
        let fit = Coefficients { threshold, ..fits[run.family.as_str()] };
        by_family.entry(&run.family).or_default().add(run, &Rival::Predictor(fit).answers(run));
    }
    log.push(format!("threshold {threshold:.4}; each family by a fit without it:"));
    log.extend(by_family.iter().map(|(family, verdict)| verdict::row(family, verdict)));
    let all: Vec<&Prepared> = prepared.iter().collect();
    let [time_low, time_mid, time_high] = time_quantiles(runs);
    (Coefficients { threshold, time_low, time_mid, time_high, ..left_out.calibrated(&trees(&all)) }, log)
}

fn scaled(trees: &[Tree], scale: f32) -> Vec<Tree> {
    trees.iter().map(|t| Tree::new(t.feature, t.bound, t.leaves().map(|leaf| leaf * scale))).collect()
}

/// What comes out of the trees ranks; a logistic regression on it, over all moments of runs whose family was left out, makes a
/// probability of it (Platt, 1999). Returns scale, shift, and the share of moments with an OOM within the horizon.
fn calibrate(runs: &[Prepared], left_out: &BTreeMap<String, Vec<Tree>>) -> (f32, f32, f32) {
    let kinds =
        [true, false].map(|kind| runs.iter().filter(|r| r.run.simulated == kind).count().max(1) as f64);
    let mut points = Vec::new();
    for run in runs {
        let weight = 1.0 / kinds[usize::from(!run.run.simulated)] / run.moments.len().max(1) as f64;
        for moment in &run.moments {
            let score = score(&left_out[&run.run.family], &moment.features);
            points.push((f64::from(score), run.run.oom_within(moment.t_ns, HORIZON_NS), weight));
        }
    }
    let total: f64 = points.iter().map(|p| p.2).sum();
    let base = points.iter().filter(|p| p.1).map(|p| p.2).sum::<f64>() / total;
    let loss = |scale: f64, shift: f64| {
        let one = |(score, happened, weight): &(f64, bool, f64)| {
            let odds = scale * score + shift;
            weight * (odds.abs().neg().exp().ln_1p() + odds.max(0.0) - if *happened { odds } else { 0.0 })
        };
        points.iter().map(one).sum::<f64>()
    };
    // Newton's method in two unknowns; a step that makes it worse is halved.
    let (mut scale, mut shift) = (0.0, (base / (1.0 - base)).ln());
    for _ in 0..50 {
        let (mut g, mut h) = ([0.0; 2], [1e-9, 0.0, 1e-9]);
        for (score, happened, weight) in &points {
            let p = 1.0 / (1.0 + (-(scale * score + shift)).exp());
            let error = weight * (f64::from(u8::from(*happened)) - p);
            g = [g[0] + error * score, g[1] + error];
            let curve = weight * p * (1.0 - p);
            h = [h[0] + curve * score * score, h[1] + curve * score, h[2] + curve];
        }
        let determinant = h[0] * h[2] - h[1] * h[1];
        let mut step = [(h[2] * g[0] - h[1] * g[1]) / determinant, (h[0] * g[1] - h[1] * g[0]) / determinant];
        let now = loss(scale, shift);
        for _ in 0..20 {
            if loss(scale + step[0], shift + step[1]) <= now {
                (scale, shift) = (scale + step[0], shift + step[1]);
                break;
            }
            step = step.map(|s| s / 2.0);
        }
    }
    (scale as f32, shift as f32, base as f32)
}

/// How families that were left out are judged at several thresholds.
fn thresholds(runs: &[Run], fits: &BTreeMap<String, Coefficients>) -> Vec<String> {
    let answers: Vec<_> =
        runs.iter().map(|run| Rival::Predictor(fits[run.family.as_str()]).answers(run)).collect();
    let mut lines = vec![verdict::header()];
    for twentieth in 1..20u8 {
        let threshold = f32::from(twentieth) / 20.0;
        let mut verdicts = [Verdict::default(), Verdict::default()];
        for (run, answers) in runs.iter().zip(&answers) {
            let alarms: Vec<Answer> =
                answers.iter().map(|a| Answer { alarm: a.probability >= threshold, ..*a }).collect();
            verdicts[usize::from(run.simulated)].add(run, &alarms);
        }
        for (kind, verdict) in ["recorded", "simulated"].iter().zip(&verdicts) {
            lines.push(verdict::row(&format!("{kind}, threshold {threshold:.2}"), verdict));
        }
    }
    lines
}

/// How the straight line's time relates to the true one, over the moments that lie 1 s to 30 s before an OOM.
fn time_quantiles(runs: &[Run]) -> [f32; 3] {
    let mut ratios = Vec::new();
    for run in runs {
        let mut predictor = Predictor::new();
        for sample in &run.samples {
            predictor.sample(*sample);
            let (Some(line), Some(oom)) = (predictor.straight_line_seconds(), run.next_oom(sample.t_ns))
            else {
                continue;
            };
            let truth = (oom - sample.t_ns) as f32 / 1e9;
            if sample.t_ns >= run.start_ns && (1.0..30.0).contains(&truth) && line < 60.0 {
                ratios.push(truth / line.max(0.5));
            }
        }
    }
    ratios.sort_by(f32::total_cmp);
    let at = |share: f64| ratios.get((ratios.len() as f64 * share) as usize).copied().unwrap_or(1.0);
    [at(0.1), at(0.5), at(0.9)]
}

/// The source of `coefficients.rs`.
pub fn source(fit: &Coefficients, runs: &[Run]) -> String {
    let mut families: BTreeMap<&str, usize> = BTreeMap::new();
    runs.iter().for_each(|r| *families.entry(r.family.as_str()).or_default() += 1);
    let families: Vec<String> = families.iter().map(|(family, n)| format!("{family} ({n})")).collect();
    let mut asked = [0usize; FEATURES];
    for tree in fit.trees {
        let questions = tree.feature.iter().zip(tree.bound).filter(|(_, bound)| *bound != NEVER);
        questions.for_each(|(feature, _)| asked[usize::from(*feature)] += 1);
    }
    let mut text = format!(
        "//! Written by `cargo xtask fit crash`; do not edit.\n//!\n\
         //! Data: {} runs: {} recorded on Linux machines (`mem_oom`), {} simulated around `mm`.\n\
         //! Runs by family: {}.\n\
         //! Calibration by leave-one-family-out cross-validation on these families alone. Deterministic.\n//!\n\
         //! Questions by feature:\n",
        runs.len(),
        runs.iter().filter(|r| !r.simulated).count(),
        runs.iter().filter(|r| r.simulated).count(),
        families.join(", "),
    );
    for (i, (name, n)) in NAMES.iter().zip(asked).enumerate() {
        // Into a String: cannot fail.
        let _ = writeln!(text, "//! - {i}, {name}: {n}");
    }
    text += "\nuse super::model::{Coefficients, NEVER, Tree};\n\n/// The fitted model.\n#[rustfmt::skip]\n";
    let _ = writeln!(
        text,
        "pub const FITTED: Coefficients = Coefficients {{\n    bias: {:.4},\n    trees: &[",
        fit.bias
    );
    for tree in fit.trees {
        let bounds: Vec<String> =
            tree.bound.iter().map(|b| if *b == NEVER { "NEVER".to_owned() } else { b.to_string() }).collect();
        let leaves: Vec<String> = tree.leaves().iter().map(|l| format!("{l:.5}")).collect();
        let _ = writeln!(
            text,
            "        Tree::new({:?}, [{}], [{}]),",
            tree.feature,
            bounds.join(", "),
            leaves.join(", ")
        );
    }
    let _ = writeln!(
        text,
        "    ],\n    time_low: {:.4},\n    time_mid: {:.4},\n    time_high: {:.4},\n    threshold: {:.4},\n    base_rate: {:.4},\n}};",
        fit.time_low, fit.time_mid, fit.time_high, fit.threshold, fit.base_rate
    );
    text
}
