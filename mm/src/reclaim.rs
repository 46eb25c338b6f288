//! Reclaim: caches that can give memory back, asked in proportion to what they hold (Linux: shrinkers).
//!
//! ```
//! use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
//! use mm::reclaim::{Registry, Shrinker};
//!
//! struct Cache(AtomicU64);
//! impl Shrinker for Cache {
//!     fn name(&self) -> &'static str {
//!         "cache"
//!     }
//!     fn count(&self) -> u64 {
//!         self.0.load(Relaxed)
//!     }
//!     fn shrink(&self, bytes: u64) -> u64 {
//!         let freed = bytes.min(self.count());
//!         self.0.fetch_sub(freed, Relaxed);
//!         freed
//!     }
//! }
//!
//! let cache = Cache(AtomicU64::new(10_000));
//! let mut registry: Registry<'_, 4> = Registry::new();
//! registry.register(&cache)?;
//! let report = registry.reclaim(4096);
//! assert_eq!(report.freed, 4096);
//! assert_eq!(report.parts().next().map(|part| part.name), Some("cache"));
//! # Ok::<(), mm::reclaim::RegistryFull>(())
//! ```

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Something that holds memory which it can do without.
///
/// Called from the reclaim thread, and from an allocation that is about to fail: in task context, with no lock of the
/// allocator held. It may take its own lock, but must not wait for memory.
pub trait Shrinker: Sync {
    /// Its name in reports.
    fn name(&self) -> &'static str;
    /// Bytes that it could free now, by a guess that costs nothing.
    fn count(&self) -> u64;
    /// Frees about `bytes`; how many it freed: more or less than was asked, 0 when it can't just now.
    fn shrink(&self, bytes: u64) -> u64;
}

/// No more shrinkers fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the registry holds {capacity} shrinkers and is full; make it larger")]
pub struct RegistryFull {
    /// How many fit.
    pub capacity: usize,
}

/// Up to `N` shrinkers, in the order in which they were registered.
pub struct Registry<'s, const N: usize> {
    shrinkers: [Option<&'s dyn Shrinker>; N],
    asked: AtomicU64,
    freed: AtomicU64,
    rounds: AtomicU64,
}

/// What one shrinker did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Part {
    /// Its name.
    pub name: &'static str,
    /// Bytes that it said it could free.
    pub count: u64,
    /// Bytes that it was asked for.
    pub asked: u64,
    /// Bytes that it freed.
    pub freed: u64,
}

/// The account of one reclaim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reclaimed<const N: usize> {
    parts: [Option<Part>; N],
    /// Bytes that were wanted.
    pub wanted: u64,
    /// Bytes that were freed in all.
    pub freed: u64,
}

impl<const N: usize> Reclaimed<N> {
    /// One line per shrinker, those included that had nothing to give.
    pub fn parts(&self) -> impl Iterator<Item = &Part> {
        self.parts.iter().flatten()
    }
}

/// Totals since boot, in bytes where not said otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReclaimStats {
    /// Asked of shrinkers.
    pub asked: u64,
    /// Freed by them. `freed / asked` is the efficiency of reclaim.
    pub freed: u64,
    /// Number of reclaims.
    pub rounds: u64,
}

impl<'s, const N: usize> Registry<'s, N> {
    /// Without shrinkers.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            shrinkers: [None; N],
            asked: AtomicU64::new(0),
            freed: AtomicU64::new(0),
            rounds: AtomicU64::new(0),
        }
    }

    /// Adds a shrinker.
    ///
    /// # Errors
    /// `N` are registered already.
    pub fn register(&mut self, shrinker: &'s dyn Shrinker) -> Result<(), RegistryFull> {
        let free = self.shrinkers.iter_mut().find(|slot| slot.is_none());
        *free.ok_or(RegistryFull { capacity: N })? = Some(shrinker);
        Ok(())
    }

    /// Bytes that could be freed now, as the shrinkers guess.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.shrinkers().fold(0, |sum, shrinker| sum.saturating_add(shrinker.count()))
    }

    /// What each shrinker could free now.
    pub fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.shrinkers().map(|shrinker| (shrinker.name(), shrinker.count()))
    }

    /// Asks every shrinker for its share of `bytes`, in proportion to what it holds; then, where some gave less, each in turn
    /// for what is missing.
    pub fn reclaim(&self, bytes: u64) -> Reclaimed<N> {
        let mut report = Reclaimed { parts: [None; N], wanted: bytes, freed: 0 };
        for (part, shrinker) in report.parts.iter_mut().zip(self.shrinkers) {
            *part = shrinker.map(|s| Part { name: s.name(), count: s.count(), asked: 0, freed: 0 });
        }
        let total: u128 = report.parts().map(|part| u128::from(part.count)).sum();
        let pairs = || self.shrinkers.iter().enumerate().filter_map(|(i, s)| Some((i, (*s)?)));
        for in_proportion in [true, false] {
            for (index, shrinker) in pairs() {
                let Some(part) = &mut report.parts[index] else { continue };
                let missing = bytes.saturating_sub(report.freed);
                // Rounded up: many small shares are as much as was wanted.
                let share = match in_proportion {
                    true => (u128::from(bytes) * u128::from(part.count)).div_ceil(total.max(1)) as u64,
                    false => part.count.saturating_sub(part.freed),
                };
                let asked = share.min(missing);
                if asked > 0 {
                    let freed = shrinker.shrink(asked);
                    part.asked = part.asked.saturating_add(asked);
                    part.freed = part.freed.saturating_add(freed);
                    report.freed = report.freed.saturating_add(freed);
                }
            }
        }
        let asked = report.parts().fold(0, |sum: u64, part| sum.saturating_add(part.asked));
        self.asked.fetch_add(asked, Relaxed);
        self.freed.fetch_add(report.freed, Relaxed);
        self.rounds.fetch_add(1, Relaxed);
        report
    }

    /// Totals since boot.
    #[must_use]
    pub fn stats(&self) -> ReclaimStats {
        ReclaimStats {
            asked: self.asked.load(Relaxed),
            freed: self.freed.load(Relaxed),
            rounds: self.rounds.load(Relaxed),
        }
    }

    fn shrinkers(&self) -> impl Iterator<Item = &'s dyn Shrinker> {
        self.shrinkers.iter().flatten().copied()
    }
}

impl<const N: usize> Default for Registry<'_, N> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Cache {
        name: &'static str,
        holds: AtomicU64,
        /// Of 4 bytes asked, this many are freed.
        quarters: u64,
    }

    impl Cache {
        fn new(name: &'static str, holds: u64, quarters: u64) -> Self {
            Self { name, holds: AtomicU64::new(holds), quarters }
        }
    }

    impl Shrinker for Cache {
        fn name(&self) -> &'static str {
            self.name
        }
        fn count(&self) -> u64 {
            self.holds.load(Relaxed)
        }
        fn shrink(&self, bytes: u64) -> u64 {
            let freed = (bytes.saturating_mul(self.quarters) / 4).min(self.count());
            self.holds.fetch_sub(freed, Relaxed);
            freed
        }
    }

    fn parts<const N: usize>(report: &Reclaimed<N>) -> [(&'static str, u64, u64); N] {
        report.parts.map(|part| part.map_or(("", 0, 0), |part| (part.name, part.asked, part.freed)))
    }

    #[test]
    fn shares_are_in_proportion() {
        let (a, b) = (Cache::new("a", 3000, 4), Cache::new("b", 1000, 4));
        let mut registry: Registry<'_, 2> = Registry::new();
        registry.register(&a).unwrap();
        registry.register(&b).unwrap();
        assert_eq!(registry.register(&a), Err(RegistryFull { capacity: 2 }));
        let report = registry.reclaim(400);
        assert_eq!(parts(&report), [("a", 300, 300), ("b", 100, 100)]);
        assert_eq!((report.freed, registry.count()), (400, 3600));
        assert_eq!(registry.stats(), ReclaimStats { asked: 400, freed: 400, rounds: 1 });
    }

    #[test]
    fn who_gives_more_makes_up_for_who_gives_less() {
        let (stuck, rich) = (Cache::new("stuck", 1000, 0), Cache::new("rich", 1000, 4));
        let mut registry: Registry<'_, 3> = Registry::new();
        registry.register(&stuck).unwrap();
        registry.register(&rich).unwrap();
        let report = registry.reclaim(1000);
        assert_eq!(report.freed, 1000);
        assert!(report.parts().map(|part| part.freed).eq([0, 1000]));
        assert!(registry.stats().freed < registry.stats().asked, "efficiency is below 1");
    }

    #[test]
    fn extremes() {
        let registry: Registry<'_, 4> = Registry::new();
        assert_eq!(registry.reclaim(u64::MAX).freed, 0);
        let (huge, more) = (Cache::new("huge", u64::MAX, 1), Cache::new("more", u64::MAX, 1));
        let mut registry: Registry<'_, 4> = Registry::new();
        registry.register(&huge).unwrap();
        registry.register(&more).unwrap();
        assert_eq!(registry.count(), u64::MAX);
        registry.reclaim(u64::MAX);
        assert_eq!(registry.reclaim(0).freed, 0);
    }
}
