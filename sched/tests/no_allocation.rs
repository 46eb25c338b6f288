//! After `register`, no scheduling call takes memory or gives it back: it would be in an interrupt handler.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use sched::guard::{Guard, Rule, Trusting};
use sched::transformer::Transformer;
use sched::{Class, Eevdf, Enqueue, Entity, Fcfs, Mlfq, Nanos, Nice, Origin, Policy, RoundRobin, RunQueue};

thread_local! {
    /// Calls of the allocator by this thread.
    static CALLS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call goes to `System` with the arguments that came in; counting touches a constant-initialised thread local without
// a destructor, which allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        CALLS.set(CALLS.get() + 1);
        // SAFETY: as promised by the caller.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        CALLS.set(CALLS.get() + 1);
        // SAFETY: as promised by the caller.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn guarded(rule: Rule) -> Box<dyn Policy> {
    let mut guard = Guard::new(Transformer::new().unwrap(), Box::new(Trusting), || 0).unwrap();
    guard.set_rule(rule);
    Box::new(guard)
}

#[test]
fn scheduling_calls_do_not_allocate() {
    let policies: [Box<dyn Policy>; 7] = [
        Box::new(Fcfs::new()),
        Box::new(RoundRobin::new()),
        Box::new(Mlfq::new()),
        Box::new(Eevdf::new()),
        Box::new(Transformer::new().unwrap()),
        guarded(Rule::Shadow),
        guarded(Rule::Acting),
    ];
    for policy in policies {
        let mut queue = RunQueue::new(policy);
        let entities: Vec<Entity> = (0..40)
            .map(|id| {
                let mut entity = Entity::new(id, Nice::new(id as i32 % 9 - 4), Class::Fair, 0);
                entity.set_origin(Origin { program: id % 5, owner: id % 3, declared: u64::from(id) * 100 });
                entity
            })
            .collect();
        for entity in &entities {
            queue.register(entity, 0).unwrap();
        }
        let before = CALLS.get();
        for entity in &entities {
            queue.enqueue(entity, Enqueue::New, 0).unwrap();
        }
        let mut now: Nanos = 0;
        for round in 0..3_000_u64 {
            let pick = queue.pick(now).unwrap();
            let ran = pick.slice.min(100_000 + (round * 7919) % 3_000_000);
            now += ran;
            queue.charge(pick.task, ran, now);
            let why = if round % 3 == 0 { Enqueue::Wakeup } else { Enqueue::Preempted };
            queue.enqueue(&entities[pick.task as usize], why, now).unwrap();
            let _ = queue.should_preempt(pick.task, None, now);
            queue.maintain(now);
        }
        assert_eq!(CALLS.get(), before, "{} allocates", queue.policy_name());
    }
}
