//! How long growth is held back. A hold has to outlast the alarm that began it: growth that is held looks harmless, so the
//! probability falls at once, and to let go then would bring the danger back.
//!
//! A hold is in force for [`HOLD_NS`] and is renewed from half of that on, whatever the probability, until available memory
//! (free and reclaimable) is 1/50 of all memory above where it began; for 60 s in a row at most. Then nobody
//! renews it, and it lets go.
//!
//! A fall that a hold broke looks survived to the predictor, which fears the next one less. So within 30 s after memory came
//! back, a fall on a course to its end (a minute at most) below where the hold began begins the next one, alarm or not.

use super::assessment::Assessment;
use super::sample::Sample;

/// A hold that is not renewed begins to let go after this time.
pub const HOLD_NS: u64 = 6_000_000_000;
/// The longest time in a row.
const LONGEST_NS: u64 = 60_000_000_000;
/// This part of all memory has to come back.
const RECOVERED_PART: u64 = 50;
/// For so long a hold that ended because memory came back is remembered.
const RELAPSE_NS: u64 = 30_000_000_000;
/// A course that ends within this time is a relapse.
const RELAPSE_S: f32 = 60.0;

/// A hold in force.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hold {
    since_ns: u64,
    until_ns: u64,
    /// Pages available when it began.
    level: u64,
    /// Pages available at which it begins to let go.
    enough: u64,
}

impl Hold {
    pub(super) fn begin(now: &Sample) -> Self {
        Hold {
            since_ns: now.t_ns,
            until_ns: now.t_ns.saturating_add(HOLD_NS),
            level: available(now),
            enough: available(now).saturating_add(now.total_pages / RECOVERED_PART),
        }
    }

    /// When it begins to let go.
    pub(super) fn until_ns(&self) -> u64 {
        self.until_ns
    }

    /// Memory is back, or its time is over.
    pub(super) fn is_over(&self, now: &Sample) -> bool {
        now.t_ns >= self.until_ns || available(now) >= self.enough
    }

    /// What is remembered of a hold that is over: where it began, if memory came back.
    pub(super) fn broken(&self, now: &Sample) -> Option<Broken> {
        (available(now) >= self.enough).then_some(Broken { ended_ns: now.t_ns, level: self.level })
    }

    /// To be renewed now, if that does not make it too long.
    pub(super) fn is_due(&self, now: &Sample) -> bool {
        now.t_ns.saturating_add(HOLD_NS / 2) >= self.until_ns
            && now.t_ns.saturating_add(HOLD_NS) <= self.since_ns.saturating_add(LONGEST_NS)
    }

    pub(super) fn renew(&mut self, now: &Sample) {
        self.until_ns = now.t_ns.saturating_add(HOLD_NS);
    }
}

/// A fall that a hold broke.
#[derive(Debug, Clone, Copy)]
pub(super) struct Broken {
    ended_ns: u64,
    level: u64,
}

impl Broken {
    /// Memory falls as before.
    pub(super) fn is_back(&self, a: &Assessment, now: &Sample) -> bool {
        now.t_ns <= self.ended_ns.saturating_add(RELAPSE_NS)
            && available(now) < self.level
            && a.seconds_to_oom.is_some_and(|s| s.mid < RELAPSE_S)
    }
}

fn available(now: &Sample) -> u64 {
    now.free_pages.saturating_add(now.reclaimable_pages)
}
