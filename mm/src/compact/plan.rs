//! What is moved where in one round, and who moves it.

/// Most pairs in one plan (Linux: `COMPACT_CLUSTER_MAX`).
pub const PLAN_SIZE: usize = 32;

/// The frame can't be moved just now: it is pinned, or no longer what it was when it was picked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the frame is pinned, or was freed in the meantime")]
pub struct Pinned;

/// The owner of movable frames.
pub trait Mover {
    /// Whether the frame `pfn`, allocated as movable with order 0, is this owner's and not pinned. Called under the
    /// zones' lock, so it must not allocate. The answer may be out of date when [`migrate`](Self::migrate) is called.
    fn is_movable(&self, pfn: u64) -> bool;

    /// Copies frame `from` to frame `to` and makes every reference to it (page tables, TLBs) mean `to`. On success
    /// nobody uses `from` any more, and `to` belongs to whoever `from` belonged to.
    ///
    /// Called without the zones' lock: the owner must look again whether `from` is its own, for it may have been freed,
    /// and must see to it that nobody frees it while it is copied.
    ///
    /// # Errors
    /// The frame stays where it is, and `to` was not kept.
    fn migrate(&mut self, from: u64, to: u64) -> Result<(), Pinned>;
}

/// Frames to be moved, and where to. Give it to [`Compactor::settle`](super::Compactor::settle), or the frames reserved for it are lost.
#[must_use = "give the plan to Compactor::settle: it holds frames"]
#[derive(Debug)]
pub struct Plan {
    pub(super) moves: [Move; PLAN_SIZE],
    pub(super) len: usize,
}

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Move {
    pub(super) from: u64,
    pub(super) to: u64,
    pub(super) done: bool,
}

impl Plan {
    /// Number of moves.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is nothing to move.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Lets the owner move the frames. Not under the zones' lock.
    pub fn migrate(&mut self, mover: &mut impl Mover) {
        for one in &mut self.moves[..self.len] {
            one.done = one.done || mover.migrate(one.from, one.to).is_ok();
        }
    }
}
