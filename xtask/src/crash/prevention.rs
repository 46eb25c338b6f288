//! What acting is worth: the runs of the test families once more, under the same seeds and rules, with the guard acting. One
//! arm may reclaim and compact only, one may hold growth back too, and one reclaims and compacts all the time.
//!
//! An OOM is prevented when memory does not run out until the end of the run, the 20 s unseen after it included. A program that
//! grows for ever while it is held back is *postponed*: it gets on slowly, nothing is killed, and whoever watches has that time. So
//! the table says how many of the runs were still held when they ended, and what share of the time the workload had to wait.

use super::host::{self, Arm, Simulated, machine::Cause};
use super::rivals::Rival;
use super::run::{Run, SECOND};
use super::{fit, verdict};
use ai_insights::crash_predictor::FITTED;
use std::collections::BTreeMap;

/// A run in every arm.
struct Case<'s> {
    control: &'s Simulated,
    predicted: bool,
    without: Simulated,
    with: Simulated,
    /// Only where an OOM was predicted.
    bound: Option<Simulated>,
}

/// Simulates all arms, and prints them.
pub fn print(simulated: &[Simulated], each_run: bool) {
    let test = simulated.iter().filter(|s| !fit::is_training(&s.run.family));
    let cases: Vec<Case<'_>> = test.map(case).collect();
    println!(
        "acting, test families, nothing killed (the bound reclaims and compacts all the time, cost aside):"
    );
    println!(
        "{:<44} {:>6} {:>10} {:>18} {:>18} {:>16}",
        "prevented:", "OOMs", "predicted", "without holding", "and holding back", "by the bound"
    );
    row("exhausted: nothing left to reclaim", &cases, |c| c.control.cause == Some(Cause::Exhausted));
    row("starved: requests that cannot wait fail", &cases, |c| c.control.cause == Some(Cause::Starved));
    row("all", &cases, |_| true);
    let families: BTreeMap<&str, ()> = cases.iter().map(|c| (c.control.run.family.as_str(), ())).collect();
    for family in families.into_keys() {
        row(&format!("  {family}"), &cases, |c| c.control.run.family == family);
    }
    let calm: Vec<&Case<'_>> = cases.iter().filter(|c| c.control.cause.is_none()).collect();
    for (name, arm) in [("without holding", arm_without as ArmOf), ("and holding back", arm_with)] {
        let caused = calm.iter().filter(|c| arm(c).cause.is_some()).count();
        let sum = |count: fn(&Simulated) -> u64| cases.iter().map(|c| count(arm(c))).sum::<u64>();
        println!(
            "{name:<44} OOMs where there had been none {}; {} reclaims, {} compactions, {} holds renewed {} times, watchdog {}",
            verdict::share(caused, calm.len()),
            sum(|s| s.guard.reclaims),
            sum(|s| s.guard.compactions),
            sum(|s| s.guard.holds),
            sum(|s| s.guard.renewals),
            sum(|s| s.guard.watchdog),
        );
    }
    cost("held, prevented OOMs", cases.iter().filter(|c| is_prevented(c, arm_with)));
    cost("held, runs that had been calm", calm.iter().copied());
    if each_run {
        for Case { control, predicted, with, .. } in &cases {
            println!(
                "  {:<20} predicted {predicted}, ended {:?} at {:.1} s; held back {:.1} s of {:.1} s, ended {:?}, {} holds, watchdog {}",
                control.run.name,
                control.cause,
                control.lasted_s,
                with.held_s,
                with.lasted_s,
                with.cause,
                with.guard.holds,
                with.guard.watchdog
            );
        }
    }
}

type ArmOf = for<'c, 's> fn(&'c Case<'s>) -> &'c Simulated;

fn arm_without<'c>(case: &'c Case<'_>) -> &'c Simulated {
    &case.without
}

fn arm_with<'c>(case: &'c Case<'_>) -> &'c Simulated {
    &case.with
}

fn case(control: &Simulated) -> Case<'_> {
    let run = &control.run;
    let index: u64 = run.name.rsplit(' ').next().and_then(|n| n.parse().ok()).unwrap_or_default();
    let again = |arm| host::simulate(&run.family, index, arm);
    let predicted = control.cause.is_some() && is_announced(run);
    Case {
        control,
        predicted,
        without: again(Arm::Guarded { fit: FITTED, holding: false }),
        with: again(Arm::Guarded { fit: FITTED, holding: true }),
        bound: predicted.then(|| again(Arm::Bound)),
    }
}

fn is_announced(run: &Run) -> bool {
    let mut answers = run.samples.iter().zip(Rival::Predictor(FITTED).answers(run));
    answers.any(|(s, a)| a.alarm && run.oom_within(s.t_ns, 30 * SECOND))
}

fn is_prevented(case: &Case<'_>, arm: ArmOf) -> bool {
    case.predicted && arm(case).cause.is_none()
}

fn row(name: &str, cases: &[Case<'_>], only: impl Fn(&Case<'_>) -> bool) {
    let cases: Vec<&Case<'_>> = cases.iter().filter(|c| c.control.cause.is_some() && only(c)).collect();
    let predicted = cases.iter().filter(|c| c.predicted).count();
    let prevented = |arm: ArmOf| cases.iter().filter(|c| is_prevented(c, arm)).count();
    let bound = cases.iter().filter(|c| c.bound.as_ref().is_some_and(|b| b.cause.is_none())).count();
    println!(
        "{name:<44} {:>6} {predicted:>10} {:>18} {:>18} {:>16}",
        cases.len(),
        verdict::share(prevented(arm_without), predicted),
        verdict::share(prevented(arm_with), predicted),
        verdict::share(bound, predicted)
    );
}

/// How long the workload had to wait, in the arm that holds growth back.
fn cost<'c>(name: &str, cases: impl Iterator<Item = &'c Case<'c>>) {
    let runs: Vec<&Simulated> = cases.map(|c| &c.with).collect();
    let Some(worst) = runs.iter().max_by(|a, b| a.held_s.total_cmp(&b.held_s)) else {
        println!("{name:<44} no runs");
        return;
    };
    let (held, lasted): (f64, f64) = runs.iter().fold((0.0, 0.0), |(h, l), s| (h + s.held_s, l + s.lasted_s));
    println!(
        "{name:<44} {} of {} runs; mean {:.1} s ({:.1} % of the time), worst {:.1} s ({}); held at the end {}",
        runs.iter().filter(|s| s.held_s > 0.0).count(),
        runs.len(),
        held / runs.len() as f64,
        100.0 * held / lasted.max(1e-9),
        worst.held_s,
        worst.run.name,
        verdict::share(runs.iter().filter(|s| s.held_at_end).count(), runs.len())
    );
}
