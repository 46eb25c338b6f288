//! The guard's rules, each broken on purpose.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use sched::guard::{BUDGET, Candidate, Contain, Ending, Guard, Reason, Rule, SwitchOver, Trusting};
use sched::simulator::{Costs, Outcome, Program, Step, Workload, simulate};
use sched::transformer::Transformer;
use sched::{
    Eevdf, Enqueue, Entity, Nanos, Nice, Origin, Pick, Policy, QueueError, RegisterError, RoundRobin, SLICE,
    TaskId,
};

const MS: Nanos = 1_000_000;

/// What a rogue does wrong.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Vice {
    /// Panics at its n-th decision.
    Panics(u32),
    /// Panics when a task is queued.
    PanicsOnEnqueue(u32),
    /// Panics when it is asked whether a woken task goes first.
    PanicsOnPreempts,
    /// Never returns: the containment stops it.
    Loops(u32),
    /// Takes too long.
    Slow,
    /// Takes too long when it is told that a task was queued.
    SlowToQueue,
    /// Takes too long to say whether a woken task goes first.
    SlowToPreempt,
    /// Names a task that is not queued, or none.
    Names(Option<TaskId>),
    /// Says that its numbers are not finite.
    NotFinite,
    /// Always runs the first task that it knows, and lets the others wait.
    Favours,
    /// The same, for 2 s at a time.
    Hogs,
    /// Runs the longest burst first, in long slices.
    Worst,
    /// Everything from round robin, at random: a slice of 0, or of for ever.
    Slices(Nanos),
}

/// Its own time: only `Slow` makes it pass.
static CLOCK: AtomicU64 = AtomicU64::new(0);

struct Rogue {
    vice: Vice,
    inner: RoundRobin,
    queued: Vec<TaskId>,
    sizes: Vec<(TaskId, u64)>,
    calls: u32,
}

impl Rogue {
    fn new(vice: Vice) -> Self {
        Self { vice, inner: RoundRobin::new(), queued: Vec::new(), sizes: Vec::new(), calls: 0 }
    }
}

impl Policy for Rogue {
    fn name(&self) -> &'static str {
        "rogue"
    }
    fn register(&mut self, entity: &Entity, now: Nanos) -> Result<(), RegisterError> {
        self.sizes.push((entity.id(), entity.origin().declared));
        self.inner.register(entity, now)
    }
    fn unregister(&mut self, task: TaskId) -> bool {
        self.queued.retain(|&queued| queued != task);
        self.sizes.retain(|(known, _)| *known != task);
        self.inner.unregister(task)
    }
    fn enqueue(&mut self, entity: &Entity, why: Enqueue, now: Nanos) -> Result<(), QueueError> {
        self.calls += 1;
        assert!(!matches!(self.vice, Vice::PanicsOnEnqueue(at) if self.calls >= at), "on purpose");
        if self.vice == Vice::SlowToQueue {
            CLOCK.fetch_add(BUDGET + 1, Relaxed);
        }
        self.queued.push(entity.id());
        self.inner.enqueue(entity, why, now)
    }
    fn dequeue(&mut self, task: TaskId) -> bool {
        self.queued.retain(|&queued| queued != task);
        self.inner.dequeue(task)
    }
    fn pick(&mut self, now: Nanos) -> Option<Pick> {
        self.inner.pick(now)
    }
    fn take(&mut self, task: TaskId, now: Nanos) -> Option<Nanos> {
        self.queued.retain(|&queued| queued != task);
        self.inner.take(task, now)
    }
    fn charge(&mut self, task: TaskId, ran: Nanos, now: Nanos) {
        self.inner.charge(task, ran, now);
    }
    fn preempts(&self, woken: TaskId, current: TaskId, now: Nanos) -> bool {
        assert!(self.vice != Vice::PanicsOnPreempts, "on purpose");
        if self.vice == Vice::SlowToPreempt {
            CLOCK.fetch_add(BUDGET + 1, Relaxed);
            return true;
        }
        self.inner.preempts(woken, current, now)
    }
    fn knows(&self, task: TaskId) -> bool {
        self.inner.knows(task)
    }
    fn len(&self) -> usize {
        self.inner.len()
    }
    fn for_each(&self, visit: &mut dyn FnMut(TaskId)) {
        self.inner.for_each(visit);
    }
}

impl Candidate for Rogue {
    fn prefer(&mut self, _now: Nanos) -> Option<Pick> {
        self.calls += 1;
        let pick = |task: TaskId| Pick { task, slice: 50 * MS };
        let size =
            |task: TaskId| self.sizes.iter().find(|(known, _)| *known == task).map_or(0, |(_, size)| *size);
        match self.vice {
            Vice::Panics(at) if self.calls >= at => panic!("on purpose"),
            Vice::Loops(at) if self.calls >= at => panic!("stands for a loop that the containment stops"),
            Vice::Slow => {
                CLOCK.fetch_add(BUDGET + 1, Relaxed);
                self.queued.first().copied().map(pick)
            }
            Vice::Names(task) => task.map(pick),
            Vice::Favours => self.queued.iter().min().copied().map(pick),
            Vice::Hogs => self.queued.iter().min().map(|&task| Pick { task, slice: 2_000 * MS }),
            Vice::Worst => self.queued.iter().max_by_key(|&&task| size(task)).copied().map(pick),
            Vice::Slices(slice) => self.queued.first().map(|&task| Pick { task, slice }),
            _ => self.queued.first().copied().map(pick),
        }
    }
    fn expected(&self, task: TaskId) -> Option<Nanos> {
        // What the workload declared is true: so the guard has every reason to let it act.
        self.sizes.iter().find(|(known, _)| *known == task).map(|(_, size)| *size)
    }
    type Lesson = ();
    fn lesson(&mut self) -> Option<()> {
        None
    }
    fn learn((): &mut ()) {}
    fn learned(&mut self, (): &()) {}
    fn healthy(&self) -> bool {
        self.vice != Vice::NotFinite || self.calls < 5
    }
    fn restart(&mut self) {
        self.calls = 0;
    }
}

/// Catches panics; takes those of `Vice::Loops` for a loop that was stopped.
struct Catching {
    loops: bool,
}

impl Contain for Catching {
    fn run(&self, act: &mut dyn FnMut()) -> Ending {
        match (catch_unwind(AssertUnwindSafe(act)), self.loops) {
            (Ok(()), _) => Ending::Returned,
            (Err(_), false) => Ending::Panicked,
            (Err(_), true) => Ending::Stopped,
        }
    }
}

/// What a guard says of itself, passed out of the simulator.
type Notes = Arc<Mutex<(Vec<SwitchOver>, Option<sched::guard::Counts>)>>;

/// A guard whose log can be read while the simulator owns it.
struct Watched<C: Candidate> {
    guard: Guard<C>,
    notes: Notes,
}

impl<C: Candidate> Policy for Watched<C> {
    fn name(&self) -> &'static str {
        self.guard.name()
    }
    fn register(&mut self, entity: &Entity, now: Nanos) -> Result<(), RegisterError> {
        self.guard.register(entity, now)
    }
    fn unregister(&mut self, task: TaskId) -> bool {
        self.guard.unregister(task)
    }
    fn enqueue(&mut self, entity: &Entity, why: Enqueue, now: Nanos) -> Result<(), QueueError> {
        self.guard.enqueue(entity, why, now)
    }
    fn dequeue(&mut self, task: TaskId) -> bool {
        self.guard.dequeue(task)
    }
    fn pick(&mut self, now: Nanos) -> Option<Pick> {
        let pick = self.guard.pick(now);
        let mut notes = self.notes.lock().unwrap();
        *notes = (self.guard.log().collect(), Some(self.guard.counts()));
        pick
    }
    fn take(&mut self, task: TaskId, now: Nanos) -> Option<Nanos> {
        self.guard.take(task, now)
    }
    fn charge(&mut self, task: TaskId, ran: Nanos, now: Nanos) {
        self.guard.charge(task, ran, now);
    }
    fn preempts(&self, woken: TaskId, current: TaskId, now: Nanos) -> bool {
        self.guard.preempts(woken, current, now)
    }
    fn maintain(&mut self, now: Nanos) -> bool {
        self.guard.maintain(now)
    }
    fn knows(&self, task: TaskId) -> bool {
        self.guard.knows(task)
    }
    fn len(&self) -> usize {
        self.guard.len()
    }
    fn for_each(&self, visit: &mut dyn FnMut(TaskId)) {
        self.guard.for_each(visit);
    }
}

/// Short and long jobs at a load of about 0.85, each one's size declared.
fn jobs() -> Workload {
    let mut state = 7_u32;
    let mut draw = || {
        state = state.wrapping_mul(747_796_405).wrapping_add(2_891_336_453);
        f64::from(state >> 8) / f64::from(1 << 24)
    };
    let mut start = 0.0;
    let programs = (0..1500).map(|_| {
        let size = if draw() < 0.8 { 1.0 + 4.0 * draw() } else { 30.0 + 60.0 * draw() } * MS as f64;
        start -= 16.9 * MS as f64 * draw().max(1e-9).ln();
        Program {
            origin: Origin { program: 1, owner: 0, declared: size as u64 },
            nice: Nice::default(),
            start: start as Nanos,
            steps: vec![Step::Run(size as Nanos)],
            rounds: 1,
        }
    });
    Workload { programs: programs.collect(), end: None }
}

fn run<C: Candidate + 'static>(
    candidate: C,
    contain: Box<dyn Contain>,
    acting: bool,
) -> (Outcome, Vec<SwitchOver>, sched::guard::Counts) {
    let mut guard = Guard::new(candidate, contain, || CLOCK.load(Relaxed)).unwrap();
    if acting {
        guard.set_rule(Rule::Acting);
    }
    let notes = Notes::default();
    let outcome = simulate(&jobs(), Box::new(Watched { guard, notes: notes.clone() }), Costs::default());
    let (log, counts) = notes.lock().unwrap().clone();
    (outcome, log, counts.unwrap())
}

fn rogue(vice: Vice) -> (Outcome, Vec<SwitchOver>, sched::guard::Counts) {
    let contain = Catching { loops: matches!(vice, Vice::Loops(_)) };
    run(Rogue::new(vice), Box::new(contain), true)
}

fn eevdf() -> Outcome {
    simulate(&jobs(), Box::new(Eevdf::new()), Costs::default())
}

fn reasons(log: &[SwitchOver]) -> Vec<Reason> {
    log.iter().map(|switch| switch.reason).collect()
}

#[test]
fn whatever_it_does_all_work_is_done_and_the_guard_says_why_it_ended_it() {
    let classic = eevdf().summary();
    let vices = [
        Vice::Panics(200),
        Vice::PanicsOnEnqueue(300),
        Vice::PanicsOnPreempts,
        Vice::Loops(200),
        Vice::Slow,
        Vice::SlowToQueue,
        Vice::Names(Some(4_000_000)),
        Vice::Names(Some(0)),
        Vice::Names(None),
        Vice::NotFinite,
    ];
    for vice in vices {
        let (outcome, log, counts) = rogue(vice);
        assert_eq!((outcome.bursts.len(), outcome.refused), (1500, 0), "{vice:?}");
        // It was let act from the first burst on, against all rules; so until its fault shows, it may be a bad policy.
        let mean = outcome.summary().mean;
        assert!(mean < 2.0 * classic.mean, "{vice:?}: {mean} to {}", classic.mean);
        assert!(counts.returns >= 1, "{vice:?}");
        let expected = |reason: &Reason| match vice {
            Vice::Panics(_) | Vice::PanicsOnEnqueue(_) | Vice::PanicsOnPreempts => {
                *reason == Reason::Panicked
            }
            Vice::Loops(_) => *reason == Reason::Stopped,
            Vice::Slow | Vice::SlowToQueue => matches!(reason, Reason::Overruns(_)),
            Vice::Names(_) => *reason == Reason::NotRunnable,
            _ => *reason == Reason::NotFinite,
        };
        assert!(reasons(&log).iter().any(expected), "{vice:?}: {log:?}");
    }
}

#[test]
fn one_that_is_too_slow_even_to_watch_is_given_up() {
    for vice in [Vice::Slow, Vice::SlowToQueue] {
        let (outcome, log, counts) = run(Rogue::new(vice), Box::new(Catching { loops: false }), false);
        assert_eq!((outcome.bursts.len(), outcome.refused), (1500, 0), "{vice:?}");
        let last = log.last().map(|switch| (switch.to, switch.reason));
        assert!(matches!(last, Some((Rule::Off, Reason::Overruns(_)))), "{vice:?}: {log:?}");
        // After it nobody calls it any more.
        assert!((1..1000).contains(&(counts.overruns + counts.late)), "{vice:?}: {counts:?}");
    }
}

#[test]
fn a_late_word_on_who_goes_first_is_not_heard() {
    let candidate = Rogue::new(Vice::SlowToPreempt);
    let clock = || CLOCK.load(Relaxed);
    let mut guard = Guard::new(candidate, Box::new(Catching { loops: false }), clock).unwrap();
    let mut classic = Eevdf::new();
    for id in 0..2 {
        let entity = Entity::new(id, Nice::default(), sched::Class::Fair, 0);
        for policy in [&mut guard as &mut dyn Policy, &mut classic] {
            policy.register(&entity, 0).unwrap();
            policy.enqueue(&entity, Enqueue::New, 0).unwrap();
        }
    }
    assert!(guard.set_rule(Rule::Acting));
    let running = classic.pick(0).unwrap().task;
    assert!(guard.take(running, 0).is_some());
    let late = guard.counts().late;
    assert_eq!(guard.preempts(1 - running, running, 0), classic.preempts(1 - running, running, 0));
    guard.charge(running, MS, MS);
    assert_eq!(guard.counts().late, late + 1);
}

#[test]
fn one_that_broke_is_not_called_again_until_it_is_replaced() {
    let mut guard =
        Guard::new(Rogue::new(Vice::Panics(1)), Box::new(Catching { loops: false }), || 0).unwrap();
    let entities: Vec<Entity> =
        (0..3).map(|id| Entity::new(id, Nice::default(), sched::Class::Fair, 0)).collect();
    for entity in &entities {
        guard.register(entity, 0).unwrap();
        guard.enqueue(entity, Enqueue::New, 0).unwrap();
    }
    assert!(guard.set_rule(Rule::Acting));
    assert!(guard.pick(0).is_some());
    assert_eq!(guard.rule(), Rule::Off);
    assert!(guard.broken() && guard.candidate().is_none());
    assert!(guard.pick(1).is_some() && !guard.set_rule(Rule::Acting));
    guard.replace(Rogue::new(Vice::Favours), 2).unwrap();
    assert!(guard.set_rule(Rule::Acting));
    assert!(guard.pick(2).is_some());
    assert_eq!((guard.rule(), guard.counts().candidate), (Rule::Acting, 1));
    assert!(!guard.broken());
}

#[test]
fn one_that_breaks_when_asked_who_goes_first_is_given_up_with_the_next_call() {
    let mut guard =
        Guard::new(Rogue::new(Vice::PanicsOnPreempts), Box::new(Catching { loops: false }), || 0).unwrap();
    let entities: Vec<Entity> =
        (0..3).map(|id| Entity::new(id, Nice::default(), sched::Class::Fair, 0)).collect();
    for entity in &entities {
        guard.register(entity, 0).unwrap();
    }
    guard.enqueue(&entities[0], Enqueue::New, 0).unwrap();
    guard.enqueue(&entities[1], Enqueue::New, 0).unwrap();
    assert!(guard.set_rule(Rule::Acting));
    let running = guard.pick(0).unwrap().task;
    guard.enqueue(&entities[2], Enqueue::Wakeup, 1).unwrap();
    let (first, second) = (guard.preempts(2, running, 1), guard.preempts(2, running, 1));
    assert_eq!(first, second);
    assert!(guard.broken() && guard.candidate().is_none() && guard.candidate_mut().is_none());
    guard.maintain(2);
    assert_eq!(guard.rule(), Rule::Off);
    assert_eq!(guard.log().last().map(|change| change.reason), Some(Reason::Panicked));
    assert_eq!(guard.counts().returns, 1);
    guard.replace(Rogue::new(Vice::Favours), 3).unwrap();
    assert!(guard.set_rule(Rule::Acting) && guard.pick(3).is_some());
    assert_eq!(guard.rule(), Rule::Acting);
}

#[test]
fn one_that_breaks_while_it_is_off_leaves_a_trace() {
    let mut guard =
        Guard::new(Rogue::new(Vice::PanicsOnEnqueue(1)), Box::new(Catching { loops: false }), || 0).unwrap();
    assert!(guard.set_rule(Rule::Off));
    let entity = Entity::new(0, Nice::default(), sched::Class::Fair, 0);
    guard.register(&entity, 0).unwrap();
    guard.enqueue(&entity, Enqueue::New, 5).unwrap();
    let last = guard.log().last();
    assert_eq!(last, Some(SwitchOver { time: 5, to: Rule::Off, reason: Reason::Panicked }));
    assert!(guard.broken() && guard.pick(6).is_some());
}

#[test]
fn one_that_breaks_while_it_takes_the_place_of_another_is_given_up_too() {
    let mut guard =
        Guard::new(Rogue::new(Vice::PanicsOnEnqueue(1)), Box::new(Catching { loops: false }), || 0).unwrap();
    let entity = Entity::new(0, Nice::default(), sched::Class::Fair, 0);
    guard.register(&entity, 0).unwrap();
    guard.enqueue(&entity, Enqueue::New, 0).unwrap();
    assert!(guard.broken());
    guard.replace(Rogue::new(Vice::PanicsOnEnqueue(1)), 1).unwrap();
    assert!(guard.broken() && guard.counts().returns == 2);
    guard.replace(Rogue::new(Vice::Favours), 2).unwrap();
    assert!(!guard.broken() && guard.set_rule(Rule::Acting));
    assert_eq!(guard.pick(3).map(|pick| pick.task), Some(0));
    assert_eq!(guard.counts().candidate, 1);
}

#[test]
fn numbers_that_are_none_end_the_rule_of_the_real_network() {
    let transformer = Transformer::new().unwrap();
    let mut guard = Guard::new(transformer, Box::new(Trusting), || 0).unwrap();
    let entities: Vec<Entity> =
        (0..3).map(|id| Entity::new(id, Nice::default(), sched::Class::Fair, 0)).collect();
    for entity in &entities {
        guard.register(entity, 0).unwrap();
        guard.enqueue(entity, Enqueue::New, 0).unwrap();
    }
    assert!(guard.set_rule(Rule::Acting));
    guard.candidate_mut().unwrap().poison();
    // What it says is still one of the three tasks.
    assert!(guard.pick(1).is_some());
    guard.maintain(2);
    assert_eq!(guard.log().last().map(|change| change.reason), Some(Reason::NotFinite));
    assert_eq!(guard.rule(), Rule::Shadow);
    assert!(guard.candidate().unwrap().weights().finite() && guard.pick(3).is_some());
}

#[test]
fn one_that_makes_things_worse_is_sent_back_and_has_to_wait() {
    let classic = eevdf().summary();
    let (outcome, log, counts) = rogue(Vice::Worst);
    let reasons = reasons(&log);
    assert!(reasons.iter().any(|r| matches!(r, Reason::Slower(_) | Reason::Neglect(_))), "{reasons:?}");
    assert!(counts.candidate < counts.decisions / 4, "{counts:?}");
    let mean = outcome.summary().mean;
    assert!(mean < 1.5 * classic.mean, "{mean} to {}", classic.mean);
}

#[test]
fn nobody_starves_under_one_that_has_a_favourite() {
    for (vice, tasks) in [(Vice::Favours, 8), (Vice::Hogs, 8), (Vice::Hogs, 2)] {
        let mut guard = Guard::new(Rogue::new(vice), Box::new(Trusting), || 0).unwrap();
        let entities: Vec<Entity> =
            (0..tasks).map(|id| Entity::new(id, Nice::default(), sched::Class::Fair, 0)).collect();
        for entity in &entities {
            guard.register(entity, 0).unwrap();
            guard.enqueue(entity, Enqueue::New, 0).unwrap();
        }
        guard.set_rule(Rule::Acting);
        // The bound, the shortest slice that the favourite gets, and one of each other that is due at the same time.
        let longest = guard.bound() + 250 * MS + u64::from(tasks - 2) * SLICE;
        let (mut now, mut last) = (0, vec![0_u64; tasks as usize]);
        while now < 20_000 * MS {
            let pick = guard.pick(now).unwrap();
            let waited = now - last[pick.task as usize];
            assert!(waited <= longest, "{vice:?}: task {} of {tasks} waited {waited}", pick.task);
            now += pick.slice;
            last[pick.task as usize] = now;
            guard.charge(pick.task, pick.slice, now);
            guard.enqueue(&entities[pick.task as usize], Enqueue::Preempted, now).unwrap();
        }
        assert!(last.iter().all(|&last| last > 15_000 * MS), "{vice:?}: {last:?}");
        assert!(guard.counts().starved > 0 && guard.counts().candidate > 0);
    }
}

#[test]
fn in_shadow_mode_it_is_asked_and_changes_nothing() {
    let mut guard = Guard::new(Transformer::new().unwrap(), Box::new(Trusting), || 0).unwrap();
    guard.set_rule(Rule::Shadow);
    let notes = Notes::default();
    let outcome = simulate(&jobs(), Box::new(Watched { guard, notes: notes.clone() }), Costs::default());
    let classic = eevdf();
    assert_eq!(outcome.bursts, classic.bursts);
    let counts = notes.lock().unwrap().1.unwrap();
    assert!(counts.compared > 100 && counts.candidate == 0 && counts.agreed < counts.compared);
}

#[test]
fn the_transformer_is_let_in_when_sizes_are_foreseeable() {
    let (outcome, log, counts) = run(Transformer::new().unwrap(), Box::new(Trusting), false);
    assert!(matches!(reasons(&log)[..], [Reason::Promising(_), ..]), "{log:?}");
    assert!(counts.candidate > counts.decisions / 2);
    let (learned, classic) = (outcome.summary(), eevdf().summary());
    assert!(learned.mean < 0.85 * classic.mean, "{} to {}", learned.mean, classic.mean);
    assert!(learned.p99 < 1.1 * classic.p99, "{} to {}", learned.p99, classic.p99);
    assert!(learned.switches < classic.switches * 9 / 10);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever slices and tasks a candidate names: the work is done, and a slice is never 0.
    #[test]
    fn answers_are_held_to_what_is_allowed(slice in prop_oneof![Just(0), Just(Nanos::MAX), 1..MS], task in 0..1600_u32) {
        for vice in [Vice::Slices(slice), Vice::Names(Some(task))] {
            // So many switches of a nanosecond each would take long to simulate.
            if matches!(vice, Vice::Slices(slice) if (1..10_000).contains(&slice)) {
                continue;
            }
            let mut guard = Guard::new(Rogue::new(vice), Box::new(Trusting), || 0).unwrap();
            let entities: Vec<Entity> = (0..5).map(|id| Entity::new(id, Nice::default(), sched::Class::Fair, 0)).collect();
            for entity in &entities {
                guard.register(entity, 0).unwrap();
                guard.enqueue(entity, Enqueue::New, 0).unwrap();
            }
            guard.set_rule(Rule::Acting);
            let mut now = 0;
            for _ in 0..200 {
                let pick = guard.pick(now).unwrap();
                prop_assert!(pick.slice >= 1 && pick.slice <= guard.bound() + 16 * SLICE && pick.task < 5);
                now += pick.slice;
                guard.charge(pick.task, pick.slice, now);
                guard.enqueue(&entities[pick.task as usize], Enqueue::Preempted, now).unwrap();
                guard.maintain(now);
            }
            prop_assert_eq!(guard.len(), 5);
        }
    }
}
