#![no_std]
// Only the heap touches memory; it and its caches alone lift this.
#![deny(unsafe_code)]
//! Physical memory: a buddy allocator over page frames with zones, per-CPU caches, compaction and reclaim, and the kernel
//! heap on top of it.
//!
//! | room | what it holds |
//! |---|---|
//! | [`Buddy`] | the blocks of one zone, kept together by migrate type |
//! | [`Zones`] | below and above 4 GiB, each with [`Watermarks`]; how short memory is ([`Pressure`]) |
//! | [`CpuCache`] | small blocks that a CPU keeps for itself |
//! | [`compact`] | moves movable frames, so that free memory comes together |
//! | [`reclaim`] | the caches that can give memory back |
//! | [`stall`] | how much time is lost waiting for memory |
//! | [`Pace`] | how fast memory may be taken while growth is held back |
//! | [`oom`] | whom to end when all of this was in vain |
//! | [`fragmentation`] | how much of the free memory is of use |
//! | [`heap`] | bytes from blocks: small pieces from slabs of one frame, others from talc |
//! | [`HeapCache`] | small pieces of the heap that a CPU keeps for itself |
//!
//! # Design principles
//!
//! 1. **Clear before clever.** A block is a frame number and an order; coalescing is a loop that one reads once.
//! 2. **Frame numbers, not addresses.** The [`Buddy`] links its free lists through indices in the [`Frame`]s
//!    that it is given. It never dereferences an address of the memory that it hands out, so it needs no
//!    `unsafe`, and the host runs the same code as the kernel. Only [`heap`] touches memory.
//! 3. **A wrong free is refused at the door.** Double free, wrong order, a frame in the middle of a block, a
//!    frame that was never ours: each is its own error, and the state is as it was before the call.
//! 4. **Bounded time.** [`Buddy::alloc`] and [`Buddy::free`] take O([`MAX_ORDER`]) steps, whatever the size of memory: free
//!    blocks are bits in a map of 128 bytes per pageblock, and pageblocks are on lists by their largest free block.
//! 5. **No locks.** The caller wraps a [`Zones`], a [`Buddy`] or a [`Heap`] in the lock that its context needs; where work must
//!    not be done under a lock (copying a page, asking a cache to shrink), the interface is cut there.
//! 6. **Linux's definitions.** Watermarks, fallback, the two scanners, `buddyinfo`, the fragmentation index, PSI and the
//!    badness of a task mean here what they mean there, so that what is known about them holds.
//!
//! # Honest limits
//!
//! Compaction moves single frames only; a larger block stays where it is. Free pageblocks are spared at the price that
//! what is unmovable lies in nearly as many pageblocks as without migrate types: `cargo xtask bench mm` prints both, with the
//! CPUs' caches and without. A double free of a block in a [`CpuCache`] is noticed only when it is drained, one of a small
//! piece of the heap only with debug assertions. A [`Heap`] gives a slab or a region back only when nothing lies in it, and
//! what a [`HeapCache`] holds lies there.
//!
//! # Example
//!
//! ```
//! use mm::{Buddy, Frame, MigrateType};
//!
//! let mut frames = vec![Frame::RESERVED; 1024]; // metadata of 4 MiB of memory that starts at 1 MiB
//! let mut buddy = Buddy::new(&mut frames, 256);
//! buddy.add_free(256, 1024)?;
//!
//! let block = buddy.alloc(3, MigrateType::Unmovable)?; // 8 frames = 32 KiB
//! assert_eq!(block.bytes(), 32 * 1024);
//! assert_eq!(block.address() % block.bytes(), 0);
//! buddy.free(block.pfn, block.order)?;
//! assert!(buddy.free(block.pfn, block.order).is_err()); // double free
//! assert_eq!(buddy.stats().free_frames, 1024);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod block;
mod buddy;
pub mod compact;
mod cpu_cache;
mod error;
pub mod fragmentation;
mod frame;
mod free_lists;
#[allow(unsafe_code)]
pub mod heap;
#[allow(unsafe_code)]
mod heap_cache;
pub mod oom;
mod pace;
mod pageblock;
pub mod reclaim;
#[allow(unsafe_code)]
mod size_class;
#[allow(unsafe_code)]
mod slab;
pub mod stall;
mod stats;
mod watermark;
mod zones;

pub use block::{Block, Holder, MigrateType};
pub use buddy::{Buddy, PageblockContents};
pub use cpu_cache::{CacheStats, CpuCache, Drained, MAX_BATCH, MAX_CACHED_ORDER};
pub use error::{AddError, AllocError, FreeError, ZonesError};
pub use frame::Frame;
pub use heap::{FrameSource, Heap, HeapStats};
pub use heap_cache::HeapCache;
pub use pace::Pace;
pub use stats::Stats;
pub use watermark::{Pressure, Reserve, Watermarks};
pub use zones::{ZoneKind, Zones};

/// Bytes in one page frame.
pub const FRAME_SIZE: u64 = 4096;
/// The largest block has `1 << MAX_ORDER` frames: 4 KiB << 16 = 256 MiB.
pub const MAX_ORDER: usize = 16;
/// Number of orders, `0..=MAX_ORDER`.
pub const ORDERS: usize = MAX_ORDER + 1;
/// A pageblock, the unit that has a migrate type, is a block of this order: 2 MiB, one large page of x86_64.
pub const PAGEBLOCK_ORDER: usize = 9;
