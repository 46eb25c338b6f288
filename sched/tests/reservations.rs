//! The reserved class: a server gets its bandwidth and no more, and an admissible set misses no deadline.
#![cfg(feature = "reservations")]

mod simulator;

use proptest::prelude::*;
use sched::{
    AdmissionError, Class, Enqueue, Entity, Fair, Nanos, Nice, RegisterError, Reservation, RunQueue,
    Utilisation,
};
use simulator::{Behaviour, MS, Simulator};

fn reserved(budget: u64, period: u64) -> Class {
    Class::Reserved(Reservation { budget, period })
}

fn hostile() -> impl Strategy<Value = Behaviour> {
    let time = || 20_000..15 * MS;
    prop_oneof![
        Just(Behaviour::Hog),
        time().prop_map(|burst| Behaviour::Yielder { burst }),
        (time(), time()).prop_map(|(burst, pause)| Behaviour::Sleeper { burst, pause }),
    ]
}

/// Periodic tasks (work, period) whose utilisations add up to 95 % at most: as many as fit.
fn admissible() -> impl Strategy<Value = Vec<(u64, u64)>> {
    prop::collection::vec((1..=95_u64, 1..=100_u64), 1..8).prop_map(|raw| {
        let mut left = Utilisation::LIMIT.parts_per_billion();
        let mut set = Vec::new();
        for (share, scale) in raw {
            let period = scale * MS;
            let work = (period * share / 100).max(Reservation::MIN_BUDGET);
            let utilisation = Reservation { budget: work, period }.utilisation().parts_per_billion();
            if utilisation <= left {
                left -= utilisation;
                set.push((work, period));
            }
        }
        set
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A greedy task in a server of any size, beside any fair tasks: its share is Q/T, not less and not more.
    #[test]
    fn a_greedy_server_gets_its_bandwidth_exactly(
        percent in 5..=90_u64,
        period in 2..50_u64,
        others in prop::collection::vec((hostile(), -20..=19_i32), 0..8),
    ) {
        let mut sim = Simulator::new();
        let period = period * MS;
        let budget = period * percent / 100;
        let server = sim.add(0, reserved(budget, period), Behaviour::Hog);
        for (behaviour, nice) in others {
            sim.add(nice, Class::Fair, behaviour);
        }
        sim.run_until(200 * period);
        sim.assert_no_time_is_lost();
        let due = percent as f64 / 100.0;
        prop_assert!((sim.share(server) - due).abs() <= 0.005, "{} of {due}", sim.share(server));
    }

    /// A task that sleeps and wakes as it likes can't get more than Q/T in any span by that (the wake-up rule).
    #[test]
    fn waking_often_does_not_buy_bandwidth(
        percent in 5..=60_u64,
        burst in 10_000..10 * MS,
        pause in 1_000..10 * MS,
    ) {
        let mut sim = Simulator::new();
        let period = 10 * MS;
        let server = sim.add(0, reserved(period * percent / 100, period), Behaviour::Sleeper { burst, pause });
        sim.add(0, Class::Fair, Behaviour::Hog);
        sim.run_until(500 * period);
        let due = percent as f64 / 100.0;
        prop_assert!(sim.share(server) <= due + 0.005, "{} of {due}", sim.share(server));
    }

    /// EDF: periodic tasks that are admitted and keep to their budgets meet every deadline, whatever the fair tasks do.
    #[test]
    fn an_admissible_set_misses_no_deadline(
        set in admissible(),
        others in prop::collection::vec((hostile(), -20..=19_i32), 0..4),
    ) {
        let mut sim = Simulator::new();
        for &(work, period) in &set {
            sim.add(0, reserved(work, period), Behaviour::Periodic { work, period });
        }
        for (behaviour, nice) in others {
            sim.add(nice, Class::Fair, behaviour);
        }
        sim.run_until(2_000 * MS);
        sim.assert_no_time_is_lost();
        for (id, &(_, period)) in set.iter().enumerate() {
            let task = sim.task(id as u32);
            prop_assert_eq!(task.late_jobs, 0, "{:?} of {:?}", set[id], set);
            prop_assert!(task.jobs_done >= (2_000 * MS) / period - 1);
        }
        prop_assert!(sim.queue.reservations().servers().all(|server| server.misses == 0));
    }

    /// Isolation: one server's overrun does not cost another its deadlines.
    #[test]
    fn a_server_that_overruns_hurts_only_itself(set in admissible(), culprit in any::<prop::sample::Index>()) {
        let mut sim = Simulator::new();
        let culprit = culprit.index(set.len());
        for (i, &(work, period)) in set.iter().enumerate() {
            let wanted = if i == culprit { Behaviour::Hog } else { Behaviour::Periodic { work, period } };
            sim.add(0, reserved(work, period), wanted);
        }
        sim.run_until(1_000 * MS);
        for (i, task) in sim.tasks.iter().enumerate().filter(|&(i, _)| i != culprit) {
            prop_assert_eq!(task.late_jobs, 0, "{:?} beside the greedy {:?}", set[i], set[culprit]);
        }
    }
}

#[test]
fn thirty_percent_stay_thirty_percent() {
    let mut sim = Simulator::new();
    let server = sim.add(0, reserved(3 * MS, 10 * MS), Behaviour::Hog);
    for _ in 0..20 {
        sim.add(-20, Class::Fair, Behaviour::Hog);
    }
    sim.run_until(60_000 * MS);
    assert!((sim.share(server) - 0.3).abs() < 0.001, "{}", sim.share(server));
    let status = sim.queue.reservations().servers().next().unwrap();
    assert!((5_999..=6_000).contains(&status.throttles), "{status:?}");
}

#[test]
fn a_full_cpu_of_odd_periods_misses_nothing_in_a_minute() {
    let mut sim = Simulator::new();
    // 40 % + 30 % + 20 % + 5 % = the limit, at periods without a common rhythm.
    for (percent, period) in [(40, 7 * MS), (30, 13 * MS), (20, 31 * MS), (5, 101 * MS)] {
        let work = period * percent / 100;
        sim.add(0, reserved(work, period), Behaviour::Periodic { work, period });
    }
    sim.add(-20, Class::Fair, Behaviour::Hog);
    assert_eq!(sim.queue.reservations().admitted(), Utilisation::LIMIT);
    sim.run_until(60_000 * MS);
    assert!(sim.tasks.iter().all(|task| task.late_jobs == 0));
    assert!(sim.queue.reservations().servers().all(|server| server.misses == 0));
    assert!((sim.share(4) - 0.05).abs() < 0.001, "the fair class has what is left: {}", sim.share(4));
}

#[test]
fn a_job_longer_than_its_budget_is_one_miss() {
    let mut sim = Simulator::new();
    // 5 ms of work in every 10 ms, with a budget of 2 ms: every job takes three periods.
    sim.add(0, reserved(2 * MS, 10 * MS), Behaviour::Periodic { work: 5 * MS, period: 10 * MS });
    sim.run_until(1_000 * MS);
    let status = sim.queue.reservations().servers().next().unwrap();
    let done = sim.task(0).jobs_done;
    assert!(done >= 38, "2 ms in 10 ms make a job of 5 ms in 25 ms: {done}");
    assert_eq!(sim.task(0).late_jobs, done);
    assert!((done..=done + 1).contains(&status.misses), "{done} jobs, {} misses", status.misses);
}

/// Rule 1: waking just before the deadline with a full purse must not give two budgets in a row.
#[test]
fn an_ambush_gets_one_budget() {
    let mut sim = Simulator::new();
    let ambush = Behaviour::Ambush { burst: MS / 10, until: 9 * MS };
    let server = sim.add(0, reserved(3 * MS, 10 * MS), ambush);
    sim.add(0, Class::Fair, Behaviour::Hog);
    sim.run_until(19 * MS);
    assert_eq!(sim.task(server).entity.accounting().run, 3 * MS + MS / 10);
    sim.run_until(22 * MS);
    assert_eq!(sim.task(server).entity.accounting().run, 6 * MS + MS / 10);
}

/// The other side of rule 1: a short sleep keeps the deadline, and the rest of the budget.
#[test]
fn a_short_sleep_keeps_budget_and_deadline() {
    let mut sim = Simulator::new();
    let server = sim.add(0, reserved(5 * MS, 10 * MS), Behaviour::Ambush { burst: 4 * MS, until: 5 * MS });
    sim.add(0, Class::Fair, Behaviour::Hog);
    sim.run_until(10 * MS);
    assert_eq!(sim.task(server).entity.accounting().run, 5 * MS);
    assert_eq!(sim.queue.next_event(), Some(10 * MS));
}

#[test]
fn throttled_means_idle_until_the_next_budget() {
    let mut sim = Simulator::new();
    let server = sim.add(0, reserved(3 * MS, 10 * MS), Behaviour::Hog);
    sim.run_until(8 * MS);
    assert_eq!((sim.task(server).entity.accounting().run, sim.idle), (3 * MS, 5 * MS));
    assert_eq!(sim.queue.next_event(), Some(10 * MS));
    assert!(sim.queue.pick(10 * MS - 1).is_none());
    assert_eq!(sim.queue.pick(10 * MS).map(|pick| (pick.task, pick.slice)), Some((server, 3 * MS)));
}

#[test]
fn inadmissible_requests_are_refused_with_the_arithmetic() {
    let mut queue = RunQueue::new(Box::new(Fair::new()));
    let mut register = |id, budget, period| {
        queue.register(&Entity::new(id, Nice::default(), reserved(budget, period), 0), 0)
    };
    register(1, 7 * MS, 10 * MS).unwrap();
    let refused = register(2, 3 * MS, 10 * MS).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "3000000 ns / 10000000 ns = 30.000 %, and 70.000 % are reserved on this CPU: 100.000 % is above the limit of 95.000 %"
    );
    // One part in 10⁹ too much is too much, and is not printed as equal to the limit.
    let refused = register(2, 250_000_001, 10 * MS * 100).unwrap_err();
    assert!(refused.to_string().contains("95.001 % is above the limit of 95.000 %"), "{refused}");
    register(2, 25 * MS, 100 * MS).unwrap();
    assert_eq!(register(2, 25 * MS, 100 * MS), Err(RegisterError::Duplicate { task: 2 }));

    let reason = |result: Result<(), RegisterError>| match result {
        Err(RegisterError::Admission(reason)) => reason,
        other => panic!("{other:?}"),
    };
    assert!(matches!(reason(register(3, 0, 10 * MS)), AdmissionError::BudgetTooShort { .. }));
    assert!(matches!(reason(register(3, MS, u64::MAX)), AdmissionError::PeriodTooLong { .. }));
    assert!(matches!(reason(register(3, 11 * MS, 10 * MS)), AdmissionError::BudgetAbovePeriod { .. }));
    assert!(matches!(reason(register(3, MS, 0)), AdmissionError::BudgetAbovePeriod { .. }));
    assert_eq!(queue.reservations().admitted(), Utilisation::LIMIT);
    // What is given back can be had again.
    assert!(queue.unregister(1));
    let next = Entity::new(4, Nice::default(), reserved(7 * MS, 10 * MS), 0);
    queue.register(&next, 0).unwrap();
}

#[test]
fn a_task_changes_its_class_as_it_is() {
    const ALL: Nanos = 10 * MS;
    // Running, then blocked, then queued.
    let mut queue = RunQueue::new(Box::new(Fair::new()));
    let mut entity = Entity::new(1, Nice::default(), Class::Fair, 0);
    let mut other = Entity::new(2, Nice::default(), Class::Fair, 0);
    for entity in [&entity, &other] {
        queue.register(entity, 0).unwrap();
        queue.enqueue(entity, Enqueue::New, 0).unwrap();
    }
    assert_eq!(queue.pick(0).map(|pick| pick.task), Some(1));
    queue.set_class(&mut entity, reserved(3 * MS, ALL), true, 0).unwrap();
    queue.charge(1, MS, MS);
    queue.enqueue(&entity, Enqueue::Preempted, MS).unwrap();
    assert_eq!(queue.pick(MS).map(|pick| (pick.task, pick.slice)), Some((1, 2 * MS)));
    assert_eq!(queue.reservations().admitted().to_string(), "30.000 %");

    // Blocked: it is not queued by the change. A reservation that does not fit leaves the one that it has.
    queue.charge(1, 0, MS);
    queue.set_class(&mut entity, reserved(9 * MS, ALL), false, 2 * MS).unwrap();
    let refused = queue.set_class(&mut entity, reserved(96 * MS, 10 * ALL), false, 2 * MS).unwrap_err();
    assert!(refused.to_string().contains("above the limit"), "{refused}");
    assert_eq!((entity.class(), queue.len()), (reserved(9 * MS, ALL), 1));
    assert_eq!(queue.pick(2 * MS).map(|pick| pick.task), Some(2));
    let too_much = queue.set_class(&mut other, reserved(MS, ALL), true, 2 * MS).unwrap_err();
    assert!(too_much.to_string().contains("100.000 %"), "{too_much}");
    assert_eq!(other.class(), Class::Fair);

    // Queued: it stays queued, in its new class.
    queue.enqueue(&entity, Enqueue::Wakeup, 2 * MS).unwrap();
    queue.set_class(&mut entity, Class::Fair, false, 2 * MS).unwrap();
    assert_eq!((queue.len(), queue.reservations().admitted().parts_per_billion()), (1, 0));
    queue.charge(2, MS, 3 * MS);
    queue.enqueue(&other, Enqueue::Preempted, 3 * MS).unwrap();
    let mut ran = [queue.pick(3 * MS), queue.pick(3 * MS)].map(|pick| pick.map(|pick| pick.task));
    ran.sort();
    assert_eq!(ran, [Some(1), Some(2)]);
}
