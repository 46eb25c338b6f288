//! The predictor keeps its promises on any input; each rule of the guard is broken on purpose.

use ai_insights::crash_predictor::{
    Action, Assessment, Decision, Done, Guard, Mode, Outcome, Predictor, Risk, Sample, Why,
};
use proptest::prelude::*;

const TICK: u64 = 100_000_000;
const SECOND: u64 = 1_000_000_000;

fn danger(t_ns: u64) -> (Sample, Assessment) {
    let mut sample = Sample::quiet(t_ns, 65_536, 4_000);
    sample.reclaimable_pages = 10_000;
    let mut assessment = Predictor::new().sample(sample);
    assessment.probability = 0.95;
    (sample, assessment)
}

fn guard(mode: Mode) -> Guard {
    let mut guard = Guard::new(1_000);
    guard.set_mode(mode);
    guard
}

#[test]
fn budget_a_late_assessment_is_not_used() {
    let (sample, assessment) = danger(SECOND);
    let mut guard = guard(Mode::On);
    assert_eq!(guard.decide(&assessment, &sample, 0.5, 1_001), Decision::Nothing(Why::Calm));
    assert_eq!(guard.score().over_budget, 1);
    // The classic rule still answers.
    let (mut low, assessment) = danger(2 * SECOND);
    low.free_pages = 100;
    assert!(matches!(guard.decide(&assessment, &low, 0.5, 1_001), Decision::Act(_)));
}

#[test]
fn validity_nonsense_is_never_applied() {
    let (sample, assessment) = danger(SECOND);
    let mut guard = guard(Mode::On);
    for probability in [f32::NAN, f32::INFINITY, -0.1, 1.5] {
        let wrong = Assessment { probability, ..assessment };
        assert_eq!(guard.decide(&wrong, &sample, 0.5, 0), Decision::Nothing(Why::Calm), "{probability}");
    }
    let stale = Sample { t_ns: 60 * SECOND, ..sample };
    assert_eq!(guard.decide(&assessment, &stale, 0.5, 0), Decision::Nothing(Why::Calm));
    assert_eq!(guard.score().invalid, 5);
    // Nothing to reclaim, nothing scattered: no action is in the allowed set.
    let futile = Sample { reclaimable_pages: 0, ..sample };
    assert_eq!(guard.decide(&assessment, &futile, 0.5, 0), Decision::Nothing(Why::Futile));
}

#[test]
fn cooldown_holds_whatever_is_asked() {
    let mut guard = guard(Mode::On);
    guard.set_cooldown(0);
    let mut acted = Vec::new();
    for tick in 10u64..110 {
        let (sample, assessment) = danger(tick * TICK);
        if let Decision::Act(_) = guard.decide(&assessment, &sample, 0.5, 0) {
            acted.push(sample.t_ns);
            guard.done(Done { t_ns: sample.t_ns + TICK, pages: 1 });
        }
    }
    assert!((4..=7).contains(&acted.len()), "{acted:?}");
    assert!(acted.windows(2).all(|w| w[1] - w[0] >= 1_500_000_000), "{acted:?}");
    assert!(guard.score().cooled > 50);
}

#[test]
fn watchdog_takes_control_back_and_says_so() {
    let mut guard = guard(Mode::On);
    let mut failures = 0;
    for tick in 10u64..200 {
        let (mut sample, assessment) = danger(tick * TICK);
        // Every action is followed by more refusals than before it.
        failures += guard.score().actions * tick;
        sample.failures = failures;
        guard.decide(&assessment, &sample, 0.5, 0);
    }
    assert_eq!(guard.mode(), Mode::Classic);
    assert_eq!(guard.mode().name(), "classic (watchdog)");
    assert_eq!((guard.score().watchdog, guard.score().worse), (1, 3));
    let actions = guard.score().actions;
    let (sample, assessment) = danger(300 * TICK);
    assert_eq!(guard.decide(&assessment, &sample, 0.5, 0), Decision::Nothing(Why::Calm));
    assert_eq!(guard.score().actions, actions);
}

#[test]
fn score_every_decision_is_counted_and_a_dry_run_does_nothing() {
    let mut dry = guard(Mode::DryRun);
    let mut off = guard(Mode::Off);
    for tick in 10u64..50 {
        let (sample, assessment) = danger(tick * TICK);
        assert!(!matches!(dry.decide(&assessment, &sample, 0.5, 0), Decision::Act(_)));
        assert_eq!(off.decide(&assessment, &sample, 0.5, 0), Decision::Nothing(Why::Off));
    }
    assert_eq!((dry.score().decisions, dry.score().actions), (40, 0));
    assert!(dry.score().would_act >= 2);
    assert_eq!(off.score().decisions, 40);
}

#[test]
fn it_reclaims_first_and_then_compacts() {
    let mut guard = guard(Mode::On);
    let mut actions = Vec::new();
    for tick in 10u64..60 {
        let (mut sample, assessment) = danger(tick * TICK);
        sample.fragmentation = 700;
        if let Decision::Act(action) = guard.decide(&assessment, &sample, 0.5, 0) {
            actions.push(action);
        }
    }
    assert!(
        matches!(actions[..], [Action::Reclaim { .. }, Action::Compact, Action::Reclaim { .. }, ..]),
        "{actions:?}"
    );
}

/// A leak of this many pages a tick out of 65,536, until nothing is left; then the OOM.
fn leak(predictor: &mut Predictor, rate: u64) -> u64 {
    let mut tick = 0;
    while tick * rate < 65_000 {
        let mut sample = Sample::quiet(tick * TICK, 65_536, 65_536 - tick * rate);
        sample.allocated_pages = tick * rate;
        predictor.sample(sample);
        tick += 1;
    }
    predictor.outcome_oom(tick * TICK);
    tick
}

#[test]
fn a_leak_is_announced_and_resolved() {
    let mut predictor = Predictor::new();
    leak(&mut predictor, 250);
    let score = predictor.score();
    assert_eq!((score.true_positives, score.misses, score.pending), (1, 0, 0));
    assert!(score.mean_lead_s.unwrap() >= 5.0, "{score:?}");
    assert!(score.brier.unwrap() < score.brier_baseline.unwrap(), "{score:?}");
    assert_eq!(predictor.history().next().unwrap().outcome, Outcome::TruePositive);
}

#[test]
fn what_comes_out_of_nothing_is_a_miss() {
    let mut predictor = Predictor::new();
    for tick in 0..100u64 {
        let assessment = predictor.sample(Sample::quiet(tick * TICK, 65_536, 40_000));
        assert_eq!(assessment.risk, Risk::Normal);
        assert!(assessment.seconds_to_oom.is_none());
    }
    predictor.outcome_oom(100 * TICK);
    assert_eq!((predictor.score().misses, predictor.score().recall), (1, Some(0.0)));
}

#[test]
fn a_cache_that_fills_up_is_no_growth() {
    let mut predictor = Predictor::new();
    for tick in 0..400u64 {
        let mut sample = Sample::quiet(tick * TICK, 65_536, 60_000 - tick * 140);
        sample.allocated_pages = tick * 140;
        sample.reclaimable_pages = tick * 140;
        let assessment = predictor.sample(sample);
        assert_eq!(assessment.risk, Risk::Normal, "{assessment:?}");
    }
}

#[test]
fn a_fall_that_was_survived_often_frightens_less_than_the_first() {
    let mut predictor = Predictor::new();
    let mut alarms = Vec::new();
    for tick in 0..2_000u64 {
        // A heap of 60 % of the memory that is collected every 8 s.
        let held = (tick % 80) * 490;
        let mut sample = Sample::quiet(tick * TICK, 65_536, 64_000 - held);
        sample.allocated_pages = tick * 490;
        sample.freed_pages = (tick / 80) * 80 * 490;
        alarms.push(predictor.sample(sample).probability);
    }
    let highest = |part: &[f32]| part.iter().copied().fold(0.0, f32::max);
    assert!(highest(&alarms[1200..]) < predictor.threshold());
    assert!(
        highest(&alarms[1200..]) < highest(&alarms[..80]),
        "{} {}",
        highest(&alarms[1200..]),
        highest(&alarms[..80])
    );
}

#[test]
fn one_threshold_is_obeyed_and_a_wrong_one_refused() {
    let mut predictor = Predictor::new();
    for wrong in [0.0, 1.0, -1.0, f32::NAN] {
        assert!(predictor.set_threshold(wrong).is_err());
    }
    predictor.set_threshold(0.99).unwrap();
    assert_eq!(Risk::of(0.98, predictor.threshold()), Risk::Elevated);
    assert_eq!(Risk::of(0.99, predictor.threshold()), Risk::Warning);
}

#[test]
fn it_fits_into_8_kib() {
    assert!(size_of::<Predictor>() <= 8192, "{}", size_of::<Predictor>());
    println!("{} bytes", size_of::<Predictor>());
}

proptest! {
    #[test]
    fn any_samples_leave_finite_answers(
        steps in prop::collection::vec((any::<u32>(), any::<u64>(), any::<u64>(), any::<i16>(), any::<bool>()), 1..200),
    ) {
        let mut predictor = Predictor::new();
        let mut t_ns = 0u64;
        for (dt, total, number, fragmentation, oom) in steps {
            t_ns = t_ns.saturating_add(u64::from(dt));
            let mut sample = Sample::quiet(t_ns, total, number);
            sample.fragmentation = fragmentation;
            sample.failures = number.rotate_left(7);
            sample.allocated_pages = number.rotate_left(13);
            sample.freed_pages = number.rotate_left(29);
            sample.stall_some_ns = number.rotate_left(41);
            sample.reclaimable_pages = number.rotate_left(3);
            let a = predictor.sample(sample);
            prop_assert!((0.0..=1.0).contains(&a.probability));
            prop_assert!(predictor.factors().iter().all(|f| f.contribution.is_finite()));
            if let Some(s) = a.seconds_to_oom {
                prop_assert!(s.low <= s.mid && s.mid <= s.high && s.low >= 0.0, "{s:?}");
            }
            if oom {
                predictor.outcome_oom(t_ns);
            }
            let score = predictor.score();
            prop_assert!(score.pending <= 1);
            prop_assert!(predictor.free_series().count() <= 100);
        }
    }
}

/// Prints the time of an update; asserts nothing about it, for machines differ. `cargo test --release -- --nocapture`.
#[test]
fn time_of_an_update() {
    let mut predictor = Predictor::new();
    let start = std::time::Instant::now();
    let updates = 200_000u64;
    for tick in 0..updates {
        predictor.sample(Sample::quiet(tick * TICK, 65_536, 40_000 - tick % 30_000));
    }
    println!("{:.0} ns per update", start.elapsed().as_nanos() as f64 / updates as f64);
    assert_eq!(predictor.samples(), updates);
}
