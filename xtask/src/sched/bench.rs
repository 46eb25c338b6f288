//! `cargo xtask bench sched`: what a decision costs on this host, and what the policies make of the mixed workload.

use super::mixed;
use crate::machine_report::host;
use anyhow::{Context, Result};
use sched::guard::{Guard, Rule, Trusting};
use sched::simulator::{Costs, simulate};
use sched::transformer::Transformer;
use sched::{Class, Eevdf, Enqueue, Entity, Fcfs, Mlfq, Nanos, Nice, Origin, Policy, RoundRobin, TaskId};
use std::any::Any;
use std::hint::black_box;
use std::time::Instant;

const TASKS: [u32; 5] = [1, 4, 16, 64, 256];
const ROUNDS: usize = 20_000;

/// Makes a policy; `None` when there is no memory.
type Make = fn() -> Option<Box<dyn Policy>>;

/// The policies on trial, by name; each is made anew for every row.
fn policies() -> [(&'static str, Make); 6] {
    [
        ("fcfs", || Some(Box::new(Fcfs::new()))),
        ("rr", || Some(Box::new(RoundRobin::new()))),
        ("mlfq", || Some(Box::new(Mlfq::new()))),
        ("eevdf", || Some(Box::new(Eevdf::new()))),
        ("transformer", || Some(Box::new(Transformer::new()?))),
        ("  guarded", || {
            let mut guard = Guard::new(Transformer::new()?, Box::new(Trusting), || 0)?;
            guard.set_rule(Rule::Acting);
            Some(Box::new(guard))
        }),
    ]
}

fn quantile(sorted: &[u64], share: f64) -> u64 {
    sorted
        .get(((sorted.len() as f64 * share) as usize).min(sorted.len().saturating_sub(1)))
        .copied()
        .unwrap_or(0)
}

/// Times of a pick, and of all calls of a scheduling event (charge, queue again, pick), in nanoseconds: with the timer's own cost off.
fn time(policy: &mut dyn Policy, tasks: u32) -> Result<(Vec<u64>, Vec<u64>)> {
    let mut entities: Vec<Entity> = Vec::new();
    for id in 0..=tasks {
        let mut entity = Entity::new(id as TaskId, Nice::new(id as i32 % 7 - 3), Class::Fair, 0);
        entity.set_origin(Origin {
            program: id % 5 + 1,
            owner: id % 3 + 1,
            declared: u64::from(id % 4) * 100,
        });
        policy.register(&entity, 0)?;
        policy.enqueue(&entity, Enqueue::New, 0)?;
        entities.push(entity);
    }
    let empty = (0..1000).map(|_| {
        let start = Instant::now();
        black_box(start.elapsed().as_nanos() as u64)
    });
    let overhead = empty.min().unwrap_or(0);
    let (mut picks, mut events) = (Vec::new(), Vec::new());
    let mut now: Nanos = 0;
    let mut current = policy.pick(now).context("nobody was picked")?;
    for round in 0..ROUNDS {
        // A made-up load says nothing of response times: the transformer is kept acting.
        if let Some(guard) = (policy as &mut dyn Any).downcast_mut::<Guard<Transformer>>()
            && guard.rule() != Rule::Acting
        {
            guard.set_rule(Rule::Acting);
        }
        let ran = 50_000 + (round as u64 * 7919) % 900_000;
        now += ran;
        // Every third event a burst ends, and the task wakes at once.
        let why = if round % 3 == 0 { Enqueue::Wakeup } else { Enqueue::Preempted };
        let entity = &entities[current.task as usize];
        let start = Instant::now();
        policy.charge(current.task, ran, now);
        policy.enqueue(entity, why, now)?;
        let middle = Instant::now();
        let pick = black_box(policy.pick(now));
        let end = Instant::now();
        picks.push(((end - middle).as_nanos() as u64).saturating_sub(overhead));
        events.push(((end - start).as_nanos() as u64).saturating_sub(2 * overhead));
        current = pick.context("nobody was picked")?;
        if round % 4 == 0 {
            policy.maintain(now);
        }
    }
    picks.sort_unstable();
    events.sort_unstable();
    Ok((picks, events))
}

/// Prints the tables.
pub(super) fn bench() -> Result<()> {
    println!("machine  {}", host());
    println!("\na pick, in ns, one in three with the end of a burst: median / 99 %");
    print!("{:<14}", "queued tasks");
    TASKS.iter().for_each(|tasks| print!(" {tasks:>15}"));
    println!();
    let mut all_events = Vec::new();
    for (name, make) in policies() {
        print!("{name:<14}");
        let mut row = Vec::new();
        for tasks in TASKS {
            let mut policy = make().context("no memory")?;
            let (picks, events) = time(policy.as_mut(), tasks)?;
            print!(" {:>7} /{:>6}", quantile(&picks, 0.5), quantile(&picks, 0.99));
            row.push((quantile(&events, 0.5), quantile(&events, 0.99)));
        }
        println!();
        all_events.push((name, row));
    }
    println!("\na whole event (charge, queue again, pick), in ns: median / 99 %");
    for (name, row) in all_events {
        print!("{name:<14}");
        row.iter().for_each(|(median, p99)| print!(" {median:>7} /{p99:>6}"));
        println!();
    }
    learning_step()?;
    println!("\nmixed commands at load 0.8, simulated, per burst:");
    println!("{:<14} {:>12} {:>10} {:>14}", "policy", "mean ms", "switches", "of rr's time");
    let mut round_robin = None;
    for (name, make) in policies().into_iter().skip(1) {
        let outcome = simulate(&mixed::commands(0.8, 1), make().context("no memory")?, Costs::default());
        let summary = outcome.summary();
        let base = *round_robin.get_or_insert(summary.mean);
        let per_burst = summary.switches as f64 / summary.bursts.max(1) as f64;
        println!(
            "{name:<14} {:>12.3} {per_burst:>10.3} {:>13.1} %",
            summary.mean / 1e6,
            100.0 * summary.mean / base
        );
    }
    Ok(())
}

/// The step of gradient descent that is done beside the decisions.
fn learning_step() -> Result<()> {
    use sched::transformer::{TOKENS, Target, Tokens, Weights};
    let mut weights = Weights::untrained();
    let tokens = Tokens::from_fn(|i, j| (i * 7 + j * 3) as f32 % 5.0 / 5.0);
    let target = Target { correction: [Some(0.1); TOKENS], share: [1.0 / TOKENS as f32; TOKENS] };
    let time = |act: &mut dyn FnMut()| {
        let mut times: Vec<u64> = (0..2000)
            .map(|_| {
                let start = Instant::now();
                act();
                start.elapsed().as_nanos() as u64
            })
            .collect();
        times.sort_unstable();
        (quantile(&times, 0.5), quantile(&times, 0.99))
    };
    let forward = time(&mut || {
        black_box(black_box(&weights).forward(black_box(&tokens), TOKENS));
    });
    let step = time(&mut || {
        let pass = weights.forward(black_box(&tokens), TOKENS);
        let (_, gradient) = weights.gradient(&tokens, &pass, &target);
        weights.descend(&gradient, 1e-6, 1e-6);
    });
    println!(
        "\nthe exact network, that learns, at {TOKENS} tasks, in ns: forward {} / {}, learning step {} / {}",
        forward.0, forward.1, step.0, step.1
    );
    Ok(())
}
