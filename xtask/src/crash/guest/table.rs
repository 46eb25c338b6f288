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
    /// Whether the OOM with the guard off was announced at all.
    predicted: bool,
}

impl Pair<'_> {
    fn crashes(&self) -> bool {
        !self.off.run().ooms.is_empty()
    }
}

/// Whether there was an alarm before the OOM.
fn announced(run: &Run) -> bool {
    let answers = Rival::Predictor(FITTED).answers(run);
    run.samples.iter().zip(answers).any(|(s, a)| a.alarm && run.oom_within(s.t_ns, LOOK_BACK_NS))
}

/// What acting did.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Acting {
    /// Seeds that run out of memory with the guard off.
    ooms: usize,
    /// Of these: announced.
    predicted: usize,
    /// Of these: lasted with the guard on.
    prevented: usize,
    /// Of these: growth was held back.
    by_holding: usize,
    /// Of the prevented: nobody acted.
    unasked: usize,
    /// Not announced, and lasted with the guard on.
    surprises: usize,
    /// Seeds that do not run out of memory with the guard off.
    calm: usize,
    /// Of these: did not last with the guard on.
    caused: usize,
    /// Of the calm: held back.
    delayed: usize,
    /// Task-seconds of waiting in these: in all, and at the most.
    delay_s: f64,
    /// See `delay_s`.
    most_delay_s: f64,
}

impl Acting {
    fn of(pairs: &[Pair]) -> Self {
        let mut sums = Self::default();
        for pair in pairs {
            let (lasted, held) = (pair.on.lasted(), pair.on.fact("holds") > 0.0);
            let add = |to: &mut usize, what: bool| *to += usize::from(what);
            if pair.crashes() {
                sums.ooms += 1;
                add(&mut sums.predicted, pair.predicted);
                add(&mut sums.prevented, pair.predicted && lasted);
                add(&mut sums.by_holding, pair.predicted && lasted && held);
                add(&mut sums.unasked, pair.predicted && lasted && pair.on.fact("actions") == 0.0);
                add(&mut sums.surprises, !pair.predicted && lasted);
            } else {
                sums.calm += 1;
                add(&mut sums.caused, !lasted);
                add(&mut sums.delayed, held);
                sums.delay_s += pair.on.fact("held_s");
                sums.most_delay_s = sums.most_delay_s.max(pair.on.fact("held_s"));
            }
        }
        sums
    }
}

fn prevention(off: &[&Recording], on: &[&Recording], each_run: bool) {
    let pair = |off: &&'_ Recording| {
        let same = |on: &&&Recording| (&on.family, on.seed) == (&off.family, off.seed);
        on.iter().find(same).map(|on| (*on, announced(&off.run())))
    };
    let pairs: Vec<Pair> =
        off.iter().filter_map(|off| pair(off).map(|(on, predicted)| Pair { off, on, predicted })).collect();
    if each_run {
        pairs.iter().for_each(|pair| println!("  {}", describe(pair)));
    }
    let a = Acting::of(&pairs);
    println!("guard on, the same seeds: of {} OOMs {} were predicted;", a.ooms, a.predicted);
    println!(
        "  prevented, nothing killed: {}; by holding back {}, by reclaim and compaction alone {}, without any action {}",
        share(a.prevented, a.predicted),
        a.by_holding,
        a.prevented - a.by_holding - a.unasked,
        a.unasked
    );
    println!("  not predicted, and yet lasted: {} of {}", a.surprises, a.ooms - a.predicted);
    println!(
        "  calm runs: {} of {} ran out; {} were held back, {:.1} task-seconds in all, {:.1} at the most",
        a.caused, a.calm, a.delayed, a.delay_s, a.most_delay_s
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

#[cfg(test)]
mod tests {
    use super::*;

    fn recording(seed: u64, guarded: bool, oom: bool, facts: &[(&str, f64)]) -> Recording {
        Recording {
            family: "leak".to_owned(),
            seed,
            guarded,
            start_ns: SECOND,
            end_ns: 61 * SECOND,
            end: if oom { "killed" } else { "time" }.to_owned(),
            ooms_ns: if oom { vec![30 * SECOND] } else { Vec::new() },
            facts: facts.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect(),
            samples: Vec::new(),
        }
    }

    #[test]
    fn prevented_is_what_was_predicted_and_lasted() {
        let crash = recording(1, false, true, &[]);
        let calm = recording(2, false, false, &[]);
        let on = [
            recording(1, true, false, &[("actions", 2.0), ("holds", 1.0), ("held_s", 9.0)]),
            recording(1, true, false, &[("actions", 2.0)]),
            recording(1, true, false, &[]),
            recording(1, true, true, &[("actions", 2.0), ("holds", 1.0)]),
            recording(2, true, false, &[("actions", 1.0), ("holds", 1.0), ("held_s", 2.5)]),
            recording(2, true, true, &[]),
        ];
        let mut pairs: Vec<Pair> = on
            .iter()
            .map(|on| Pair { off: if on.seed == 1 { &crash } else { &calm }, on, predicted: on.seed == 1 })
            .collect();
        pairs.push(Pair { off: &crash, on: &on[0], predicted: false });
        let wanted = Acting {
            ooms: 5,
            predicted: 4,
            prevented: 3,
            by_holding: 1,
            unasked: 1,
            surprises: 1,
            calm: 2,
            caused: 1,
            delayed: 1,
            delay_s: 2.5,
            most_delay_s: 2.5,
        };
        assert_eq!(Acting::of(&pairs), wanted);
    }
}
