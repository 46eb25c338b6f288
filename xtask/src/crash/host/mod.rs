//! Leg (a): the real `mm` code on the host, under an accelerated clock, with workloads of eight families.

pub mod families;
pub mod machine;
pub mod random;

use super::fit;
use super::run::{Run, SECOND};
use ai_insights::crash_predictor::{
    Action, Coefficients, Decision, Done, Guard, GuardScore, HORIZON_NS, Mode, Predictor,
};
use families::FAMILIES;
use machine::{Cause, Machine, PageCache, SLICE_NS, SLICES};
use mm::{Frame, MigrateType, Zones};
use random::Random;

/// Runs of each family.
pub const RUNS: u64 = 28;
/// Length of a run.
const LENGTH_NS: u64 = 90 * SECOND;
/// A run without an OOM goes on unseen for the predictor's horizon, so that each alarm in it has its time to come true; when
/// memory runs out then, it is a run with an OOM.
const END_NS: u64 = LENGTH_NS + HORIZON_NS;
/// The workload begins then; before, the machine is idle.
const START_NS: u64 = 3 * SECOND;

/// Who is in charge while a run goes on.
#[derive(Debug, Clone, Copy)]
pub enum Arm {
    /// Watermarks and direct reclaim alone, as the kernel without a predictor.
    Control,
    /// And the predictor with its guard, which may hold growth back or not.
    Guarded {
        /// What the predictor was fitted to.
        fit: Coefficients,
        /// Whether growth may be held back.
        holding: bool,
    },
    /// And everything reclaimable is reclaimed, and all memory compacted, from the start on: as much as acting can do.
    Bound,
}

/// A simulated run.
pub struct Simulated {
    /// What was seen.
    pub run: Run,
    /// What the guard did, where there was one.
    pub guard: GuardScore,
    /// How memory ran out, if it did.
    pub cause: Option<Cause>,
    /// Seconds in which the workload had to wait because its growth was held back.
    pub held_s: f64,
    /// Seconds of the workload.
    pub lasted_s: f64,
    /// Whether growth was held back when the run ended.
    pub held_at_end: bool,
}

/// Simulates run `index` of a family.
pub fn simulate(family: &str, index: u64, arm: Arm) -> Simulated {
    let seed = family.bytes().fold(index + 1, |h, b| h.wrapping_mul(0x0100_0000_01b3) ^ u64::from(b));
    let mut random = Random::new(seed);
    let total = random.log_between(16_384.0, 65_536.0) as usize; // 64 to 256 MiB
    let mut frames = vec![Frame::RESERVED; total];
    let cache = PageCache::default();
    let mut zones = Zones::with_border(&mut frames, 0, total as u64 / 4);
    let added = zones.add_free(0, total as u64);
    assert!(added.is_ok(), "a fresh machine takes its own frames: {added:?}");
    let mut machine = Machine::new(zones, &cache, random);
    // Every second machine that is learned from has nothing else to do: what other work takes and gives back must not be what a
    // harmless workload is told by. (The machines for testing stay as they were; the booted kernel of leg c has no such work.)
    if fit::is_training(family) && index % 2 == 1 {
        machine.leave_alone();
    }
    boot(&mut machine);
    let mut workload = families::start(family, index, &mut machine);
    let mut run = Run {
        family: family.to_owned(),
        simulated: true,
        name: format!("{family} {index}"),
        samples: Vec::new(),
        start_ns: START_NS,
        ooms: Vec::new(),
    };
    let mut predictor = match arm {
        Arm::Guarded { fit, .. } => Some(Predictor::with(fit)),
        _ => None,
    };
    let mut guard = Guard::new(1_000_000);
    guard.set_mode(Mode::On);
    guard.set_holding(matches!(arm, Arm::Guarded { holding: true, .. }));
    let mut cause = None;
    while machine.now_ns < END_NS {
        let sample = machine.sample();
        run.samples.push(sample);
        if let Some(predictor) = &mut predictor {
            let assessment = predictor.sample(sample);
            if let Decision::Act(action) = guard.decide(&assessment, &sample, predictor.threshold(), 0) {
                machine.start(action);
                predictor.acted();
                guard.done(Done { t_ns: sample.t_ns, pages: 0 });
            }
            if guard.mode() != Mode::On {
                machine.release();
            }
        }
        if matches!(arm, Arm::Bound) {
            let turn = run.samples.len() as u64;
            machine.start(if turn.is_multiple_of(2) {
                Action::Reclaim { pages: sample.total_pages }
            } else {
                Action::Compact
            });
        }
        for _ in 0..SLICES {
            machine.begin_slice();
            if machine.now_ns >= START_NS {
                workload.tick(&mut machine);
            }
            machine.end_slice();
        }
        if let Some((oom, how)) = machine.crash {
            // Nothing after the refusal counts: what would follow depends on who is killed.
            run.ooms.push(oom.max(START_NS) + 1);
            cause = Some(how);
            break;
        }
    }
    if run.ooms.is_empty() {
        run.samples.retain(|s| s.t_ns < LENGTH_NS);
    }
    Simulated {
        run,
        guard: guard.score(),
        cause,
        held_s: (machine.held_slices() * SLICE_NS) as f64 / SECOND as f64,
        lasted_s: machine.now_ns.saturating_sub(START_NS) as f64 / SECOND as f64,
        held_at_end: machine.is_held(),
    }
}

/// What a booted system holds: scattered unmovable pages and a page cache.
fn boot(machine: &mut Machine) {
    let system = (machine.total() as f64 * machine.random.between(0.05, 0.2)) as u64;
    for _ in 0..system {
        let _ = machine.take(0, MigrateType::Unmovable, true);
    }
    let cache = (machine.total() as f64 * machine.random.between(0.05, 0.4)) as u64;
    for _ in 0..cache {
        machine.read_file_page();
    }
}

/// Runs of each family that is learned from; the first [`RUNS`] of them are among those of [`all`].
const TRAINING_RUNS: u64 = 60;

/// The runs to learn from.
pub fn training() -> Vec<Run> {
    let families = FAMILIES.iter().filter(|f| fit::is_training(f));
    families
        .flat_map(|family| (0..TRAINING_RUNS).map(move |i| simulate(family, i, Arm::Control).run))
        .collect()
}

/// All runs of the families, in the control arm.
pub fn all(only: impl Fn(&str) -> bool) -> Vec<Simulated> {
    let families = FAMILIES.iter().filter(|f| only(f));
    families.flat_map(|family| (0..RUNS).map(move |i| simulate(family, i, Arm::Control))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_the_same_every_time() {
        let (a, b) = (simulate("leak", 3, Arm::Control).run, simulate("leak", 3, Arm::Control).run);
        assert_eq!((a.samples, a.ooms), (b.samples, b.ooms));
    }

    #[test]
    fn requests_that_cannot_wait_fail_at_the_min_mark_and_fifty_in_a_row_are_the_end() {
        let mut frames = vec![Frame::RESERVED; 16_384];
        let cache = PageCache::default();
        let mut zones = Zones::with_border(&mut frames, 0, 4096);
        zones.add_free(0, 16_384).expect("a fresh machine takes its own frames");
        let mut machine = Machine::new(zones, &cache, Random::new(1));
        let mut refusals = 0;
        while machine.crash.is_none() {
            match machine.take(0, MigrateType::Unmovable, false) {
                machine::Take::Got(_) => assert_eq!(refusals, 0, "none was given back"),
                _ => refusals += 1,
            }
        }
        assert_eq!(refusals, 50);
        assert_eq!(machine.crash.map(|(_, cause)| cause), Some(Cause::Starved));
        let left = machine.sample().free_pages;
        assert!(left >= 128, "the marks were kept: {left}");
    }

    #[test]
    fn reclaim_is_no_faster_than_the_device() {
        let mut frames = vec![Frame::RESERVED; 16_384];
        let cache = PageCache::default();
        let mut zones = Zones::with_border(&mut frames, 0, 4096);
        zones.add_free(0, 16_384).expect("a fresh machine takes its own frames");
        let mut machine = Machine::new(zones, &cache, Random::new(1));
        (0..8000).for_each(|_| machine.read_file_page());
        let before = machine.sample().reclaimed_pages;
        machine.start(Action::Reclaim { pages: 8000 });
        (0..10).for_each(|_| {
            machine.begin_slice();
            machine.end_slice();
        });
        let reclaimed = machine.sample().reclaimed_pages - before;
        assert_eq!(reclaimed, 100 * machine::PAGES_PER_MS);
    }

    #[test]
    fn what_may_wait_is_held_back_what_cannot_is_not_and_both_go_on_when_it_lets_go() {
        let mut frames = vec![Frame::RESERVED; 16_384];
        let cache = PageCache::default();
        let mut zones = Zones::with_border(&mut frames, 0, 4096);
        zones.add_free(0, 16_384).expect("a fresh machine takes its own frames");
        let mut machine = Machine::new(zones, &cache, Random::new(1));
        let grow = |machine: &mut Machine, seconds: u64| {
            let mut taken = 0;
            for _ in 0..seconds * 100 {
                machine.begin_slice();
                taken += (0..30)
                    .filter(|_| matches!(machine.take(0, MigrateType::Movable, true), machine::Take::Got(_)))
                    .count();
                machine.end_slice();
            }
            taken
        };
        machine.start(Action::HoldBack);
        // A sixtieth of 16,384 pages is 273.
        let held = grow(&mut machine, 2);
        assert!((450..=560).contains(&held), "{held}");
        assert!(machine.held_slices() >= 100);
        machine.begin_slice();
        let network = (0..100)
            .filter(|_| matches!(machine.take(0, MigrateType::Unmovable, false), machine::Take::Got(_)))
            .count();
        assert_eq!(network, 100, "what cannot wait is given");
        machine.end_slice();
        let rest = grow(&mut machine, 4);
        assert!(rest < 1200, "{rest}");
        // Nobody renews it: faster and faster, and after three steps it is over.
        let loose = [3, 3, 3].map(|seconds| grow(&mut machine, seconds));
        assert!(loose.windows(2).all(|w| w[1] > w[0] * 3 / 2), "{loose:?}");
        assert!(!machine.is_held());
        assert_eq!(grow(&mut machine, 1), 3000);
    }

    #[test]
    fn plateaus_and_sawteeth_never_crash() {
        for family in ["plateau", "sawtooth"] {
            for index in 0..4 {
                assert!(simulate(family, index, Arm::Control).run.ooms.is_empty(), "{family} {index}");
            }
        }
    }
}
