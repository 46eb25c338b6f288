//! How the zones stand.

use super::{Zone, ZoneKind, Zones};
use crate::{Buddy, Holder, Pressure, Stats};

impl<'m> Zones<'m> {
    /// How short memory is, now. Takes constant time.
    #[must_use]
    pub fn pressure(&self) -> Pressure {
        let of = |index: usize| {
            let zone = &self.zones[index];
            let free = zone.buddy.free_frames().saturating_sub(zone.protection);
            match zone.watermarks {
                _ if zone.buddy.total_frames() == 0 => Pressure::Min,
                marks if free > marks.low => Pressure::None,
                marks if free > marks.min => Pressure::Low,
                _ => Pressure::Min,
            }
        };
        of(0).min(of(1))
    }

    /// Frames that reclaim should free: until one zone is at its high mark again; 0 where one is.
    #[must_use]
    pub fn shortage(&self) -> u64 {
        let of = |zone: &Zone<'_>| {
            (zone.watermarks.high + zone.protection).saturating_sub(zone.buddy.free_frames())
        };
        let zones = self.zones.iter().filter(|zone| zone.buddy.total_frames() > 0);
        zones.map(of).min().unwrap_or(0)
    }

    /// The counters of both zones together. `failures` are the requests that were refused here, `free_frames` leaves
    /// out what per-CPU caches hold.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let [dma32, normal] = self.zones.each_ref().map(|zone| zone.buddy.stats());
        Stats { failures: self.refused, ..dma32.plus(&normal) }
    }

    /// The counters of one zone. Its `failures` stay 0: it is the zones together that refuse.
    #[must_use]
    pub fn zone_stats(&self, zone: ZoneKind) -> Stats {
        self.zones[zone as usize].buddy.stats()
    }

    /// Free frames of both zones. Takes constant time.
    #[must_use]
    pub fn free_frames(&self) -> u64 {
        self.zones.iter().map(|zone| zone.buddy.free_frames()).sum()
    }

    /// One zone's allocator, to look at.
    #[must_use]
    pub fn buddy(&self, zone: ZoneKind) -> &Buddy<'m> {
        &self.zones[zone as usize].buddy
    }

    /// The zone that this frame would be in.
    #[must_use]
    pub fn zone_of(&self, pfn: u64) -> ZoneKind {
        if pfn < self.zones[1].buddy.span().start { ZoneKind::Dma32 } else { ZoneKind::Normal }
    }

    /// Which block holds this frame.
    #[must_use]
    pub fn holder(&self, pfn: u64) -> Holder {
        self.buddy(self.zone_of(pfn)).holder(pfn)
    }
}
