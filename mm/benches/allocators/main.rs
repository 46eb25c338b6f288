//! `cargo xtask bench mm`: our page allocator and heap beside their peers, on the same requests, in one run.
//!
//! A round runs every allocator on the same script, one after the other; the median of the rounds counts, so that a
//! slow moment of the machine falls on all. Every allocator is behind the same spin lock. In the kernel, a
//! per-CPU cache needs interrupts off around each call; that is not in these figures.

mod contestants;
mod memory;
mod replay;
mod script;
mod traces;

use buddy_system_allocator::FrameAllocator;
use contestants::{
    Allocator, Blocks, Cached, CachedHeap, Locked, Nothing, OurHeap, PeerFrames, Plain, RawHeap, Talc, bytes,
    pages,
};
use mm::{Buddy, CpuCache, Frame, HeapCache, Zones};
use replay::{Fragmentation, Timed, fragmentation, time};
use script::{Random, Script};
use spin::Mutex;

/// 64 MiB.
const FRAMES: usize = 1 << 14;
const ROUNDS: usize = 15;

/// An arena of real memory that is aligned to its largest block.
fn arena() -> *mut u8 {
    let bytes = FRAMES * 4096;
    let memory: &'static mut [u8] = vec![1; 2 * bytes].leak();
    let offset = memory.as_ptr().align_offset(bytes);
    memory[offset..].as_mut_ptr()
}

fn metadata() -> &'static mut [Frame] {
    vec![Frame::RESERVED; FRAMES].leak()
}

fn our_heap(arena: *mut u8) -> OurHeap {
    let mut zones = Zones::new(metadata(), 0);
    zones.add_free(0, FRAMES as u64).expect("fresh metadata");
    OurHeap(mm::Heap::new(Blocks { zones, cache: CpuCache::new(FRAMES as u64), arena }))
}

fn peer_heap(arena: *mut u8) -> buddy_system_allocator::Heap<33> {
    let mut heap = buddy_system_allocator::Heap::empty();
    // SAFETY: the arena is leaked, and this heap's alone.
    unsafe { heap.init(arena.expose_provenance(), FRAMES * 4096) };
    heap
}

fn list_heap(arena: *mut u8) -> linked_list_allocator::Heap {
    // SAFETY: the arena is leaked, and this heap's alone.
    unsafe { linked_list_allocator::Heap::new(arena, FRAMES * 4096) }
}

fn talc_heap(arena: *mut u8) -> Talc {
    let mut heap = talc::base::Talc::new(talc::source::Manual);
    // SAFETY: the arena is leaked, and this heap's alone.
    let claimed = unsafe { heap.claim(arena, FRAMES * 4096) };
    assert!(claimed.is_some(), "64 MiB are enough for talc");
    Talc(heap)
}

/// The allocators, kept over all scripts: each script gives back what it took.
struct Field {
    zones: Mutex<Zones<'static>>,
    buddy: Mutex<Buddy<'static>>,
    frames: Mutex<FrameAllocator<17>>,
    ours: Mutex<OurHeap>,
    peer: (Mutex<buddy_system_allocator::Heap<33>>, u64),
    list: (Mutex<linked_list_allocator::Heap>, u64),
    talc: (Mutex<Talc>, u64),
}

const PAGE_NAMES: [&str; 7] =
    ["AUTON, CPU cache", "AUTON, buddy", "buddy frames", "buddy heap", "linked list", "talc", "replay alone"];
const HEAP_NAMES: [&str; 6] =
    ["AUTON, CPU cache", "AUTON, heap", "buddy heap", "linked list", "talc", "replay alone"];

impl Field {
    fn new() -> Self {
        let mut zones = Zones::new(metadata(), 0);
        zones.add_free(0, FRAMES as u64).expect("fresh metadata");
        let mut buddy = Buddy::new(metadata(), 0);
        buddy.add_free(0, FRAMES as u64).expect("fresh metadata");
        let mut frames = FrameAllocator::new();
        frames.add_frame(0, FRAMES);
        let [a, b, c] = [arena(), arena(), arena()];
        let at = |arena: *mut u8| arena.expose_provenance() as u64;
        Self {
            zones: Mutex::new(zones),
            buddy: Mutex::new(buddy),
            frames: Mutex::new(frames),
            ours: Mutex::new(our_heap(arena())),
            peer: (Mutex::new(peer_heap(a)), at(a)),
            list: (Mutex::new(list_heap(b)), at(b)),
            talc: (Mutex::new(talc_heap(c)), at(c)),
        }
    }

    fn cached(&self) -> Cached<'_, 'static> {
        Cached { zones: &self.zones, cache: CpuCache::new(FRAMES as u64) }
    }

    fn time_pages(&self, script: &Script, threads: usize, slow_too: bool) -> Vec<Option<Timed>> {
        let slow = |timed: &dyn Fn() -> Timed| slow_too.then(timed);
        vec![
            Some(time(script, threads, || self.cached())),
            Some(time(script, threads, || Plain(&self.buddy))),
            Some(time(script, threads, || PeerFrames(&self.frames))),
            slow(&|| time(script, threads, || locked(&self.peer.0, pages))),
            slow(&|| time(script, threads, || locked(&self.list.0, pages))),
            Some(time(script, threads, || locked(&self.talc.0, pages))),
            Some(time(script, threads, || Nothing)),
        ]
    }

    fn time_bytes(&self, script: &Script, threads: usize, slow_too: bool) -> Vec<Option<Timed>> {
        vec![
            Some(time(script, threads, || CachedHeap { heap: &self.ours, cache: HeapCache::new() })),
            Some(time(script, threads, || locked(&self.ours, bytes))),
            Some(time(script, threads, || locked(&self.peer.0, bytes))),
            // It searches a list for each request: the traces take minutes.
            (slow_too && threads == 1).then(|| time(script, threads, || locked(&self.list.0, bytes))),
            Some(time(script, threads, || locked(&self.talc.0, bytes))),
            Some(time(script, threads, || Nothing)),
        ]
    }

    fn fragmentation(&self, script: &Script) -> Vec<Fragmentation> {
        let frames = |mut a: Box<dyn Allocator + '_>| fragmentation(script, &mut a, 0, FRAMES, 1);
        vec![
            frames(Box::new(self.cached())),
            frames(Box::new(Plain(&self.buddy))),
            frames(Box::new(PeerFrames(&self.frames))),
            fragmentation(script, &mut locked(&self.peer.0, pages), self.peer.1, FRAMES, 4096),
        ]
    }
}

impl Allocator for Box<dyn Allocator + '_> {
    fn alloc(&mut self, size: u32, kind: mm::MigrateType) -> Option<u64> {
        (**self).alloc(size, kind)
    }
    fn free(&mut self, at: u64, size: u32, kind: mm::MigrateType) {
        (**self).free(at, size, kind);
    }
}

fn locked<H: RawHeap>(heap: &Mutex<H>, layout: fn(u32) -> core::alloc::Layout) -> Locked<'_, H> {
    Locked { heap, layout }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn print_times(name: &str, threads: usize, rounds: &[Vec<Option<Timed>>], peer: usize) {
    let contestants = rounds.first().map_or(0, Vec::len);
    let times: Vec<f64> = (0..contestants)
        .map(|c| median(rounds.iter().filter_map(|round| round[c].map(|timed| timed.ns_per_pair)).collect()))
        .collect();
    print!("{name:<28} {threads:>3}");
    times.iter().for_each(|time| match time.is_nan() {
        true => print!(" {:>16}", "-"),
        false => print!(" {time:>16.1}"),
    });
    let replay = times.last().copied().unwrap_or(0.0);
    print!(" {:>8.1} {:>6.1}", times[peer] / times[0], (times[peer] - replay) / (times[0] - replay));
    let refused: Vec<u64> =
        rounds.last().into_iter().flatten().flatten().map(|timed| timed.refused).collect();
    match refused.iter().any(|&n| n > 0) {
        true => println!("   refused {refused:?}"),
        false => println!(),
    }
}

fn print_fragmentation(field: &Field, scripts: &[(String, Script)]) {
    println!(
        "fragmentation, means over the requests: per mille of free memory in blocks below order 4, below order 9;\n\
         per mille of pageblocks (2 MiB) in which something unmovable lies"
    );
    print!("{:<28}", "requests");
    PAGE_NAMES[..4].iter().for_each(|name| print!(" {name:>16}"));
    println!();
    for (name, script) in scripts.iter().skip(2) {
        print!("{name:<28}");
        for Fragmentation { unusable: [small, large], stuck, refused } in field.fragmentation(script) {
            let refused = if refused > 0 { format!(" ({refused} refused)") } else { String::new() };
            print!(" {:>16}", format!("{small:.1} {large:.1} {stuck:.0}{refused}"));
        }
        println!();
    }
}

/// Scripts can be picked: `cargo bench -p mm -- only NAME`, a part of their names.
fn is_wanted(name: &str) -> bool {
    let mut arguments = std::env::args().skip_while(|argument| argument != "only").skip(1);
    arguments.next().is_none_or(|part| name.contains(&part))
}

fn main() {
    let random = &mut Random(1);
    let mut page_scripts = vec![
        ("order 0, pairs".to_owned(), Script::pairs(200_000)),
        ("order 0, 512 live".to_owned(), Script::bursts(512, 200, random)),
        ("orders 0-9, three types".to_owned(), Script::mixed(FRAMES as u64 / 4, 200_000, 3, random)),
        ("orders 0-9, one type".to_owned(), Script::mixed(FRAMES as u64 / 4, 200_000, 1, random)),
    ];
    let mut byte_scripts = Vec::new();
    match traces::folder() {
        None => println!("skipped: no AUTON_DATA, so no recorded traces"),
        Some(folder) => {
            let frames = |order: u32| 1 << order;
            // As many copies as fill an arena of which two threads get a share each.
            let fill = |script: Script, apart: usize| {
                let script = script.within(FRAMES as u64 * 7 / 20, frames);
                let copies = (FRAMES as u64 * 7 / 20 / script.peak(frames).max(1)).clamp(1, 64) as usize;
                script.copies(copies, apart)
            };
            if let Some(script) = traces::pages(&folder) {
                page_scripts.push(("mem_page".to_owned(), fill(script, 7)));
            }
            for name in ["gcc-hello", "ffmpeg", "dogfood", "source-map", "find"] {
                let Some(script) = traces::wee(&folder, name) else { continue };
                page_scripts.push((format!("mem_malloc {name}, pages"), fill(script.clone().in_pages(), 11)));
                byte_scripts.push((format!("mem_malloc {name}"), script));
            }
            if let Some(script) = traces::android(&folder, 200_000) {
                page_scripts
                    .push(("mem_malloc SystemUI, pages".to_owned(), fill(script.clone().in_pages(), 11)));
                byte_scripts.push(("mem_malloc SystemUI".to_owned(), script));
            }
        }
    }

    let field = Field::new();
    if !std::env::args().any(|argument| argument == "only") {
        print_fragmentation(&field, &page_scripts);
    }
    if std::env::args().any(|argument| argument == "fragmentation") {
        return;
    }
    if std::env::args().any(|argument| argument == "heap") {
        return time_heaps(&field, &byte_scripts);
    }
    println!();
    println!(
        "pages: ns for an allocation and its free, medians of {ROUNDS} interleaved rounds; arena 64 MiB"
    );
    print!("{:<28} {:>3}", "requests", "thr");
    PAGE_NAMES.iter().for_each(|name| print!(" {name:>16}"));
    println!(" {:>8} {:>6}", "ratio", "net");
    for (name, script) in page_scripts.iter().filter(|(name, _)| is_wanted(name)) {
        for threads in [1, 2] {
            // Peers that search lists take minutes with many live blocks.
            let slow_too = script.slots <= 4000;
            let rounds: Vec<_> = (0..ROUNDS).map(|_| field.time_pages(script, threads, slow_too)).collect();
            print_times(name, threads, &rounds, 2);
        }
    }
    println!(
        "ratio: buddy_system_allocator's frame allocator / AUTON with CPU cache; net: both less the replay\n"
    );

    if !byte_scripts.is_empty() {
        time_heaps(&field, &byte_scripts);
    }
}

fn time_heaps(field: &Field, scripts: &[(String, Script)]) {
    println!("\nheap: KiB when the most is asked for");
    println!(
        "{:<28} {:>10} {:>16} {:>16} {:>16}",
        "requests", "asked", "AUTON, rounded", "AUTON, frames", "buddy heap"
    );
    let arenas = [arena(), arena()];
    for (name, script) in scripts.iter().filter(|(name, _)| is_wanted(name)) {
        let most = memory::memory(script, our_heap(arenas[0]), peer_heap(arenas[1]));
        println!(
            "{name:<28} {:>10} {:>16} {:>16} {:>16}",
            most.asked, most.allocated, most.claimed, most.peer
        );
    }
    println!("\nheap: ns for an allocation and its free, bytes as recorded");
    print!("{:<28} {:>3}", "requests", "thr");
    HEAP_NAMES.iter().for_each(|name| print!(" {name:>16}"));
    println!(" {:>8} {:>6}", "ratio", "net");
    for (name, script) in scripts.iter().filter(|(name, _)| is_wanted(name)) {
        for threads in [1, 2] {
            // Peers that search lists take minutes with many live pieces.
            let slow_too = script.slots <= 2000;
            let rounds: Vec<_> = (0..ROUNDS).map(|_| field.time_bytes(script, threads, slow_too)).collect();
            print_times(name, threads, &rounds, 2);
        }
    }
    println!("ratio: buddy_system_allocator's heap / AUTON with CPU cache; net: both less the replay");
}
