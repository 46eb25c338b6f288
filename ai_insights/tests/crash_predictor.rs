//! The predictor keeps its promises on any input; each rule of the guard is broken on purpose.

use ai_insights::crash_predictor::{
    Action, Assessment, Decision, Done, Guard, HOLD_NS, Interval, Mode, Outcome, Predictor, Risk, Sample, Why,
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
    // Nothing to reclaim, nothing scattered, holding not allowed: no action is in the allowed set.
    guard.set_holding(false);
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
fn it_reclaims_first_then_compacts_and_then_holds_growth_back() {
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
        matches!(
            actions[..],
            [Action::Reclaim { .. }, Action::Compact, Action::HoldBack, Action::Reclaim { .. }, ..]
        ),
        "{actions:?}"
    );
}

/// Danger with nothing to reclaim or compact: only holding helps.
fn only_holding(t_ns: u64) -> (Sample, Assessment) {
    let (sample, assessment) = danger(t_ns);
    (Sample { reclaimable_pages: 0, ..sample }, assessment)
}

/// Samples in the first seconds of which there is danger, and none after; when a hold was begun or renewed.
fn held(guard: &mut Guard, seconds: u64, alarm: u64, free_pages: impl Fn(u64) -> u64) -> Vec<u64> {
    let mut times = Vec::new();
    for tick in 10..10 + seconds * 10 {
        let (mut sample, mut assessment) = only_holding(tick * TICK);
        sample.free_pages = free_pages(tick);
        if tick >= 10 + alarm * 10 {
            assessment.probability = 0.01;
        }
        if let Decision::Act(action) = guard.decide(&assessment, &sample, 0.5, 0) {
            assert_eq!(action, Action::HoldBack);
            times.push(sample.t_ns);
            guard.done(Done { t_ns: sample.t_ns, pages: 0 });
        }
    }
    times
}

#[test]
fn a_hold_outlasts_its_alarm_but_not_a_minute() {
    let mut guard = guard(Mode::On);
    let times = held(&mut guard, 100, 1, |_| 4_000);
    let last = times.last().unwrap() + HOLD_NS;
    assert!((50 * SECOND..=60 * SECOND).contains(&(last - times[0])), "{times:?}");
    assert!(times.windows(2).all(|w| (1_500_000_000..HOLD_NS).contains(&(w[1] - w[0]))), "{times:?}");
    let score = guard.score();
    assert_eq!((score.holds, score.renewals, score.actions), (1, times.len() as u64 - 1, times.len() as u64));
    assert!(!guard.holds());
}

#[test]
fn after_a_minute_it_lets_go_and_cools_down_even_if_the_danger_goes_on() {
    let mut guard = guard(Mode::On);
    let times = held(&mut guard, 80, 80, |_| 4_000);
    assert_eq!(guard.score().holds, 2);
    let gap = times.windows(2).map(|w| w[1] - w[0]).max().unwrap();
    assert!(gap >= HOLD_NS + 1_500_000_000, "{times:?}");
}

#[test]
fn a_hold_is_not_renewed_once_memory_is_back() {
    // A fiftieth of 65,536 pages, less one, is not enough.
    let mut first = guard(Mode::On);
    assert!(held(&mut first, 10, 1, |tick| if tick < 15 { 4_000 } else { 5_309 }).len() > 1);
    let mut second = guard(Mode::On);
    assert_eq!(held(&mut second, 10, 1, |tick| if tick < 15 { 4_000 } else { 5_310 }).len(), 1);
    assert!(!second.holds());
}

#[test]
fn a_fall_that_a_hold_broke_is_held_again_without_an_alarm_for_half_a_minute() {
    for (later, seconds_left, expected) in [(20, 50.0, true), (31, 50.0, false), (20, 70.0, false)] {
        let mut guard = guard(Mode::On);
        // Held at 4,000 pages; then they come back.
        assert_eq!(held(&mut guard, 3, 1, |tick| if tick < 15 { 4_000 } else { 6_000 }).len(), 1);
        let (mut sample, mut assessment) = only_holding((2 + later) * SECOND);
        assessment.probability = 0.01;
        assessment.seconds_to_oom =
            Some(Interval { low: seconds_left, mid: seconds_left, high: seconds_left });
        assert_eq!(guard.decide(&assessment, &sample, 0.5, 0), Decision::Nothing(Why::Calm), "not below it");
        sample.free_pages = 3_999;
        let again = guard.decide(&assessment, &sample, 0.5, 0) == Decision::Act(Action::HoldBack);
        assert_eq!(again, expected, "{later} s later, {seconds_left} s left");
    }
}

#[test]
fn with_little_time_left_it_holds_before_it_reclaims() {
    let mut guard = guard(Mode::On);
    let mut actions = Vec::new();
    for tick in 10u64..40 {
        let (sample, mut assessment) = danger(tick * TICK);
        assessment.seconds_to_oom = Some(Interval { low: 4.0, mid: 9.9, high: 15.0 });
        if let Decision::Act(action) = guard.decide(&assessment, &sample, 0.5, 0) {
            actions.push(action);
        }
    }
    assert!(matches!(actions[..], [Action::HoldBack, Action::Reclaim { .. }]), "{actions:?}");
}

#[test]
fn validity_and_budget_no_hold_is_begun_or_renewed_by_an_assessment_that_is_not_used() {
    let mut guard = guard(Mode::On);
    let (sample, assessment) = only_holding(SECOND);
    let low = Sample { free_pages: 100, ..sample };
    let wrong = Assessment { probability: f32::NAN, ..assessment };
    // The classic rule sees danger, and has nothing that it could do.
    assert_eq!(guard.decide(&wrong, &low, 0.5, 0), Decision::Nothing(Why::Futile));
    assert_eq!(guard.decide(&assessment, &low, 0.5, 1_001), Decision::Nothing(Why::Futile));
    assert_eq!(guard.decide(&assessment, &sample, 0.5, 0), Decision::Act(Action::HoldBack));
    for tick in 11..200 {
        let (sample, assessment) = only_holding(tick * TICK);
        assert_eq!(guard.decide(&assessment, &sample, 0.5, 1_001), Decision::Nothing(Why::Calm));
    }
    assert_eq!((guard.score().holds, guard.score().renewals, guard.holds()), (1, 0, false));
}

#[test]
fn watchdog_a_hold_that_more_refusals_follow_is_worse_and_three_end_it() {
    let mut guard = guard(Mode::On);
    let mut failures = 0;
    for tick in 10u64..200 {
        let (mut sample, assessment) = only_holding(tick * TICK);
        failures += guard.score().actions * tick;
        sample.failures = failures;
        guard.decide(&assessment, &sample, 0.5, 0);
    }
    let score = guard.score();
    assert_eq!((score.holds, score.renewals, score.worse, score.watchdog), (1, 2, 3, 1));
    assert_eq!((guard.mode(), guard.holds()), (Mode::Classic, false));
}

#[test]
fn score_a_dry_run_holds_nothing() {
    let mut guard = guard(Mode::DryRun);
    let (sample, assessment) = only_holding(SECOND);
    assert_eq!(guard.decide(&assessment, &sample, 0.5, 0), Decision::WouldAct(Action::HoldBack));
    assert_eq!((guard.score().holds, guard.score().would_act, guard.holds()), (0, 1, false));
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

/// Seconds that are left at the first alarm of a leak of 200 pages a tick.
fn left_at_the_alarm(mut predictor: Predictor) -> u64 {
    let start = predictor.samples() + 100;
    for tick in 0..=320 {
        let free = 65_536 - 200 * tick;
        let assessment = predictor.sample(Sample::quiet((start + tick) * TICK, 65_536, free));
        if assessment.probability >= predictor.threshold() {
            return free / 2000;
        }
    }
    panic!("no alarm");
}

#[test]
fn an_alarm_waits_whatever_was_learned_and_wherever_the_threshold_is() {
    let fresh = Predictor::new();
    let mut tuned = fresh.clone();
    assert_eq!(tuned.set_threshold(0.3), Ok(()));
    // Crashes that nobody foresaw make it nervous.
    let mut nervous = fresh.clone();
    for crash in 1..=5 {
        for tick in 0..80 {
            let free = if tick < 78 { 60_000 } else { 100 };
            nervous.sample(Sample::quiet((crash * 80 + tick) * TICK, 65_536, free));
        }
        nervous.outcome_oom((crash * 80 + 79) * TICK + 1);
    }
    assert!(nervous.model().learned().1 > 0.1, "{:?}", nervous.model().learned());
    for predictor in [fresh, tuned, nervous] {
        let left = left_at_the_alarm(predictor);
        assert!((5..=9).contains(&left), "{left} s");
    }
}

#[test]
fn a_changed_threshold_changes_the_risk_at_once_and_waiting_hides_no_factor() {
    let mut predictor = Predictor::new();
    for tick in 1..=150 {
        predictor.sample(Sample::quiet(tick * TICK, 65_536, 65_536 - 200 * tick));
    }
    // 17 s are left.
    assert_eq!(predictor.last().map(|last| last.risk < Risk::Warning), Some(true));
    assert!(predictor.factors().iter().any(|factor| factor.contribution > 0.1), "{:?}", predictor.factors());
    assert_eq!(predictor.set_threshold(0.01), Ok(()));
    assert_eq!(predictor.last().map(|last| last.risk >= Risk::Warning), Some(true));
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
fn memory_that_has_run_out_refuses_many_requests_and_is_one_crash() {
    let mut predictor = Predictor::new();
    let oom = leak(&mut predictor, 250) * TICK;
    for second in 0..60 {
        let now = oom + second * SECOND;
        predictor.outcome_oom(now);
        (1..10).for_each(|tick| _ = predictor.sample(Sample::quiet(now + tick * TICK, 65_536, 0)));
    }
    let score = predictor.score();
    assert_eq!((score.true_positives, score.misses, score.pending), (1, 0, 0), "{score:?}");
    // A while after is another one.
    let later = oom + 70 * SECOND;
    (0..40).for_each(|tick| _ = predictor.sample(Sample::quiet(later + tick * TICK, 65_536, 60_000)));
    predictor.outcome_oom(later + 40 * TICK);
    assert_eq!(predictor.score().misses, 1);
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
