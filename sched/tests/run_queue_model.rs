//! Any sequence of calls, sensible or not: no task is lost, none is there twice, and wrong calls change nothing.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use sched::{Class, Enqueue, Entity, Fair, Nice, QueueError, RegisterError, RunQueue, TaskId};

#[derive(Debug, Clone)]
enum Step {
    Register {
        task: TaskId,
        nice: i32,
        reserved: bool,
    },
    Unregister {
        task: TaskId,
    },
    Enqueue {
        task: TaskId,
        why: Enqueue,
    },
    Dequeue {
        task: TaskId,
    },
    Pick,
    Charge {
        task: TaskId,
        ran: u64,
    },
    ShouldPreempt {
        woken: TaskId,
        current: Option<TaskId>,
    },
    /// Time passes, or goes back.
    Clock {
        at: u64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let task = || 0..12_u32;
    let why = prop_oneof![
        Just(Enqueue::New),
        Just(Enqueue::Wakeup),
        Just(Enqueue::Preempted),
        Just(Enqueue::Yielded)
    ];
    let time = || prop_oneof![8 => 0..50_000_000_u64, 1 => any::<u64>()];
    prop_oneof![
        4 => (task(), -25..=25_i32, any::<bool>())
            .prop_map(|(task, nice, reserved)| Step::Register { task, nice, reserved }),
        1 => task().prop_map(|task| Step::Unregister { task }),
        8 => (task(), why).prop_map(|(task, why)| Step::Enqueue { task, why }),
        2 => task().prop_map(|task| Step::Dequeue { task }),
        6 => Just(Step::Pick),
        5 => (task(), time()).prop_map(|(task, ran)| Step::Charge { task, ran }),
        2 => (task(), prop::option::of(task())).prop_map(|(woken, current)| Step::ShouldPreempt { woken, current }),
        4 => time().prop_map(|at| Step::Clock { at }),
    ]
}

fn class(reserved: bool) -> Class {
    #[cfg(feature = "reservations")]
    if reserved {
        return Class::Reserved(sched::Reservation { budget: 1_000_000, period: 10_000_000 });
    }
    let _ = reserved;
    Class::Fair
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn no_task_is_lost_or_doubled(steps in prop::collection::vec(step(), 1..300)) {
        let mut queue = RunQueue::new(Box::new(Fair::new()));
        let mut registered: BTreeMap<TaskId, Entity> = BTreeMap::new();
        let mut queued: BTreeSet<TaskId> = BTreeSet::new();
        let mut now = 0;
        for step in steps {
            match step {
                Step::Register { task, nice, reserved } => {
                    let entity = Entity::new(task, Nice::new(nice), class(reserved), now);
                    match queue.register(&entity, now) {
                        Ok(()) => prop_assert!(registered.insert(task, entity).is_none()),
                        Err(RegisterError::Duplicate { .. }) => prop_assert!(registered.contains_key(&task)),
                        Err(refused) => {
                            // Ten servers of 10 % are more than 95 %.
                            let servers = registered.values().filter(|it| it.class() != Class::Fair).count();
                            prop_assert_eq!(servers, 9, "{}", refused);
                        }
                    }
                }
                Step::Unregister { task } => {
                    prop_assert_eq!(queue.unregister(task), registered.remove(&task).is_some());
                    queued.remove(&task);
                }
                Step::Enqueue { task, why } => {
                    let stranger = Entity::new(task, Nice::default(), Class::Fair, now);
                    let entity = registered.get(&task).unwrap_or(&stranger);
                    let expected = match (registered.contains_key(&task), queued.contains(&task)) {
                        (false, _) => Err(QueueError::Unknown { task }),
                        (true, true) => Err(QueueError::AlreadyQueued { task }),
                        (true, false) => Ok(()),
                    };
                    prop_assert_eq!(queue.enqueue(entity, why, now), expected);
                    if registered.contains_key(&task) {
                        queued.insert(task);
                    }
                }
                Step::Dequeue { task } => prop_assert_eq!(queue.dequeue(task), queued.remove(&task)),
                Step::Pick => match queue.pick(now) {
                    Some(pick) => {
                        prop_assert!(pick.slice > 0);
                        prop_assert!(queued.remove(&pick.task), "picked {}, which was not queued", pick.task);
                    }
                    // Only throttled reservations may be left behind.
                    None => prop_assert!(queued.iter().all(|task| registered[task].class() != Class::Fair)),
                },
                Step::Charge { task, ran } => queue.charge(task, ran, now),
                Step::ShouldPreempt { woken, current } => {
                    let answer = queue.should_preempt(woken, current, now);
                    prop_assert!(!answer || registered.contains_key(&woken));
                }
                Step::Clock { at } => now = if at < 50_000_000 { now.saturating_add(at) } else { at },
            }
            let mut listed = Vec::new();
            queue.for_each(|task| listed.push(task));
            prop_assert_eq!(listed.len(), queue.len());
            let listed: BTreeSet<_> = listed.into_iter().collect();
            prop_assert_eq!(&listed, &queued);
        }
    }
}
