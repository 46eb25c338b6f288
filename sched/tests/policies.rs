//! All fair policies on the same terms, EEVDF's bounds, and reservations beside each of them.

use proptest::prelude::*;
use sched::guard::{Guard, Rule, Trusting};
use sched::simulator::{Costs, Program, Srpt, Step, Workload, simulate_with};
use sched::transformer::Transformer;
use sched::{
    Class, Eevdf, Enqueue, Entity, Fair, Fcfs, Mlfq, Nanos, Nice, Origin, Policy, Reservation, RoundRobin,
    RunQueue, SLICE, Stop, TaskId,
};

const MS: Nanos = 1_000_000;

type Make = fn(&sched::simulator::Remaining) -> Box<dyn Policy>;

fn guarded() -> Guard<Transformer> {
    Guard::new(Transformer::new().unwrap(), Box::new(Trusting), || 0).unwrap()
}

const POLICIES: [Make; 8] = [
    |_| Box::new(Fcfs::new()),
    |_| Box::new(RoundRobin::new()),
    |_| Box::new(Mlfq::new()),
    |_| Box::new(Fair::new()),
    |_| Box::new(Eevdf::new()),
    |_| Box::new(Transformer::new().unwrap()),
    |_| Box::new(guarded()),
    |remaining| Box::new(Srpt::new(remaining)),
];

fn program() -> impl Strategy<Value = Program> {
    let time = || 1_000..20 * MS;
    let step = prop_oneof![
        4 => time().prop_map(Step::Run),
        2 => time().prop_map(Step::Sleep),
        1 => time().prop_map(Step::Period),
        1 => (0..1000_u64).prop_map(Step::Declare),
        1 => (0..3_u32).prop_map(Step::Signal),
    ];
    let origin = (0..4_u32, 0..3_u32).prop_map(|(program, owner)| Origin { program, owner, declared: 0 });
    (prop::collection::vec(step, 1..8), -19..19_i32, 0..50 * MS, 1..6_u32, origin).prop_map(
        |(steps, nice, start, rounds, origin)| Program {
            origin,
            nice: Nice::new(nice),
            start,
            steps,
            rounds,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever the tasks do: under every policy all work is done, no call is refused, and the CPU idles only when nobody wants it.
    #[test]
    fn every_policy_does_all_the_work(programs in prop::collection::vec(program(), 1..20)) {
        let workload = Workload { programs, end: None };
        let work = workload.work().unwrap();
        for make in POLICIES {
            let costs = Costs { switch: 0, decision: 0, maintain_every: 1 };
            let outcome = simulate_with(&workload, make, costs);
            prop_assert_eq!(outcome.refused, 0);
            prop_assert_eq!(outcome.bursts.iter().map(|burst| burst.size).sum::<Nanos>(), work);
            prop_assert_eq!(outcome.elapsed, work + outcome.idle);
        }
    }

    /// Theorem 1 of the EEVDF paper: while the same tasks compete, no lag leaves −slice..slice (give or take what rounding
    /// a slice up to its shortest adds).
    #[test]
    fn eevdf_lag_is_bounded(nices in prop::collection::vec(-12..=12_i32, 2..12), parts in prop::collection::vec(1..100_u64, 300)) {
        let entities: Vec<Entity> =
            nices.iter().enumerate().map(|(id, &nice)| Entity::new(id as TaskId, Nice::new(nice), Class::Fair, 0)).collect();
        let mut policy = Eevdf::new();
        for entity in &entities {
            policy.register(entity, 0).unwrap();
            policy.enqueue(entity, Enqueue::New, 0).unwrap();
        }
        let bound = (SLICE + 20_000) as i64;
        let mut now = 0;
        for part in parts {
            let pick = policy.pick(now).unwrap();
            // All of the slice, or, as when something else interrupts, a part of it.
            let ran = (pick.slice * part.min(80) / 80).max(1);
            now += ran;
            policy.charge(pick.task, ran, now);
            for entity in &entities {
                let lag = policy.lag(entity.id()).unwrap();
                prop_assert!(lag.abs() <= bound, "task {} has lag {lag}", entity.id());
            }
            policy.enqueue(&entities[pick.task as usize], Enqueue::Preempted, now).unwrap();
            let sum: i64 = entities.iter().map(|entity| policy.lag(entity.id()).unwrap()).sum();
            prop_assert!(sum.abs() <= entities.len() as i64 * 100, "lags add up to {sum}");
        }
    }

    /// A task that comes back from sleep has the lag that it left with, within one slice: sleeping neither earns nor loses.
    #[test]
    fn eevdf_sleepers_gain_nothing(sleeps in prop::collection::vec((1..40_u64, 1..40_u64), 50)) {
        let entities: Vec<Entity> = (0..3).map(|id| Entity::new(id, Nice::default(), Class::Fair, 0)).collect();
        let mut policy = Eevdf::new();
        for entity in &entities {
            policy.register(entity, 0).unwrap();
            policy.enqueue(entity, Enqueue::New, 0).unwrap();
        }
        let (mut now, mut ran, mut awake_time) = (0, [0_u64; 3], 0);
        for (busy, asleep) in sleeps {
            for awake in [true, false] {
                let until = now + if awake { busy } else { asleep } * MS;
                while now < until {
                    let Some(pick) = policy.pick(now) else { break };
                    let part = pick.slice.min(until - now).max(1);
                    now += part;
                    ran[pick.task as usize] += part;
                    awake_time += if awake { part } else { 0 };
                    policy.charge(pick.task, part, now);
                    policy.enqueue(&entities[pick.task as usize], Enqueue::Preempted, now).unwrap();
                }
                if awake {
                    policy.dequeue(0);
                } else {
                    policy.enqueue(&entities[0], Enqueue::Wakeup, now).unwrap();
                }
            }
        }
        // A third of the time that it was awake, give or take a slice for its lag at either end.
        let due = awake_time / 3;
        prop_assert!(ran[0].abs_diff(due) <= 3 * SLICE, "ran {} of {due}", ran[0]);
    }
}

/// A reservation of 30 % gets 30 % and no more, whichever policy the fair class has and whatever it is up to.
#[test]
fn a_server_keeps_its_share_beside_every_policy() {
    let workload_free: [fn() -> Box<dyn Policy>; 6] = [
        || Box::new(Fcfs::new()),
        || Box::new(RoundRobin::new()),
        || Box::new(Mlfq::new()),
        || Box::new(Eevdf::new()),
        || Box::new(Transformer::new().unwrap()),
        || {
            let mut guard = guarded();
            guard.set_rule(Rule::Acting);
            Box::new(guard)
        },
    ];
    for make in workload_free {
        let mut queue = RunQueue::new(make());
        let name = queue.policy_name();
        let reservation = Reservation { budget: 3 * MS, period: 10 * MS };
        let mut entities = vec![Entity::new(0, Nice::default(), Class::Reserved(reservation), 0)];
        entities.extend((1..9).map(|id| Entity::new(id, Nice::MIN, Class::Fair, 0)));
        for entity in &entities {
            queue.register(entity, 0).unwrap();
            queue.enqueue(entity, Enqueue::New, 0).unwrap();
        }
        let (mut now, mut served) = (0, 0);
        while now < 5_000 * MS {
            let pick = queue.pick(now).unwrap();
            now += pick.slice;
            served += if pick.task == 0 { pick.slice } else { 0 };
            queue.charge(pick.task, pick.slice, now);
            queue.enqueue(&entities[pick.task as usize], Enqueue::Preempted, now).unwrap();
            queue.maintain(now);
        }
        let share = served as f64 / now as f64;
        assert!((0.28..=0.32).contains(&share), "{share} beside {name}");
    }
}

/// Changing the policy under way loses nobody.
#[test]
fn policies_can_be_exchanged() {
    let mut queue = RunQueue::new(Box::new(Eevdf::new()));
    let entities: Vec<Entity> = (0..6).map(|id| Entity::new(id, Nice::default(), Class::Fair, 0)).collect();
    for entity in &entities {
        queue.register(entity, 0).unwrap();
    }
    for entity in &entities[..4] {
        queue.enqueue(entity, Enqueue::New, 0).unwrap();
    }
    let running = queue.pick(0).unwrap().task;

    for (round, make) in [(|| Box::new(guarded()) as Box<dyn Policy>) as fn() -> _, || Box::new(Mlfq::new())]
        .iter()
        .enumerate()
    {
        let old = queue.set_policy(make(), &entities, Some(running), 1 + round as u64).ok().unwrap();
        assert!(old.is_empty() && entities.iter().all(|entity| !old.knows(entity.id())));
        assert_eq!(queue.len(), 3);
        assert!(entities.iter().all(|entity| queue.knows(entity.id())));
    }
    queue.charge(running, 1000, 1000);
    queue.enqueue(&entities[running as usize], Enqueue::Preempted, 1000).unwrap();
    let mut seen: Vec<TaskId> = Vec::new();
    while let Some(pick) = queue.pick(2000) {
        seen.push(pick.task);
    }
    seen.sort_unstable();
    assert_eq!(seen, [0, 1, 2, 3]);
}

/// An idle CPU gets the task that would have waited longest, and only one that may move.
#[test]
fn a_task_can_be_given_away() {
    let mut queue = RunQueue::new(Box::new(Fcfs::new()));
    let entities: Vec<Entity> = (0..4).map(|id| Entity::new(id, Nice::default(), Class::Fair, 0)).collect();
    for entity in &entities {
        queue.register(entity, 0).unwrap();
        queue.enqueue(entity, Enqueue::New, 0).unwrap();
    }
    assert_eq!(queue.give_away(|task| task < 3).map(|given| given.0), Some(2));
    assert!(!queue.knows(2) && queue.len() == 3);
    assert_eq!(queue.give_away(|_| false), None);
    assert_eq!(queue.pick(0).map(|pick| pick.task), Some(0));
}

/// What a policy knew of a task on one CPU, it knows on the next.
#[test]
fn who_moves_keeps_its_lag_and_its_level() {
    let entity = |id| Entity::new(id, Nice::default(), Class::Fair, 0);
    // Of three tasks that EEVDF serves, two have had 2 ms; the third is owed a third of that, and goes where another one is ahead.
    let queue = |policy: Box<dyn Policy>, ids: &[TaskId]| {
        let mut queue = RunQueue::new(policy);
        for &id in ids {
            queue.register(&entity(id), 0).unwrap();
            queue.enqueue(&entity(id), Enqueue::New, 0).unwrap();
        }
        queue
    };
    let run = |queue: &mut RunQueue, id: TaskId, ran: Nanos| {
        let mut now = 0;
        while now < ran {
            let pick = queue.pick(now).unwrap();
            assert_eq!(pick.task, id);
            let step = pick.slice.min(ran - now);
            now += step;
            queue.charge(id, step, now);
            queue.enqueue(&entity(id), Enqueue::Preempted, now).unwrap();
        }
    };
    let mut from = queue(Box::new(Eevdf::new()), &[1, 2]);
    run(&mut from, 1, 2 * MS);
    let (moved, luggage) = from.give_away(|task| task == 2).unwrap();
    assert_eq!((moved, luggage.lag), (2, MS as i64));
    let mut there = Eevdf::new();
    for id in [2, 3] {
        there.register(&entity(id), 0).unwrap();
    }
    there.enqueue(&entity(3), Enqueue::New, 0).unwrap();
    let mut packed = entity(2);
    packed.pack(luggage);
    there.enqueue(&packed, Enqueue::Moved, 0).unwrap();
    assert!(there.lag(2).is_some_and(|lag| (lag - MS as i64).abs() < 10), "{:?}", there.lag(2));

    // MLFQ: a task that has used its first quantum waits behind one that comes after it, on the next CPU too.
    let mut from = queue(Box::new(Mlfq::new()), &[1]);
    run(&mut from, 1, 4 * MS);
    let (_, luggage) = from.give_away(|_| true).unwrap();
    let mut packed = entity(1);
    packed.pack(luggage);
    for (why, first) in [(Enqueue::Moved, 2), (Enqueue::New, 1)] {
        let mut there = queue(Box::new(Mlfq::new()), &[]);
        for id in [1, 2] {
            there.register(&entity(id), 0).unwrap();
        }
        there.enqueue(&packed, why, 5 * MS).unwrap();
        there.enqueue(&entity(2), Enqueue::New, 5 * MS).unwrap();
        assert_eq!(there.pick(5 * MS).map(|pick| pick.task), Some(first), "{why:?}");
    }
}

#[test]
fn a_burst_that_moved_is_learned_whole() {
    let Some(mut policy) = Transformer::new() else { panic!("no memory") };
    let mut entity = Entity::new(1, Nice::default(), Class::Fair, 0);
    entity.set_origin(Origin { program: 7, owner: 1, declared: 0 });
    let mut now = 0;
    for _ in 0..5 {
        // 30 ms on another CPU, then 10 ms here.
        entity.start(now);
        now += 30 * MS;
        entity.stop(Stop::Preempted, now);
        assert_eq!(policy.register(&entity, now), Ok(()));
        assert_eq!(policy.enqueue(&entity, Enqueue::New, now), Ok(()));
        assert_eq!(policy.pick(now).map(|pick| pick.task), Some(1));
        entity.start(now);
        now += 10 * MS;
        policy.charge(1, entity.stop(Stop::Blocked, now), now);
        assert_eq!(policy.pick(now), None, "it has blocked");
        assert!(policy.unregister(1));
        now += 5 * MS;
        entity.wake(now);
        assert_eq!(entity.burst(), 0, "a new burst begins with nothing");
    }
    assert_eq!(policy.register(&entity, now), Ok(()));
    assert_eq!(policy.enqueue(&entity, Enqueue::New, now), Ok(()));
    let expected = policy.outlook(1).and_then(|outlook| outlook.median()).unwrap_or_default();
    assert!((39_960_000..40_040_000).contains(&expected), "{expected} ns");
}
