//! `cargo xtask eval crash`: the table of the issue.

use super::host;
use super::rivals::Rival;
use super::run::Run;
use super::verdict::{self, Verdict};
use super::{EvalOptions, data_folder, fit, guest, prevention, recorded};
use ai_insights::crash_predictor::{Coefficients, FITTED};
use anyhow::Result;
use std::collections::BTreeMap;

/// Runs all legs and prints them.
pub fn eval(options: &EvalOptions) -> Result<()> {
    println!(
        "crash predictor: committed fit, threshold {:.2}; families in training are left out of the tables",
        FITTED.threshold
    );
    println!("recall: OOMs later than 5 s after the start, alarm at least 5 s (at most 30 s) before\n");
    if options.host {
        legs_a_and_b(options)?;
    }
    println!("\nleg c: the booted kernel under memctl stress");
    match &options.guest {
        Some(guest) => guest::eval(guest, options.each_run),
        None => {
            println!("skipped: --no-guest");
            Ok(())
        }
    }
}

fn legs_a_and_b(options: &EvalOptions) -> Result<()> {
    let simulated = host::all(|_| true);
    let runs: Vec<Run> = simulated.iter().map(|s| s.run.clone()).collect();
    println!("leg a: simulated machines around the real mm, {} runs", runs.len());
    leg(&runs, options.each_run);
    prevention::print(&simulated, options.each_run);

    let (folder, held_back) = match &options.recordings {
        Some(folder) => (folder.clone(), true),
        None => (data_folder().join("mem_oom"), false),
    };
    if folder.is_dir() {
        let recorded = recorded::load(&folder)?;
        println!("\nleg b: recorded Linux machines, {} runs of {}", recorded.len(), folder.display());
        if held_back {
            println!("by the committed fit: {}", families(&recorded));
            compare(&recorded, |_| FITTED, options.each_run);
        } else {
            left_out(&recorded, options.each_run);
        }
    } else {
        println!("\nleg b: skipped: no AUTON_DATA");
    }
    Ok(())
}

fn leg(runs: &[Run], each_run: bool) {
    let test: Vec<Run> = runs.iter().filter(|r| !fit::is_training(&r.family)).cloned().collect();
    println!("test families: {} runs of {}", test.len(), families(&test));
    compare(&test, |_| FITTED, each_run);
}

fn families(runs: &[Run]) -> String {
    let mut counts: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for run in runs {
        let (all, crashed) = counts.entry(&run.family).or_default();
        *all += 1;
        *crashed += usize::from(!run.ooms.is_empty());
    }
    let list: Vec<String> = counts.iter().map(|(f, (n, c))| format!("{f} {n} ({c} with OOM)")).collect();
    list.join(", ")
}

/// The predictor, with the fit for each run, and its families; and beside it the baselines.
fn compare(runs: &[Run], fit: impl Fn(&Run) -> Coefficients, each_run: bool) {
    println!("{}", verdict::header());
    for rival in [Rival::Predictor(FITTED)].into_iter().chain(Rival::baselines()) {
        let mut verdict = Verdict::default();
        let mut by_family: BTreeMap<&str, Verdict> = BTreeMap::new();
        for run in runs {
            let rival = if let Rival::Predictor(_) = rival { Rival::Predictor(fit(run)) } else { rival };
            let answers = rival.answers(run);
            let (leads, false_alarm) = verdict.add(run, &answers);
            by_family.entry(&run.family).or_default().add(run, &answers);
            if each_run && matches!(rival, Rival::Predictor(_)) {
                println!(
                    "  {:<26} leads {leads:?}{}",
                    run.name,
                    if false_alarm { ", false alarm" } else { "" }
                );
            }
        }
        println!("{}", verdict::row(&rival.name(), &verdict));
        if matches!(rival, Rival::Predictor(_)) {
            for (family, verdict) in by_family {
                println!("{}", verdict::row(&format!("  {family}"), &verdict));
            }
        }
    }
}

/// Every recorded family, and every simulated one that is learned from, judged by a fit that was made without it; at the committed
/// threshold.
fn left_out(recorded: &[Run], each_run: bool) {
    let learned = host::training();
    let prepared: Vec<fit::Prepared> = recorded.iter().chain(&learned).map(fit::prepare).collect();
    let left_out = fit::leave_one_out(&prepared);
    for (what, runs) in [("recorded", recorded), ("simulated, learned from", &learned)] {
        println!("\n{what} families, each judged by a fit without it: {}", families(runs));
        compare(runs, |run| left_out.fits[&run.family], each_run);
    }
}
