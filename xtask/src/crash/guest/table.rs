//! The tables of leg (c).

use super::Recording;
use crate::crash::fit;
use crate::crash::rivals::Rival;
use crate::crash::run::{Run, SECOND};
use crate::crash::verdict::{self, Verdict, share};
use ai_insights::crash_predictor::FITTED;
use std::collections::BTreeMap;

/// An alarm that was raised earlier than this before an OOM did not mean it.
const LOOK_BACK_NS: u64 = 30 * SECOND;

/// Prints everything: recall and false alarms beside the baselines, what acting did, and what an update costs.
pub fn print(recordings: &[Recording], each_run: bool) {
    let (off, on): (Vec<_>, Vec<_>) = recordings.iter().partition(|r| !r.guarded);
    for training in [false, true] {
        let here = |r: &&&Recording| fit::is_training(&r.run().family) == training;
        let off: Vec<&Recording> = off.iter().filter(here).copied().collect();
        let on: Vec<&Recording> = on.iter().filter(here).copied().collect();
        if off.is_empty() {
            continue;
        }
        let what = if training { "families that the fit has seen" } else { "test families" };
        println!("\n{what}, guard off: {} runs", off.len());
        judged(&off, each_run);
        if !on.is_empty() {
            prevention(&off, &on, each_run);
        }
    }
    agreement(&off);
    update_time(recordings);
}

fn judged(off: &[&Recording], each_run: bool) {
    let runs: Vec<Run> = off.iter().map(|r| r.run()).collect();
    println!("{}", verdict::header());
    for rival in [Rival::Predictor(FITTED)].into_iter().chain(Rival::baselines()) {
        let ours = matches!(rival, Rival::Predictor(_));
        let mut all = Verdict::default();
        let mut by_family: BTreeMap<&str, Verdict> = BTreeMap::new();
        for run in &runs {
            let answers = rival.answers(run);
            let (leads, false_alarm) = all.add(run, &answers);
            by_family.entry(&run.family).or_default().add(run, &answers);
            if each_run && ours {
                let after: Vec<f32> =
                    run.ooms.iter().map(|oom| oom.saturating_sub(run.start_ns) as f32 / 1e9).collect();
                let alarm = if false_alarm { ", false alarm" } else { "" };
                println!("  {:<16} OOM after {after:?} s, leads {leads:?}{alarm}", run.name);
            }
        }
        println!("{}", verdict::row(&rival.name(), &all));
        if ours {
            for (family, verdict) in by_family {
                println!("{}", verdict::row(&format!("  {family}"), &verdict));
            }
        }
    }
}

/// A seed with the guard off, and the same with it on.
struct Pair<'r> {
    off: &'r Recording,
    on: &'r Recording,
}

impl Pair<'_> {
    fn crashes(&self) -> bool {
        !self.off.run().ooms.is_empty()
    }

    /// Whether the OOM with the guard off was announced at all.
    fn predicted(&self) -> bool {
        let run = self.off.run();
        let answers = Rival::Predictor(FITTED).answers(&run);
        run.samples.iter().zip(answers).any(|(s, a)| a.alarm && run.oom_within(s.t_ns, LOOK_BACK_NS))
    }
}

fn prevention(off: &[&Recording], on: &[&Recording], each_run: bool) {
    let pairs: Vec<Pair> = off
        .iter()
        .filter_map(|off| {
            let same = |on: &&&Recording| (&on.family, on.seed) == (&off.family, off.seed);
            Some(Pair { off, on: on.iter().find(same)? })
        })
        .collect();
    if each_run {
        pairs.iter().for_each(|pair| println!("  {}", describe(pair)));
    }
    let predicted: Vec<&Pair> = pairs.iter().filter(|pair| pair.crashes() && pair.predicted()).collect();
    let prevented: Vec<&&Pair> = predicted.iter().filter(|pair| pair.on.lasted()).collect();
    let held = |pair: &Pair| pair.on.fact("holds") > 0.0;
    let acted = |pair: &Pair| pair.on.fact("actions") > 0.0;
    let by_holding = prevented.iter().filter(|pair| held(pair)).count();
    let unasked = prevented.iter().filter(|pair| !acted(pair)).count();
    let crashes = pairs.iter().filter(|pair| pair.crashes()).count();
    println!("guard on, the same seeds: of {crashes} OOMs {} were predicted;", predicted.len());
    println!(
        "  prevented, nothing killed: {}; by holding back {by_holding}, by reclaim and compaction alone {}, without any action \
         {unasked}",
        share(prevented.len(), predicted.len()),
        prevented.len() - by_holding - unasked
    );
    let unpredicted =
        pairs.iter().filter(|pair| pair.crashes() && !pair.predicted() && pair.on.lasted()).count();
    println!("  not predicted, and yet lasted: {unpredicted} of {}", crashes - predicted.len());
    let calm: Vec<&Pair> = pairs.iter().filter(|pair| !pair.crashes()).collect();
    let caused = calm.iter().filter(|pair| !pair.on.lasted()).count();
    let delayed: Vec<f64> = calm.iter().map(|pair| pair.on.fact("held_s")).filter(|s| *s > 0.0).collect();
    println!(
        "  calm runs: {caused} of {} ran out; {} were held back, {:.1} task-seconds in all, {:.1} at the most",
        calm.len(),
        delayed.len(),
        delayed.iter().sum::<f64>(),
        delayed.iter().copied().fold(0.0, f64::max)
    );
    let sum = |name: &str| pairs.iter().map(|pair| pair.on.fact(name)).sum::<f64>();
    println!(
        "  actions: {} reclaims, {} compactions, {} holds ({:.1} task-seconds); watchdog {} times",
        sum("reclaims"),
        sum("compactions"),
        sum("holds"),
        sum("held_s"),
        sum("watchdog")
    );
}

fn describe(pair: &Pair) -> String {
    let end = |r: &Recording| match r.run().ooms.first() {
        Some(oom) => format!("out of memory after {:.1} s", oom.saturating_sub(r.start_ns) as f64 / 1e9),
        None => format!("ended by {}", r.end),
    };
    format!(
        "{:<10} {:>2}: off {}, on {}; {} reclaims, {} compactions, {} holds of {:.1} task-seconds",
        pair.on.family,
        pair.on.seed,
        end(pair.off),
        end(pair.on),
        pair.on.fact("reclaims"),
        pair.on.fact("compactions"),
        pair.on.fact("holds"),
        pair.on.fact("held_s")
    )
}

fn agreement(off: &[&Recording]) {
    let checked: Vec<_> = off.iter().filter(|r| r.facts.contains_key("differences")).collect();
    let differ = checked.iter().filter(|r| r.fact("differences") > 0.0).count();
    println!(
        "\nthe kernel's own score agrees with the host's in {} of {} runs",
        checked.len() - differ,
        checked.len()
    );
}

/// Over all runs: what an update of the predictor took, with interrupts off, in the kernel.
fn update_time(recordings: &[Recording]) {
    let mut of = ["mean_us", "p50_us", "p99_us", "slowest_us"].map(|name| {
        let mut values: Vec<f64> = recordings.iter().filter_map(|r| r.facts.get(name).copied()).collect();
        values.sort_by(f64::total_cmp);
        values
    });
    let range = |values: &mut Vec<f64>| match (values.first(), values.get(values.len() / 2), values.last()) {
        (Some(least), Some(middle), Some(most)) => format!("{middle:.0} ({least:.0} to {most:.0})"),
        _ => "-".to_owned(),
    };
    let [mean, p50, p99, slowest] = of.each_mut().map(range);
    println!(
        "an update in the kernel, us, median of the runs (least and most): mean {mean}; half within {p50}; 99 of 100 within {p99}; \
         slowest {slowest}"
    );
}
