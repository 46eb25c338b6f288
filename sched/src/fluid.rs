//! Ideal sharing, run along beside the real schedule: where an infinitely fast switching processor would be with the same bursts.
//!
//! It serves all tasks at once, each by its weight (generalised processor sharing; Parekh and Gallager 1993), which is what EEVDF
//! approximates. Its *virtual time* V advances by the real time · 1024 / (sum of the weights of the tasks with unfinished bursts); a
//! burst that began at V₀ ends at the *tag* V₀ + size · 1024 / weight. A task's next burst begins when its last has ended here, even
//! if that was earlier in reality: who got ahead waits for it. Two things come of it:
//!
//! - **An order that hurts nobody**: who serves bursts by their tags one after the other, instead of all at once, ends each of them no
//!   later than ideal sharing does (Friedman and Henderson, "Fairness and efficiency in web server protocols", 2003). With sizes
//!   that are only expected, that holds as far as they are right.
//! - **A score**: for every burst that has ended, how long it would have taken here.
//!
//! As long as a burst has not ended in reality its size is what is expected; when that is reached, half as much again. Memory is fixed:
//! beyond [`BURSTS`] unfinished bursts, new ones are not followed.

use alloc::vec::Vec;

use crate::Nanos;
use crate::ordered::Ordered;

/// The most bursts that are followed. A power of two: the number of a burst's place is the low end of its own.
pub const BURSTS: usize = 2048;
/// Points of the way that are remembered.
const POINTS: usize = 128;
const UNIT_WEIGHT: u64 = 1024;

/// Names a burst that is followed: a number that grows from 1, and below it the number of its place. 0 is none.
pub type BurstId = u32;

fn place(id: BurstId) -> usize {
    id as usize % BURSTS
}

#[derive(Debug, Clone, Copy)]
struct Burst {
    tag: u64,
    id: BurstId,
    weight: u32,
    /// Weight of the burst of the same task that follows when this one ends here; 0 for none.
    next_weight: u32,
    /// V at its beginning.
    began: u64,
    release: Nanos,
    /// When it ended in reality.
    ended: Option<Nanos>,
    label: bool,
    /// How often it turned out longer than expected, and when it would have ended here had it not.
    overruns: u8,
    due: Nanos,
    /// It was told of before its end.
    told: bool,
}

/// A burst that has ended in both worlds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compared {
    /// Its response time in reality.
    pub real: Nanos,
    /// Its response time under ideal sharing.
    pub ideal: Nanos,
    /// As it was said when it began.
    pub label: bool,
}

/// The ideal processor.
pub struct Fluid {
    /// By place; those of which `order` knows nothing are free.
    bursts: Vec<Burst>,
    /// Places that are free below the end of `bursts`.
    free: Vec<u32>,
    /// The bursts by their tags.
    order: Ordered,
    weight: u64,
    now: Nanos,
    virtual_time: u64,
    /// What is left over from dividing, in units of nanoseconds · 1024.
    rest: u64,
    begun: u32,
    /// (V, time), the latest at `at - 1`.
    points: [(u64, Nanos); POINTS],
    at: usize,
}

impl Fluid {
    /// An idle one; `None` when there is no memory.
    #[must_use]
    pub fn new() -> Option<Self> {
        let (mut bursts, mut free, mut order) = (Vec::new(), Vec::new(), Ordered::new());
        bursts.try_reserve_exact(BURSTS).ok()?;
        free.try_reserve_exact(BURSTS).ok()?;
        order.reserve(BURSTS, 0).ok()?;
        Some(Self {
            bursts,
            free,
            order,
            weight: 0,
            now: 0,
            virtual_time: 0,
            rest: 0,
            begun: 0,
            points: [(0, 0); POINTS],
            at: 0,
        })
    }

    /// V.
    #[must_use]
    pub fn virtual_time(&self) -> u64 {
        self.virtual_time
    }

    fn scaled(time: Nanos, weight: u32) -> u64 {
        match weight {
            // Most weigh that, and dividing is slow where it is emulated.
            1024 => time,
            _ => time.saturating_mul(UNIT_WEIGHT) / u64::from(weight.max(1)),
        }
    }

    fn remember(&mut self) {
        self.points[self.at % POINTS] = (self.virtual_time, self.now);
        self.at = self.at.wrapping_add(1);
    }

    /// When V was at `tag`: between the two remembered points that it lies between.
    fn when(&self, tag: u64) -> Nanos {
        let mut later = (self.virtual_time, self.now);
        for back in 1..=POINTS.min(self.at) {
            let point = self.points[(self.at - back) % POINTS];
            if point.0 <= tag {
                let (passed, time) = (later.0 - point.0, later.1.saturating_sub(point.1));
                let share = u128::from(tag - point.0) * u128::from(time) / u128::from(passed.max(1));
                return point.1 + u64::try_from(share).unwrap_or(time).min(time);
            }
            later = point;
        }
        later.1
    }

    /// A burst that is followed.
    fn get(&mut self, id: BurstId) -> Option<&mut Burst> {
        // A free place keeps the number of its last burst until it is given away, but no weight.
        self.bursts.get_mut(place(id)).filter(|burst| burst.id == id && burst.weight > 0)
    }

    /// A burst is followed no longer.
    fn forget(&mut self, id: BurstId) {
        if let Some(burst) = self.get(id) {
            burst.weight = 0;
            self.free.push(place(id) as u32);
        }
    }

    /// Lets time pass; `compared` hears of every burst that has ended in both worlds.
    pub fn advance(&mut self, now: Nanos, compared: &mut dyn FnMut(Compared)) {
        while self.now < now {
            let Some((tag, id)) = self.order.first() else { break };
            let ahead = tag.saturating_sub(self.virtual_time);
            // Real time until V is there, rounded up.
            let needed = ahead.saturating_mul(self.weight).saturating_sub(self.rest).div_ceil(UNIT_WEIGHT);
            if needed > now - self.now {
                let passed = (now - self.now).saturating_mul(UNIT_WEIGHT) + self.rest;
                self.virtual_time += passed / self.weight.max(1);
                self.rest = passed % self.weight.max(1);
                break;
            }
            self.now += needed;
            self.virtual_time = tag.max(self.virtual_time);
            self.rest = 0;
            self.order.remove(tag, id);
            let Some(&mut first) = self.get(id) else { continue };
            if let Some(ended) = first.ended {
                self.forget(id);
                self.weight = self.weight + u64::from(first.next_weight) - u64::from(first.weight);
                let since = |time: Nanos| time.saturating_sub(first.release);
                if !first.told {
                    compared(Compared { real: since(ended), ideal: since(self.now), label: first.label });
                }
            } else {
                let more = ((first.tag - first.began) / 2).max(Self::scaled(100_000, first.weight));
                let due = if first.overruns == 0 { self.now } else { first.due };
                let (tag, overruns) = (first.tag.saturating_add(more), first.overruns.saturating_add(1));
                self.bursts[place(id)] = Burst { tag, due, overruns, ..first };
                self.order.insert(tag, id);
            }
            self.remember();
        }
        self.now = self.now.max(now);
    }

    /// A burst begins that is expected to take `size`. `after` is the last burst of the same task, which has ended in reality; `label`
    /// comes back with the outcome. To be called when time has been advanced to its release. Returns its number, and V at its beginning.
    pub fn begin(&mut self, size: Nanos, weight: u32, after: Option<BurstId>, label: bool) -> (BurstId, u64) {
        let weight = weight.max(1);
        // No burst has the number 0.
        self.begun = self.begun % (u32::MAX / BURSTS as u32) + 1;
        let at = self.free.pop().map_or(self.bursts.len(), |at| at as usize);
        let id = self.begun.wrapping_mul(BURSTS as u32) | (at % BURSTS) as u32;
        if at >= BURSTS {
            return (id, self.virtual_time);
        }
        let before = after.and_then(|after| self.get(after)).filter(|burst| burst.ended.is_some());
        let began = match before {
            Some(before) => {
                before.next_weight = weight;
                before.tag
            }
            None => {
                self.weight += u64::from(weight);
                self.virtual_time
            }
        };
        let tag = began.saturating_add(Self::scaled(size, weight).max(1));
        let (release, due) = (self.now, self.now);
        let burst = Burst {
            tag,
            id,
            weight,
            next_weight: 0,
            began,
            release,
            ended: None,
            label,
            overruns: 0,
            due,
            told: false,
        };
        match self.bursts.get_mut(at) {
            Some(place) => *place = burst,
            None => self.bursts.push(burst),
        }
        self.order.insert(tag, id);
        self.remember();
        (id, began)
    }

    /// How a burst compares that has been given twice the expected time here, and has not ended in reality: with the age that it has, and
    /// once. To be asked of those that are left behind there: else who starves everybody would look good, for only the dead are counted.
    pub fn overdue(&mut self, id: BurstId) -> Option<Compared> {
        let now = self.now;
        let late = |burst: &&mut Burst| burst.ended.is_none() && burst.overruns >= 2 && !burst.told;
        let burst = self.get(id).filter(late)?;
        burst.told = true;
        let since = |time: Nanos| time.saturating_sub(burst.release);
        Some(Compared { real: since(now), ideal: since(burst.due), label: burst.label })
    }

    /// A burst goes on elsewhere, after `size` here: it is served up to there, and not compared.
    pub fn leave(&mut self, id: BurstId, size: Nanos) {
        if let Some(burst) = self.get(id) {
            burst.told = true;
            self.end(id, size);
        }
    }

    /// A burst has ended in reality, after `size`. Says how it compares, if it would have ended here before.
    pub fn end(&mut self, id: BurstId, size: Nanos) -> Option<Compared> {
        let (now, virtual_time) = (self.now, self.virtual_time);
        let burst = self.get(id)?;
        let before = burst.tag;
        burst.tag = burst.began.saturating_add(Self::scaled(size, burst.weight));
        burst.ended = Some(now);
        let burst = *burst;
        self.order.remove(before, id);
        if burst.tag > virtual_time {
            self.order.insert(burst.tag, id);
            return None;
        }
        self.forget(id);
        self.weight -= u64::from(burst.weight);
        let since = |time: Nanos| time.saturating_sub(burst.release);
        let ideal = since(self.when(burst.tag)).max(size);
        (!burst.told).then_some(Compared { real: since(self.now), ideal, label: burst.label })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Nanos = 1_000_000;

    fn fluid() -> Fluid {
        match Fluid::new() {
            Some(fluid) => fluid,
            None => panic!("no memory"),
        }
    }

    #[test]
    fn two_equal_bursts_share() {
        let mut fluid = fluid();
        let mut seen = Vec::new();
        let a = fluid.begin(10 * MS, 1024, None, false).0;
        let b = fluid.begin(10 * MS, 1024, None, false).0;
        // In reality one after the other.
        fluid.advance(10 * MS, &mut |c| seen.push(c));
        assert_eq!(fluid.end(a, 10 * MS), None);
        fluid.advance(20 * MS, &mut |c| seen.push(c));
        seen.extend(fluid.end(b, 10 * MS));
        fluid.advance(21 * MS, &mut |c| seen.push(c));
        let ideal = 20 * MS;
        assert_eq!(
            seen,
            [
                Compared { real: 10 * MS, ideal, label: false },
                Compared { real: 20 * MS, ideal, label: false }
            ]
        );
    }

    #[test]
    fn who_has_left_is_no_longer_served() {
        let mut fluid = fluid();
        let mut seen = Vec::new();
        let stays = fluid.begin(10 * MS, 1024, None, false).0;
        let leaves = fluid.begin(1000 * MS, 1024, None, false).0;
        fluid.advance(4 * MS, &mut |c| seen.push(c));
        fluid.leave(leaves, 0);
        // It has had 2 ms; the other one needs 8 more, alone.
        fluid.advance(12 * MS, &mut |c| seen.push(c));
        seen.extend(fluid.end(stays, 10 * MS));
        fluid.advance(20 * MS, &mut |c| seen.push(c));
        assert_eq!(seen, [Compared { real: 12 * MS, ideal: 12 * MS, label: false }]);
        // A burst that followed another one, which goes on here, is not compared either.
        let first = fluid.begin(8 * MS, 1024, None, false).0;
        assert_eq!(fluid.end(first, 8 * MS), None);
        let second = fluid.begin(8 * MS, 1024, Some(first), false).0;
        fluid.leave(second, MS);
        fluid.advance(60 * MS, &mut |c| seen.push(c));
        assert_eq!((seen.len(), fluid.weight, fluid.order.len()), (2, 0, 0));
        assert_eq!(fluid.free.len(), fluid.bursts.len());
    }

    #[test]
    fn weights_count_and_the_past_is_remembered() {
        let mut fluid = fluid();
        // Of equal sizes, 3 to 1: the heavy one ends at 4/3 of its size, the light one at twice.
        let light = fluid.begin(12 * MS, 512, None, false).0;
        let heavy = fluid.begin(12 * MS, 1536, None, false).0;
        let mut seen = Vec::new();
        fluid.advance(24 * MS, &mut |c| seen.push(c));
        assert!(seen.is_empty());
        // Both ended only now: when would they have?
        let ideal = |compared: Option<Compared>| compared.map_or(0, |c| c.ideal);
        assert_eq!(ideal(fluid.end(heavy, 12 * MS)), 16 * MS);
        fluid.advance(30 * MS, &mut |c| seen.push(c));
        seen.extend(fluid.end(light, 12 * MS));
        // The heavy one was taken to go on until it was known to have ended.
        assert!(seen.len() == 1 && (24 * MS..=30 * MS).contains(&seen[0].ideal), "{seen:?}");
    }
}
