//! Page allocations that fail on purpose, each in turn.

use super::Outcome;
use crate::arch::time::uptime_nanos;
use crate::memory::vmalloc::Movable;
use crate::memory::{self, Access, OutOfMemory, Region, STACK_SIZE, Stack, frames, layout, shortage};
use crate::tasks::{self, Options, SpawnError};
use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};
use mm::{FRAME_SIZE, MigrateType};

/// So many allocations fail in a row.
const BURSTS: [u64; 2] = [1, 4];
/// The workload makes fewer allocations than this, or something is wrong with the count.
const MOST: u64 = 400;
/// Addresses for page tables of their own, 1 GiB each: behind the movable memory.
const SCRATCH: u64 = layout::MOVABLE + (1 << layout::MOVABLE_BITS);
const SCRATCH_STEP: u64 = 1 << 30;
/// Steps of them that have their tables, this test's earlier runs included.
static SCRATCH_USED: AtomicU64 = AtomicU64::new(0);
/// What may differ when all is given back; less than a stack.
const SLACK_FRAMES: u64 = STACK_SIZE / FRAME_SIZE - 1;
/// Frames by which the heap may have grown at the end: two of its pieces.
const MOST_GROWTH: u64 = 512;
/// Nothing has changed for so long when it begins.
const SETTLED_NANOS: u64 = 1_200_000_000;
const PATIENCE_NANOS: u64 = 2_000_000_000;
/// More than a CPU keeps of single frames.
const MOVABLE: u64 = 512 << 10;
/// Less than it keeps, on the smallest machine too: such a range needs nothing from the zones but page tables.
const RANGE: u64 = 64 << 10;
/// A large request, which may be refused.
const PIECE: usize = 256 << 10;

/// What the workload leaves behind: page tables are for ever.
#[derive(Default)]
struct Workload {
    /// Page tables that were made.
    tables: u64,
}

type Step = fn(&mut Workload) -> Result<(), String>;

/// Every kind of allocation site.
const STEPS: [(&str, Step); 6] = [
    ("threads", |_| threads().map_err(|error| error.to_string())),
    ("region", |_| region().map_err(|error| error.to_string())),
    ("movable memory", |_| movable().map_err(|error| error.to_string())),
    ("heap", |_| heap()),
    ("page tables", |workload| workload.page_tables().map_err(|error| error.to_string())),
    ("blocks", |_| blocks().map_err(|error| error.to_string())),
];

/// Runs a workload again and again; in round `n` its `n`th page allocation fails (and the next ones), until `n` is more
/// than it makes. Each step succeeds or reports an error, and all memory comes back. Then page tables for new addresses, and the
/// heap's reserve.
pub fn failures() -> Outcome {
    let mut workload = Workload::default();
    // What comes once and stays: page tables for the addresses that are used again and again.
    workload.run().map_err(|(step, error)| alloc::format!("{step}, with nothing failing: {error}"))?;
    let held = Held::settled(&workload);
    let (ooms, _) = shortage::oom_counts();
    let (mut sites, mut errors) = (u64::MAX, 0);
    for burst in BURSTS {
        let mut count = 0;
        while let Some(refused) = workload.fail(count, burst) {
            errors += u64::from(refused);
            held.check(&workload)
                .map_err(|error| alloc::format!("allocation {count}, {burst} failing: {error}"))?;
            count += 1;
            if count > MOST {
                return Err(alloc::format!("the workload makes more than {MOST} allocations"));
            }
        }
        sites = sites.min(count);
    }
    if sites <= 10 {
        return Err(alloc::format!("the workload makes only {sites} allocations"));
    }
    shortage::reclaim(u64::MAX);
    let stacks = workload.first_use(1, Stack::new)?;
    let ranges = workload.first_use(0, || Movable::new(RANGE))?;
    held.check(&workload).map_err(|error| alloc::format!("page tables failing: {error}"))?;
    let boxes = reserve()?;
    held.check(&workload)?;
    let grown = (memory::heap_held() / FRAME_SIZE).saturating_sub(held.heap);
    if grown > MOST_GROWTH {
        return Err(alloc::format!("the heap has kept {grown} frames that it did not have before"));
    }
    let ooms = shortage::oom_counts().0 - ooms;
    if ooms > 0 {
        return Err(alloc::format!("{ooms} injected failures were taken for lack of memory"));
    }
    Ok(alloc::format!(
        "each of {sites} allocations failed in turn, {BURSTS:?} at a time: {errors} errors, nothing lost; \
         page tables of stacks {}, of movable memory {}; {boxes} boxes from the heap's reserve",
        reached(stacks),
        reached(ranges)
    ))
}

impl Workload {
    /// All steps; the first error, if there is one, does not keep the others from running.
    fn run(&mut self) -> Result<(), (&'static str, String)> {
        let mut result = Ok(());
        for (name, step) in STEPS {
            // Otherwise spare stacks and single frames would serve.
            shortage::reclaim(u64::MAX);
            frames::drain_caches();
            let done = step(self).map_err(|error| (name, error));
            result = result.and(done);
        }
        result
    }

    /// Runs with allocation `number` and the next ones failing. `None` when no allocation failed; else whether a step
    /// reported an error.
    fn fail(&mut self, number: u64, burst: u64) -> Option<bool> {
        let before = refusals();
        frames::with_zones(|zones| zones.inject_failures(number, burst));
        let result = self.run();
        frames::with_zones(|zones| zones.inject_failures(0, 0));
        (refusals() > before).then_some(result.is_err())
    }

    fn page_tables(&mut self) -> Result<(), OutOfMemory> {
        let page = frames::alloc(0, MigrateType::Unmovable)?;
        let at = SCRATCH + SCRATCH_USED.load(Ordering::Relaxed) * SCRATCH_STEP;
        let mapped = memory::map(at, page.address(), FRAME_SIZE, Access::Write);
        memory::unmap(at, FRAME_SIZE);
        frames::free_frame(page.pfn, MigrateType::Unmovable);
        mapped?;
        SCRATCH_USED.fetch_add(1, Ordering::Relaxed);
        self.tables += 2;
        Ok(())
    }

    /// Has a page table fail for addresses that were never used: all that is made is held, until one comes from there.
    /// Allocations before the table's: `before`. Says whether it came to that.
    fn first_use<T>(&mut self, before: u64, make: fn() -> Result<T, OutOfMemory>) -> Result<bool, String> {
        let mut held = heapless::Vec::<T, 128>::new();
        loop {
            keep_frames().map_err(|error| error.to_string())?;
            frames::with_zones(|zones| zones.inject_failures(before, 1));
            let made = make();
            frames::with_zones(|zones| zones.inject_failures(0, 0));
            match made {
                Ok(one) => {
                    if held.push(one).is_err() {
                        return Ok(false);
                    }
                }
                Err(_) => break,
            }
        }
        make().map_err(|error| alloc::format!("the second time, with nothing failing: {error}"))?;
        self.tables += 1;
        Ok(true)
    }
}

fn reached(site: bool) -> &'static str {
    if site { "too" } else { "not, all addresses had been used" }
}

fn refusals() -> u64 {
    frames::with_zones(|zones| zones.stats().failures).unwrap_or(0)
}

fn threads() -> Result<(), SpawnError> {
    let first = tasks::spawn("failures", Options::default(), || 6)?;
    let second = tasks::spawn("failures", Options::default(), || 7);
    let six = first.join();
    // Two results, so that both threads have run.
    assert_eq!(six * second?.join(), 42, "a thread returned something else");
    Ok(())
}

fn region() -> Result<(), OutOfMemory> {
    Region::new(6 << 20)?.as_mut_slice().iter_mut().step_by(4096).for_each(|byte| *byte = 1);
    Ok(())
}

fn movable() -> Result<(), OutOfMemory> {
    Movable::new(MOVABLE)?.as_mut_slice().iter_mut().step_by(4096).for_each(|byte| *byte = 1);
    Ok(())
}

/// Leaves as many frames to this CPU as a range needs, so that they are no allocations from the zones.
fn keep_frames() -> Result<(), OutOfMemory> {
    const FRAMES: usize = (RANGE / FRAME_SIZE) as usize;
    // Or the oldest might have to make room.
    frames::drain_caches();
    let mut taken = heapless::Vec::<u64, FRAMES>::new();
    let mut result = Ok(());
    while result.is_ok() && !taken.is_full() {
        result = frames::alloc(0, MigrateType::Movable).map(|block| taken.extend([block.pfn]));
    }
    taken.iter().for_each(|&pfn| frames::free_frame(pfn, MigrateType::Movable));
    result
}

/// Makes the heap grow.
fn heap() -> Result<(), String> {
    let before = memory::heap_stats().claimed;
    let mut pieces = heapless::Vec::<Vec<u8>, 512>::new();
    while memory::heap_stats().claimed == before {
        let mut piece = Vec::new();
        piece.try_reserve_exact(PIECE).map_err(|error| error.to_string())?;
        if pieces.push(piece).is_err() {
            break;
        }
    }
    Ok(())
}

/// Blocks of every migrate type, single frames and others.
fn blocks() -> Result<(), OutOfMemory> {
    let mut result = Ok(());
    for kind in MigrateType::ALL {
        for order in [0, 1, 4] {
            match frames::alloc(order, kind) {
                Ok(block) if order == 0 => frames::free_frame(block.pfn, kind),
                Ok(block) => frames::free(block),
                Err(error) => result = Err(error),
            }
        }
    }
    result
}

/// Free frames, and who else may have taken some since.
struct Held {
    free: u64,
    heap: u64,
    tables: u64,
}

impl Held {
    fn now(workload: &Workload) -> Self {
        shortage::reclaim(u64::MAX);
        frames::drain_caches();
        let heap = memory::heap_held() / FRAME_SIZE;
        Self { free: frames::stats().free_frames, heap, tables: workload.tables }
    }

    /// Once nobody frees anything any more: threads that have ended are freed a little later, and a reserved thread that
    /// was looking at them may hold them until its next period.
    fn settled(workload: &Workload) -> Self {
        let mut last = Self::now(workload);
        let mut since = uptime_nanos();
        while uptime_nanos() < since + SETTLED_NANOS {
            tasks::sleep_nanos(50_000_000);
            let now = Self::now(workload);
            if now.free != last.free {
                since = uptime_nanos();
            }
            last = now;
        }
        last
    }

    /// Whether all memory is back that is not the heap's or in page tables.
    fn check(&self, workload: &Workload) -> Result<(), String> {
        let end = uptime_nanos() + PATIENCE_NANOS;
        loop {
            let now = Self::now(workload);
            let taken = now.heap + now.tables;
            let difference = (now.free + taken).abs_diff(self.free + self.heap + self.tables);
            if difference <= SLACK_FRAMES {
                return Ok(());
            }
            if uptime_nanos() > end {
                return Err(alloc::format!(
                    "{} frames were free, {} are; heap and page tables had {}, and have {taken}: {difference} differ",
                    self.free,
                    now.free,
                    self.heap + self.tables
                ));
            }
            tasks::sleep_nanos(5_000_000);
        }
    }
}

/// A piece of memory that cannot be refused.
struct Node {
    next: Option<Box<Node>>,
    _bytes: [u8; 4000],
}

/// While every page allocation fails, makes boxes where it cannot wait for memory, until the heap has used its reserve;
/// how many came after that.
fn reserve() -> Result<u64, String> {
    const AFTER: u64 = 32;
    const BEFORE: u64 = 16 << 10;
    frames::with_zones(|zones| zones.inject_failures(0, u64::MAX));
    let before = memory::heap_stats().claimed;
    let (mut list, mut made, mut after): (Option<Box<Node>>, u64, u64) = (None, 0, 0);
    while after < AFTER && made < BEFORE {
        let cannot_wait = tasks::no_preempt();
        list = Some(Box::new(Node { next: list, _bytes: [0; 4000] }));
        drop(cannot_wait);
        made += 1;
        after += u64::from(memory::heap_stats().claimed > before);
    }
    frames::with_zones(|zones| zones.inject_failures(0, 0));
    // One by one: the list is too long for a stack.
    while let Some(node) = list {
        list = node.next;
    }
    match after {
        AFTER => Ok(after),
        _ => Err(alloc::format!("the heap has not used its reserve after {made} boxes")),
    }
}
