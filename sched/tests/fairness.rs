//! The fair class: shares by weight, a bound on waiting, and no way to cheat.

mod simulator;

use proptest::prelude::*;
use sched::{Class, Nice};
use simulator::{Behaviour, MS, Simulator};

/// The longest slice of a task of this weight share among `n` tasks, from the documented constants.
fn slice(share: f64, n: usize) -> f64 {
    let period = f64::max(12e6, n as f64 * 1.5e6);
    f64::max(period * share, 1.5e6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// CPU-bound tasks of any weights: at any time each has had its share, give or take what one slice of each task can shift.
    #[test]
    fn hogs_share_by_weight(nices in prop::collection::vec(-10..=10_i32, 1..12), ms in 100..3000_u64) {
        let mut sim = Simulator::new();
        for &nice in &nices {
            sim.add(nice, Class::Fair, Behaviour::Hog);
        }
        sim.run_until(ms * MS);
        sim.assert_no_time_is_lost();
        prop_assert_eq!(sim.idle, 0);
        let weight = |nice: i32| f64::from(Nice::new(nice).weight());
        let total: f64 = nices.iter().map(|&nice| weight(nice)).sum();
        // Two virtual runtimes differ by at most what one slice of either adds to it (a light task's minimal slice adds most),
        // plus the minimal slice behind which new tasks start (which a light task's slice covers).
        let spread = nices.iter().map(|&nice| slice(weight(nice) / total, nices.len()) / weight(nice)).fold(0.0, f64::max);
        for (id, &nice) in nices.iter().enumerate() {
            let ran = sim.task(id as u32).entity.accounting().run as f64;
            let due = sim.now as f64 * weight(nice) / total;
            let bound = 2.0 * spread * weight(nice) + slice(weight(nice) / total, nices.len());
            prop_assert!((ran - due).abs() <= bound, "task {id} (nice {nice}) ran {ran}, due {due} ± {bound}");
        }
    }

    /// Whatever the others do, a queued task runs after one round of them.
    #[test]
    fn nobody_starves(
        behaviours in prop::collection::vec(behaviour(), 1..16),
        ms in 200..1500_u64,
    ) {
        let mut sim = Simulator::new();
        for &behaviour in &behaviours {
            sim.add(0, Class::Fair, behaviour);
        }
        sim.run_until(ms * MS);
        sim.assert_no_time_is_lost();
        // Equal weights: everybody else once for at most the longest slice, and again for what a sleeper's credit lets it catch up.
        let n = behaviours.len() as u64;
        let bound = n * 12 * MS + n * 6 * MS;
        for task in &sim.tasks {
            prop_assert!(task.longest_wait <= bound, "task {} waited {} of {bound}", task.entity.id(), task.longest_wait);
            prop_assert!(task.entity.accounting().run > 0 || sim.now < bound);
        }
    }

    /// Sleeping, yielding and waking often does not buy more than an equal share.
    #[test]
    fn nobody_gains_by_behaving_oddly(odd in behaviour(), hogs in 1..6_u32) {
        let mut sim = Simulator::new();
        let odd = sim.add(0, Class::Fair, odd);
        for _ in 0..hogs {
            sim.add(0, Class::Fair, Behaviour::Hog);
        }
        sim.run_until(4000 * MS);
        prop_assert!(sim.share(odd) <= 1.0 / f64::from(hogs + 1) + 0.01, "{} beside {hogs} hogs", sim.share(odd));
    }
}

fn behaviour() -> impl Strategy<Value = Behaviour> {
    let time = || 10_000..20 * MS;
    prop_oneof![
        Just(Behaviour::Hog),
        time().prop_map(|burst| Behaviour::Yielder { burst }),
        (time(), time()).prop_map(|(burst, pause)| Behaviour::Sleeper { burst, pause }),
        (time(), time()).prop_map(|(work, period)| Behaviour::Periodic { work, period }),
    ]
}

#[test]
fn an_interactive_task_is_served_before_hogs() {
    let mut sim = Simulator::new();
    let shell = sim.add(0, Class::Fair, Behaviour::Sleeper { burst: MS / 2, pause: 50 * MS });
    for _ in 0..4 {
        sim.add(0, Class::Fair, Behaviour::Hog);
    }
    sim.run_until(5_000 * MS);
    let task = sim.task(shell);
    let spent = task.entity.accounting();
    let mean_wait = spent.wait / spent.wakeups.max(1);
    assert!(spent.wakeups > 80);
    assert!(mean_wait < MS, "waits {mean_wait} ns on average to be served");
}

#[test]
fn sleep_is_not_saved_up() {
    let mut sim = Simulator::new();
    let sleeper = sim.add(0, Class::Fair, Behaviour::Ambush { burst: MS, until: 5_000 * MS });
    let hog = sim.add(0, Class::Fair, Behaviour::Hog);
    sim.run_until(5_000 * MS);
    let (slept, ran) = (sim.task(sleeper).entity.accounting().run, sim.task(hog).entity.accounting().run);
    sim.run_until(5_200 * MS);
    let gained = sim.task(sleeper).entity.accounting().run - slept;
    let left = sim.task(hog).entity.accounting().run - ran;
    // The credit is worth 6 ms, and a slice is 6 ms more.
    assert!(gained >= left && gained - left <= 12 * MS, "{gained} to {left}");
}

#[test]
fn a_crowd_of_new_tasks_does_not_stop_the_old_ones() {
    let mut sim = Simulator::new();
    let old = sim.add(0, Class::Fair, Behaviour::Hog);
    sim.run_until(100 * MS);
    let before = sim.task(old).entity.accounting().run;
    // A new task every 5 ms, all of them greedy.
    for i in 1..=40 {
        sim.add(0, Class::Fair, Behaviour::Hog);
        sim.run_until(100 * MS + i * 5 * MS);
    }
    let ran = sim.task(old).entity.accounting().run - before;
    // The fair share, if everybody had been served at once: 5 ms · (1/2 + 1/3 + … + 1/41) ≈ 16.5 ms.
    assert!(ran > 13 * MS, "{ran} ns of 200 ms");
}

#[test]
fn slices_shrink_with_the_crowd_but_not_for_ever() {
    let slice_of = |tasks: u32| {
        let mut sim = Simulator::new();
        for _ in 0..tasks {
            sim.add(0, Class::Fair, Behaviour::Hog);
        }
        sim.queue.pick(0).unwrap().slice
    };
    assert_eq!(slice_of(1), 12 * MS);
    assert_eq!(slice_of(2), 6 * MS);
    assert_eq!(slice_of(8), 3 * MS / 2);
    assert_eq!(slice_of(1000), 3 * MS / 2);
}
