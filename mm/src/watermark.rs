//! How low free memory may go, and who may go there.

use crate::FRAME_SIZE;

/// The marks of one zone, in free frames: `min <= low <= high`.
///
/// Above `high` nothing is to be done. Below `low`, reclaim is started, and goes on until `high`. Below `min` only those
/// may allocate whose allocation helps to free memory ([`Reserve::Emergency`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Watermarks {
    /// Kept for emergencies.
    pub min: u64,
    /// Reclaim starts.
    pub low: u64,
    /// Reclaim ends.
    pub high: u64,
}

impl Watermarks {
    /// The marks of a zone of `zone_frames`, on a machine of `total_frames`, by Linux's rule: `min_free_kbytes` is
    /// 4·√KiB of the machine, within 128 KiB and 256 MiB, and each zone has its share of that; low is 5/4 of it, high 3/2.
    ///
    /// A zone never keeps more than an eighth of itself, so that tiny machines work (Linux has no such).
    #[must_use]
    pub fn for_zone(zone_frames: u64, total_frames: u64) -> Self {
        let kib = total_frames.saturating_mul(FRAME_SIZE / 1024);
        let min_kib = kib.saturating_mul(16).isqrt().clamp(128, 256 << 10);
        let frames = u128::from(min_kib / (FRAME_SIZE / 1024));
        let share = frames * u128::from(zone_frames) / u128::from(total_frames.max(1));
        let min = (share as u64).min(zone_frames / 8);
        Self { min, low: min + min / 4, high: min + min / 2 }
    }
}

/// How deep an allocation may reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reserve {
    /// At least `min` frames stay free.
    #[default]
    None,
    /// For what frees memory, or must not fail: a single frame may be the last one; larger blocks leave a quarter of
    /// `min`.
    Emergency,
}

impl Reserve {
    /// Frames that must stay free after an allocation of `order`, where `min` is the zone's lowest mark.
    pub(crate) fn floor(self, order: usize, min: u64) -> u64 {
        match (self, order) {
            (Self::None, _) => min,
            (Self::Emergency, 0) => 0,
            (Self::Emergency, _) => min / 4,
        }
    }
}

/// How short memory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Pressure {
    /// Some zone is above its low mark.
    #[default]
    None,
    /// Every zone is at or below its low mark: reclaim should run.
    Low,
    /// Every zone is at or below its min mark: ordinary allocations fail.
    Min,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linux_examples() {
        // 1 GiB: 4·√1048576 = 4096 KiB = 1024 frames. 16 GiB: 16384 KiB.
        let frames = |bytes: u64| bytes / FRAME_SIZE;
        let gib = frames(1 << 30);
        assert_eq!(Watermarks::for_zone(gib, gib), Watermarks { min: 1024, low: 1280, high: 1536 });
        assert_eq!(Watermarks::for_zone(16 * gib, 16 * gib).min, 4096);
        // Zones share.
        assert_eq!(Watermarks::for_zone(4 * gib, 16 * gib).min, 1024);
        // At most 256 MiB, at least 128 KiB; no more than an eighth of the zone.
        assert_eq!(Watermarks::for_zone(1 << 40, 1 << 40).min, 65536);
        assert_eq!(Watermarks::for_zone(256, 256).min, 32);
        assert_eq!(Watermarks::for_zone(64, 64).min, 8);
        assert_eq!(Watermarks::for_zone(0, 0), Watermarks::default());
        assert_eq!(Watermarks::for_zone(u64::MAX, u64::MAX).min, 65536);
    }
}
