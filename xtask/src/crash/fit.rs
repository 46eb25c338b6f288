//! Fitting the predictor: examples from runs, leave-one-family-out cross-validation, the threshold, the time quantiles.

use super::logistic::{self, Example, Solution};
use super::rivals::Rival;
use super::run::{Run, SECOND};
use super::verdict::{self, Verdict};
use ai_insights::crash_predictor::{Coefficients, FEATURES, FITTED, HORIZON_NS, NAMES, Predictor};
use std::collections::BTreeMap;

/// What is known of a feature's direction: +1 where more of it can only mean more danger.
const SIGN: [i8; FEATURES] = [1, -1, 1, -1, 1, 1, 1, 1, 0, -1, -1, 1, 1, 1, 1, 1];

/// The warning that is asked for.
const LEAD_NS: u64 = 5 * SECOND;
/// How sharply a run is judged by its worst moment: weights of its moments are proportional to exp(this × log-odds).
const SHARPNESS: f64 = 2.0;
/// Share of the weight that all moments of a run have alike.
const EVEN: f64 = 0.3;
/// Rounds of reweighting.
const ROUNDS: usize = 25;

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
    for sample in &run.samples {
        predictor.sample(*sample);
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
    let even: Vec<Example> = runs.iter().flat_map(|r| r.examples.iter().copied()).collect();
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
                    examples[first + i].weight += 0.5 * (1.0 - EVEN) * bag.weight * share;
                }
            }
            first += run.examples.len();
        }
        solution = logistic::fit(&examples, penalty, &SIGN);
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

/// One fit for each family, made without it.
pub fn leave_one_out(runs: &[Prepared], penalty: f64) -> BTreeMap<String, Coefficients> {
    let families: std::collections::BTreeSet<&str> = runs.iter().map(|r| r.run.family.as_str()).collect();
    families
        .into_iter()
        .map(|family| {
            let others: Vec<&Prepared> = runs.iter().filter(|r| r.run.family != family).collect();
            (family.to_owned(), coefficients(&others, penalty))
        })
        .collect()
}

/// Explore.
pub fn explore(runs: &[Run]) {
    let prepared: Vec<Prepared> = runs.iter().map(prepare).collect();
    println!("{}", verdict::header());
    for rival in Rival::baselines() {
        let mut v = Verdict::default();
        for r in runs { v.add(r, &rival.answers(r)); }
        println!("{}", verdict::row(&rival.name(), &v));
    }
    for penalty in [0.001, 0.003, 0.01] {
        let fits = leave_one_out(&prepared, penalty);
        println!("penalty {penalty}");
        for threshold in [0.2,0.25,0.3,0.35,0.4,0.45,0.5] {
            let mut v = Verdict::default();
            for r in runs {
                let fit = Coefficients { threshold, ..fits[&r.family] };
                let res = v.add(r, &Rival::Predictor(fit).answers(r));
                if penalty == 0.01 && threshold == 0.4 { println!("   {:<26} {:?} {} max {:.2}", r.name, res, r.ooms.len(), Rival::Predictor(fit).answers(r).iter().map(|a| a.probability).fold(0.0, f32::max)); }
            }
            println!("{}", verdict::row(&format!("  threshold {threshold}"), &v));
        }
    }
    let all: Vec<&Prepared> = prepared.iter().collect();
    let fit = coefficients(&all, 0.01);
    println!("bias {} base {}", fit.bias, fit.base_rate);
    for (n, w) in NAMES.iter().zip(fit.weights) { println!("{n:<30} {w:.3}"); }
}
