//! What the predictor sees: counters of an allocator at one moment.

/// Shares of the memory are counted in so many parts.
pub const WHOLE: i32 = 65_536;

/// Counters at one moment. Levels are as they are now; cumulative counters only ever grow.
///
/// What a source does not know stays 0 (`fragmentation`: −1000), which reads as "no sign of trouble".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// Monotonic time in nanoseconds.
    pub t_ns: u64,
    /// Page frames that the allocator manages.
    pub total_pages: u64,
    /// Page frames that are free.
    pub free_pages: u64,
    /// Order of the largest free block (0 when nothing is free).
    pub largest_free_order: u8,
    /// Linux's `extfrag_index` for order 4 in thousandths; −1000 where such a request would succeed.
    pub fragmentation: i16,
    /// Pages allocated since boot.
    pub allocated_pages: u64,
    /// Pages freed since boot.
    pub freed_pages: u64,
    /// Allocations refused since boot.
    pub failures: u64,
    /// Pages that reclaim gave back since boot.
    pub reclaimed_pages: u64,
    /// Pages that reclaim asked for or scanned since boot.
    pub reclaim_attempts: u64,
    /// Pages that could be reclaimed now.
    pub reclaimable_pages: u64,
    /// Time since boot in which at least one task waited for memory (PSI "some"), nanoseconds.
    pub stall_some_ns: u64,
    /// Time since boot in which all tasks waited for memory (PSI "full"), nanoseconds.
    pub stall_full_ns: u64,
}

impl Sample {
    /// The columns of a recording: the names of the fields, in the order of [`row`](Self::row).
    pub const COLUMNS: [&str; 13] = [
        "t_ns",
        "total_pages",
        "free_pages",
        "largest_free_order",
        "fragmentation",
        "allocated_pages",
        "freed_pages",
        "failures",
        "reclaimed_pages",
        "reclaim_attempts",
        "reclaimable_pages",
        "stall_some_ns",
        "stall_full_ns",
    ];

    /// The fields as numbers; what is too large for one is as large as can be.
    pub fn row(&self) -> [i64; Self::COLUMNS.len()] {
        let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        [
            number(self.t_ns),
            number(self.total_pages),
            number(self.free_pages),
            i64::from(self.largest_free_order),
            i64::from(self.fragmentation),
            number(self.allocated_pages),
            number(self.freed_pages),
            number(self.failures),
            number(self.reclaimed_pages),
            number(self.reclaim_attempts),
            number(self.reclaimable_pages),
            number(self.stall_some_ns),
            number(self.stall_full_ns),
        ]
    }

    /// A machine of which nothing but its memory is known.
    pub fn quiet(t_ns: u64, total_pages: u64, free_pages: u64) -> Self {
        Sample {
            t_ns,
            total_pages,
            free_pages,
            largest_free_order: 10,
            fragmentation: -1000,
            allocated_pages: 0,
            freed_pages: 0,
            failures: 0,
            reclaimed_pages: 0,
            reclaim_attempts: 0,
            reclaimable_pages: 0,
            stall_some_ns: 0,
            stall_full_ns: 0,
        }
    }

    /// Pages that an ordinary request must leave: Linux's `min_free_kbytes` = 4·√(memory in KiB), as pages.
    pub fn reserve_pages(&self) -> u64 {
        self.total_pages.saturating_mul(4).isqrt()
    }

    /// Share of the memory that can still be given out, in [`WHOLE`] parts: free and reclaimable pages less `reserve` (see
    /// [`reserve_pages`](Self::reserve_pages)), from 0 to [`WHOLE`].
    pub fn headroom_beyond(&self, reserve: u64) -> i32 {
        if self.total_pages == 0 {
            return WHOLE;
        }
        // Larger machines do not exist; what says so is noise.
        let total = self.total_pages.min(1 << 46);
        let usable = self.free_pages.saturating_add(self.reclaimable_pages).saturating_sub(reserve);
        (usable.min(total) * WHOLE as u64 / total) as i32
    }
}
