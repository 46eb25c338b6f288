//! Fitting the predictor: examples from runs, leave-one-family-out cross-validation, the threshold, the time quantiles.

use super::logistic::{self, Example, Solution};
use super::rivals::Rival;
use super::run::{Run, SECOND};
use super::verdict::Verdict;
use ai_insights::crash_predictor::{Coefficients, FEATURES, FITTED, HORIZON_NS, NAMES, Predictor};
use std::collections::BTreeMap;

/// What is known of a feature's direction: +1 where more of it can only mean more danger.
const SIGN: [i8; FEATURES] = [1, -1, 1, -1, 1, 1, 1, 1, 0, -1, -1, 1, 1, 1, 1, 1, -1, -1, 1, 1, 0, 1];

/// Penalties to choose from.
pub const PENALTIES: [f64; 2] = [0.003, 0.01];
/// The one that cross-validation chose.
pub const PENALTY: f64 = PENALTIES[1];
/// The warning that is asked for.
const LEAD_NS: u64 = 5 * SECOND;
/// How sharply a run is judged by its worst moment: weights of its moments are proportional to exp(this × log-odds).
const SHARPNESS: f64 = 2.0;
/// Share of the weight that all moments of a run have alike.
const EVEN: f64 = 0.3;
/// Rounds of reweighting.
const ROUNDS: usize = 12;

/// A run as the fit sees it.
pub struct Prepared<'r> {
    /// The run.
    pub run: &'r Run,
    examples: Vec<Example>,
    /// Which moments are judged together.
    bags: Vec<Bag>,
}

/// Moments of which the one of highest risk decides: the 20 s to 5 s before an OOM (one should be over the threshold), or
/// a stretch without one (none should).
struct Bag {
    members: Vec<usize>,
    weight: f64,
}

/// Features and labels of every sample.
pub fn prepare(run: &Run) -> Prepared<'_> {
    let mut predictor = Predictor::new();
    let (mut examples, mut calm) = (Vec::new(), Vec::new());
    let mut announced: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
    // Neighbours are alike, and simulated runs are many: of theirs, every sixth moment will do.
    let stride = if run.simulated { 6 } else { 1 };
    for (turn, sample) in run.samples.iter().enumerate() {
        predictor.sample(*sample);
        if turn % stride != 0 {
            continue;
        }
        let next = run.next_oom(sample.t_ns);
        // Before the workload there is nothing to know, and an OOM at its very start teaches what nobody can act on.
        if sample.t_ns < run.start_ns || next.is_some_and(|oom| !run.is_late(oom)) {
            continue;
        }
        let y = run.oom_within(sample.t_ns, HORIZON_NS);
        match next {
            Some(oom) if y && sample.t_ns + LEAD_NS <= oom => {
                announced.entry(oom).or_default().push(examples.len());
            }
            Some(oom) if sample.t_ns + 2 * HORIZON_NS < oom => calm.push(examples.len()),
            None => calm.push(examples.len()),
            Some(_) => {}
        }
        examples.push(Example { x: *predictor.features(), y, weight: 0.0 });
    }
    let even = 1.0 / examples.len().max(1) as f64;
    examples.iter_mut().for_each(|e| e.weight = even);
    let mut bags: Vec<Bag> = announced.into_values().map(|members| Bag { members, weight: 1.0 }).collect();
    if !calm.is_empty() {
        // What is left of a run that had its OOM says less than a run that never had one.
        let weight = if run.ooms.is_empty() { 1.0 } else { 0.3 };
        bags.push(Bag { members: calm, weight });
    }
    Prepared { run, examples, bags }
}

/// Fits the weights: logistic regression that is drawn, round by round, to the moments that decide a run. What comes out ranks;
/// a second regression on all moments alike, of one variable, makes a probability of it (Platt, 1999).
pub fn coefficients(runs: &[&Prepared], penalty: f64) -> Coefficients {
    // Simulated runs are many and recorded ones few: both kinds count alike.
    let simulated = runs.iter().filter(|r| r.run.simulated).count();
    let recorded = runs.len() - simulated;
    let importance = |r: &Prepared| match r.run.simulated {
        true if recorded > 0 => runs.len() as f64 / 2.0 / simulated as f64,
        false if simulated > 0 => runs.len() as f64 / 2.0 / recorded as f64,
        _ => 1.0,
    };
    let even: Vec<Example> = runs
        .iter()
        .flat_map(|r| r.examples.iter().map(|e| Example { weight: e.weight * importance(r), ..*e }))
        .collect();
    let mut examples = even.clone();
    let mut solution = logistic::fit(&examples, penalty, &SIGN);
    for _ in 0..ROUNDS {
        let mut first = 0;
        for run in runs {
            let members = first..first + run.examples.len();
            for (e, before) in examples[members.clone()].iter_mut().zip(&even[members.clone()]) {
                // Half of the old weight stays: without it the rounds swing.
                e.weight = 0.5 * e.weight + 0.5 * EVEN * before.weight;
            }
            for bag in &run.bags {
                let odds: Vec<f64> =
                    bag.members.iter().map(|i| SHARPNESS * solution.log_odds(&run.examples[*i].x)).collect();
                let most = odds.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let sum: f64 = odds.iter().map(|o| (o - most).exp()).sum();
                for (i, o) in bag.members.iter().zip(&odds) {
                    let share = (o - most).exp() / sum;
                    examples[first + i].weight += 0.5 * (1.0 - EVEN) * bag.weight * importance(run) * share;
                }
            }
            first += run.examples.len();
        }
        solution = logistic::fit_from(&examples, penalty, &SIGN, Some(&solution));
    }
    let total: f64 = even.iter().map(|e| e.weight).sum();
    let base_rate = even.iter().filter(|e| e.y).map(|e| e.weight).sum::<f64>() / total;
    let (scale, shift) = calibrate(&even, &solution);
    Coefficients {
        bias: (scale * solution.bias + shift) as f32,
        weights: solution.weights.map(|w| (scale * w) as f32),
        base_rate: base_rate as f32,
        ..FITTED
    }
}

fn calibrate(examples: &[Example], solution: &Solution) -> (f64, f64) {
    let single: Vec<Example> = examples
        .iter()
        .map(|e| {
            let mut x = [0.0; FEATURES];
            x[0] = solution.log_odds(&e.x).clamp(-8.0, 8.0) as f32;
            Example { x, ..*e }
        })
        .collect();
    let platt = logistic::fit(&single, 1e-6, &[1; FEATURES]);
    (platt.weights[0], platt.bias)
}

/// One fit for each family that is asked for, made without it.
pub fn leave_one_out(
    runs: &[Prepared],
    penalty: f64,
    which: impl Fn(&Run) -> bool,
) -> BTreeMap<String, Coefficients> {
    let families: std::collections::BTreeSet<&str> =
        runs.iter().filter(|r| which(r.run)).map(|r| r.run.family.as_str()).collect();
    let fit_without = &|family: &str| {
        let others: Vec<&Prepared> = runs.iter().filter(|r| r.run.family != family).collect();
        (family.to_owned(), coefficients(&others, penalty))
    };
    std::thread::scope(|scope| {
        let fits: Vec<_> = families.into_iter().map(|f| scope.spawn(move || fit_without(f))).collect();
        fits.into_iter().map(|fit| fit.join().expect("a fit does not panic")).collect()
    })
}

/// Whether a family may be learned from. The others are for testing only, whatever leg they belong to. Of the simulated
/// families every second one in the order of the issue is for training.
pub fn is_training(family: &str) -> bool {
    const RECORDED: [&str; 9] =
        ["bigheap", "brk", "cpu", "dentry", "fork", "mmap", "pagemove", "qsort", "switch"];
    const SIMULATED: [&str; 4] = ["leak", "cache-growth", "burst", "plateau"];
    RECORDED.contains(&family) || SIMULATED.contains(&family)
}

/// The fit with everything: weights, threshold by cross-validation, quantiles of the time to OOM.
pub fn fit(runs: &[Run]) -> (Coefficients, Vec<String>) {
    let prepared: Vec<Prepared> = runs.iter().map(prepare).collect();
    let mut log = Vec::new();
    let mut best = (f64::NEG_INFINITY, PENALTIES[0], 0.5);
    let mut chosen = BTreeMap::new();
    for penalty in PENALTIES {
        let fits = leave_one_out(&prepared, penalty, |_| true);
        for step in 4..=18 {
            let threshold = step as f32 * 0.05;
            let mut verdicts = [Verdict::default(), Verdict::default()];
            let mut by_family: BTreeMap<&str, Verdict> = BTreeMap::new();
            for run in runs {
                let fit = Coefficients { threshold, ..fits[&run.family] };
                let answers = Rival::Predictor(fit).answers(run);
                verdicts[usize::from(run.simulated)].add(run, &answers);
                by_family.entry(&run.family).or_default().add(run, &answers);
            }
            // Both legs count alike; a false alarm costs twice a miss, beyond one run in ten ten times.
            let value = |v: &Verdict| {
                let f = v.false_alarms();
                v.recall() - 2.0 * f - 8.0 * (f - 0.1).max(0.0)
            };
            let sum = value(&verdicts[0]) + value(&verdicts[1]);
            log.push(format!(
                "penalty {penalty:<6} threshold {threshold:.2}: recorded {:>5.1} % / {:>5.1} %, simulated {:>5.1} % / {:>5.1} %",
                100.0 * verdicts[0].recall(),
                100.0 * verdicts[0].false_alarms(),
                100.0 * verdicts[1].recall(),
                100.0 * verdicts[1].false_alarms()
            ));
            if sum > best.0 {
                best = (sum, penalty, threshold);
                chosen = by_family;
            }
        }
    }
    let (_, penalty, threshold) = best;
    log.push(format!(
        "chosen: penalty {penalty}, threshold {threshold:.2}; each family by a fit without it:"
    ));
    log.push(super::verdict::header());
    log.extend(chosen.iter().map(|(family, verdict)| super::verdict::row(family, verdict)));
    let all: Vec<&Prepared> = prepared.iter().collect();
    let weights = coefficients(&all, penalty);
    let [time_low, time_mid, time_high] = time_quantiles(runs);
    (Coefficients { threshold, time_low, time_mid, time_high, ..weights }, log)
}

/// How the straight line's time relates to the true one, over the moments that lie 1 s to 30 s before an OOM.
fn time_quantiles(runs: &[Run]) -> [f32; 3] {
    let mut ratios = Vec::new();
    for run in runs {
        let mut predictor = Predictor::new();
        for sample in &run.samples {
            predictor.sample(*sample);
            let (Some(line), Some(oom)) =
                (predictor.straight_line_seconds(sample), run.next_oom(sample.t_ns))
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
    let weights: Vec<String> =
        fit.weights.iter().zip(NAMES).map(|(w, name)| format!("        {w:.5}, // {name}\n")).collect();
    format!(
        "//! Written by `cargo xtask fit crash`; do not edit.\n//!\n\
         //! Data: {} runs of the training families: {} recorded on Linux machines (`mem_oom`), {} simulated around `mm`.\n\
         //! Runs by family: {}.\n\
         //! Threshold and penalty by leave-one-family-out cross-validation on these families alone. Deterministic.\n\n\
         use super::model::Coefficients;\n\n/// The fitted model.\npub const FITTED: Coefficients = Coefficients {{\n    \
         bias: {:.5},\n    weights: [\n{}    ],\n    time_low: {:.4},\n    time_mid: {:.4},\n    time_high: {:.4},\n    \
         threshold: {:.2},\n    base_rate: {:.4},\n}};\n",
        runs.len(),
        runs.iter().filter(|r| !r.simulated).count(),
        runs.iter().filter(|r| r.simulated).count(),
        families.join(", "),
        fit.bias,
        weights.concat(),
        fit.time_low,
        fit.time_mid,
        fit.time_high,
        fit.threshold,
        fit.base_rate
    )
}
