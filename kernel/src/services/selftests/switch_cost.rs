//! What a switch and a decision cost, in ticks of the time-stamp counter. (QEMU with `-icount shift=0` makes each instruction a tick.)
//!
//! Medians of many batches: this prints figures, and fails only where something cannot be measured.

use super::Outcome;
use super::random::Random;
use crate::arch::containment::Contained;
use crate::arch::{percpu, time};
use crate::services::scheduling;
use crate::tasks::{self, Options};
use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::arch::global_asm;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use sched::guard::{Candidate, Guard, Rule};
use sched::transformer::Transformer;
use sched::{Class, Eevdf, Enqueue, Entity, Nice, Origin, Policy, RoundRobin, key};
use shell::{FairPolicy, LearnedMode};
use x86_64::instructions::interrupts::without_interrupts;

/// Batches that are measured, and yields in one.
const BATCHES: usize = 200;
const BATCH: u64 = 100;
/// Tasks of the decisions.
const TASKS: u32 = 16;
const DECISIONS: usize = 2000;

// The least that a switch between two stacks can be: what a function must keep, and the stack pointer.
global_asm!(
    r#"
.text
.globl selftest_bare_switch
selftest_bare_switch:
    push rbp
    push rbx
    push r12
    push r13
    push r14
    push r15
    mov [rdi], rsp
    mov rsp, rsi
    pop r15
    pop r14
    pop r13
    pop r12
    pop rbx
    pop rbp
    ret
.globl selftest_bare_partner
selftest_bare_partner:                      # rbx, rbp: where both stack pointers are kept
    mov rdi, rbx
    mov rsi, [rbp]
    call selftest_bare_switch
    jmp selftest_bare_partner
"#
);

unsafe extern "C" {
    fn selftest_bare_switch(keep: *mut u64, next: u64);
    static selftest_bare_partner: u8;
}

/// Prints the median cost of a switch, bare and of threads under each policy, and of a decision among 16 tasks.
pub fn switch_cost() -> Outcome {
    let mut line = alloc::format!("ticks for a switch: bare {}", bare());
    let before = scheduling::current();
    let result = threads(&mut line);
    let restored = scheduling::set_mode(before.1).and_then(|()| scheduling::set_policy(before.0));
    result?;
    restored.map_err(|error| error.to_string())?;
    line += &alloc::format!("; ticks for a decision among {TASKS} (median/99 %):");
    decisions(&mut line)?;
    line += &alloc::format!("; {} ticks are 1 us", time::tsc_frequency() / 1_000_000);
    Ok(line)
}

fn median(mut samples: Vec<u64>) -> u64 {
    samples.sort_unstable();
    samples.get(samples.len() / 2).copied().unwrap_or(0)
}

fn bare() -> u64 {
    let mut stack = alloc::vec![0u64; 512];
    let (mut here, mut there) = (0u64, 0u64);
    let top = stack.len();
    // What the first switch takes off that stack: r15, r14, r13, r12, rbx, rbp, and the address to go on at.
    stack[top - 9 + 4] = &raw mut there as u64;
    stack[top - 9 + 5] = &raw mut here as u64;
    stack[top - 9 + 6] = (&raw const selftest_bare_partner) as u64;
    there = &raw const stack[top - 9] as u64;
    let (keep, next) = (&raw mut here, &raw mut there);
    let batches = (0..BATCHES).map(|_| {
        let start = time::tsc();
        for _ in 0..BATCH / 2 {
            // SAFETY: the other side was laid out above, and only ever switches back; it uses nothing but its own stack, which lives
            // longer than this loop. Interrupts do not touch the stack.
            unsafe { selftest_bare_switch(keep, next.read_volatile()) };
        }
        (time::tsc() - start) / BATCH
    });
    median(batches.collect())
}

fn threads(line: &mut String) -> Result<(), String> {
    let policies = [
        ("rr", FairPolicy::RoundRobin, None),
        ("eevdf", FairPolicy::Eevdf, None),
        ("transformer in shadow", FairPolicy::Transformer, Some(LearnedMode::Shadow)),
        ("transformer on", FairPolicy::Transformer, Some(LearnedMode::On)),
    ];
    for (name, policy, mode) in policies {
        scheduling::set_policy(policy)
            .and_then(|()| mode.map_or(Ok(()), scheduling::set_mode))
            .map_err(|error| error.to_string())?;
        *line += &alloc::format!(", {name} {}", ping_pong()?);
    }
    Ok(())
}

/// Two threads of one CPU that yield to each other: ticks for a yield, which is a switch where they take turns.
fn ping_pong() -> Result<u64, String> {
    let cpu = percpu::count() - 1;
    let stop = Arc::new(AtomicBool::new(false));
    let turns = Arc::new(AtomicU64::new(0));
    let (ended, counted) = (stop.clone(), turns.clone());
    let partner = tasks::spawn("ping", Options::on_cpu(cpu), move || {
        while !ended.load(Ordering::Relaxed) {
            counted.fetch_add(1, Ordering::Relaxed);
            tasks::yield_now();
        }
    });
    let partner = partner.map_err(|error| error.to_string())?;
    let seen = turns.clone();
    let measuring = tasks::spawn("pong", Options::on_cpu(cpu), move || {
        let mut batches = Vec::with_capacity(BATCHES);
        while batches.len() < BATCHES {
            let (turn, start) = (seen.load(Ordering::Relaxed), time::tsc());
            for _ in 0..BATCH / 2 {
                tasks::yield_now();
            }
            let ticks = time::tsc() - start;
            // Each yield of this thread is followed by one of the other's; a policy need not see it so, and then this one alone goes on.
            let yields = BATCH / 2 + seen.load(Ordering::Relaxed) - turn;
            batches.push(ticks / yields);
        }
        median(batches)
    });
    let result = measuring.map_err(|error| error.to_string()).map(tasks::JoinHandle::join);
    stop.store(true, Ordering::Relaxed);
    partner.join();
    result
}

fn decisions(line: &mut String) -> Result<(), String> {
    let no_memory = || String::from("no memory for a policy");
    let guarded = |rule| -> Option<Box<dyn Policy>> {
        let mut guard = Guard::new(Transformer::new()?, Box::new(Contained), time::uptime_nanos)?;
        guard.set_rule(rule);
        Some(Box::new(guard))
    };
    let policies: [(&str, Option<Box<dyn Policy>>); 5] = [
        ("rr", Some(Box::new(RoundRobin::new()))),
        ("eevdf", Some(Box::new(Eevdf::new()))),
        ("guard in shadow", guarded(Rule::Shadow)),
        ("guard acting", guarded(Rule::Acting)),
        ("transformer alone", Transformer::new().map(|it| Box::new(it) as Box<dyn Policy>)),
    ];
    for (name, policy) in policies {
        let [picks, wakes, lessons, reviews, steps] = play(policy.ok_or_else(no_memory)?)?;
        *line += &alloc::format!(" {name} {picks} (to queue {wakes}");
        if !lessons.is_empty() {
            *line +=
                &alloc::format!(", locked for a lesson {lessons} and a look {reviews}, to learn {steps}");
        }
        line.push(')');
    }
    Ok(())
}

fn guard_of(policy: &mut dyn Policy) -> Option<&mut Guard<Transformer>> {
    (policy as &mut dyn core::any::Any).downcast_mut()
}

/// Plays bursts of repeating programs on a queue of its own: what picks and wake-ups take; and of a guard, what the queue is locked for to
/// take a lesson away and to bring it back, to look at how it does, and what learning takes without the lock.
fn play(mut policy: Box<dyn Policy>) -> Result<[String; 5], String> {
    let mut random = Random::new(7);
    let mut now = 0;
    let mut entities: Vec<Entity> = (0..TASKS)
        .map(|id| {
            let mut entity = Entity::new(id + 1, Nice::default(), Class::Fair, 0);
            entity.set_origin(Origin {
                program: key(["cc", "ls", "ld"][id as usize % 3]),
                ..Origin::default()
            });
            entity
        })
        .collect();
    for entity in &mut entities {
        policy.register(entity, now).map_err(|error| error.to_string())?;
        policy.enqueue(entity, Enqueue::New, now).map_err(|error| error.to_string())?;
    }
    let timed = |act: &mut dyn FnMut()| {
        without_interrupts(|| {
            let start = time::tsc();
            act();
            time::tsc() - start
        })
    };
    let [mut picks, mut wakes, mut lessons, mut reviews, mut steps] = [const { Vec::new() }; 5];
    while picks.len() < DECISIONS {
        if let Some(guard) = guard_of(policy.as_mut())
            && guard.rule() == Rule::Shadow
            && guard.counts().candidate > 0
        {
            // Where it is over the budget it would only watch.
            guard.set_rule(Rule::Acting);
        }
        let mut picked = None;
        picks.push(timed(&mut || picked = policy.pick(now)));
        let Some(pick) = picked else { return Err("nobody was picked of 16".into()) };
        let size = 500_000 * (1 + u64::from(pick.task % 3)) + random.below(100_000);
        now += size;
        policy.charge(pick.task, size, now);
        // It blocks, and comes back behind the others' bursts.
        let entity = &entities[pick.task as usize - 1];
        let mut queued = Ok(());
        wakes.push(timed(&mut || queued = policy.enqueue(entity, Enqueue::Wakeup, now)));
        queued.map_err(|error| error.to_string())?;
        if picks.len().is_multiple_of(8)
            && let Some(guard) = guard_of(policy.as_mut())
        {
            // What the queue is locked for: before and after the step of learning.
            let mut lesson = None;
            let taking = timed(&mut || lesson = guard.lesson());
            if let Some(lesson) = &mut lesson {
                steps.push(timed(&mut || Transformer::learn(lesson)));
                lessons.push(taking + timed(&mut || guard.learned(lesson)));
            }
            let mut pairs = None;
            let copying = timed(&mut || pairs = guard.pairs());
            let foresight = pairs.and_then(|pairs| pairs.foresight());
            reviews.push(copying + timed(&mut || guard.inspect(foresight)));
        }
    }
    Ok([picks, wakes, lessons, reviews, steps].map(|mut samples| {
        samples.sort_unstable();
        let at = |share: usize| samples.get(samples.len() * share / 100).copied();
        at(50).zip(at(99)).map_or(String::new(), |(median, p99)| alloc::format!("{median}/{p99}"))
    }))
}
