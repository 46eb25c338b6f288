//! What bursts were like that were known by the same signs: memory for predicting the next.
//!
//! A burst has several *signs*, from the most specific (this very task; this program, on behalf of this owner, asked to do exactly
//! this much) to none at all. Each sign has a ring of the last [`WINDOW`] sizes. Which sign to believe is learned: a burst is
//! predicted from the sign whose predictions have lately been off the least, for this ring and for rings of its kind with as
//! many entries. All of it is prequential: a size enters a ring, and an error its average, when the burst has ended.
//!
//! Memory is fixed: [`RINGS`] rings, and of four in a set the one unused for longest makes room. All of it is whole numbers, and a ring
//! is kept sorted, for it is looked at whenever a burst begins or ends: under emulation floating point would take most of that time.

mod outlook;
mod tail;

pub use outlook::{Outlook, Prospect, WINDOW};
pub use tail::Tail;

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::fixed::{ONE, log2};
use crate::{Nanos, Origin, TaskId};
use outlook::{GRAIN, grains};

/// How many rings there are: 120 KiB.
pub const RINGS: usize = 1024;
const WAYS: usize = 4;
/// Kinds of signs.
const KINDS: usize = 10;
/// A ring's own error counts as much as this many of its kind's.
const TRUST: i32 = 4;
/// A new error has a share of one in so many in the running average.
const AVERAGED: i32 = 10;
/// Error of a kind that has not been tried: a factor of e.
const UNTRIED: i32 = (core::f32::consts::LOG2_E * ONE as f32) as i32;
/// No error counts for more: a factor of 3000.
const WORST: i32 = 8 * UNTRIED;

#[derive(Clone, Copy)]
struct Ring {
    sign: u64,
    used: u32,
    /// Running average of |log₂ predicted − log₂ seen|.
    error: i32,
    /// Ascending, in grains.
    sizes: [u32; WINDOW],
    /// The turn at which each came, modulo 256.
    turns: [u8; WINDOW],
    len: u8,
    turn: u8,
}

impl Ring {
    const EMPTY: Self =
        Self { sign: 0, used: 0, error: UNTRIED, sizes: [0; WINDOW], turns: [0; WINDOW], len: 0, turn: 0 };

    fn len(&self) -> usize {
        usize::from(self.len).min(WINDOW)
    }

    /// Where the size is that came `ago` turns before the next.
    fn came(&self, ago: u8) -> usize {
        let turn = self.turn.wrapping_sub(ago);
        self.turns[..self.len()].iter().position(|&came| came == turn).unwrap_or(0)
    }

    fn push(&mut self, size: u32) {
        // A hole where the oldest was goes to the place of the new one.
        let mut at = if self.len() == WINDOW { self.came(WINDOW as u8) } else { self.len() };
        self.len = (self.len + 1).min(WINDOW as u8);
        while at > 0 && self.sizes[at - 1] > size {
            (self.sizes[at], self.turns[at]) = (self.sizes[at - 1], self.turns[at - 1]);
            at -= 1;
        }
        while at + 1 < self.len() && self.sizes[at + 1] < size {
            (self.sizes[at], self.turns[at]) = (self.sizes[at + 1], self.turns[at + 1]);
            at += 1;
        }
        (self.sizes[at], self.turns[at]) = (size, self.turn);
        self.turn = self.turn.wrapping_add(1);
    }

    /// The size that came last.
    fn last(&self) -> Nanos {
        Nanos::from(self.sizes[self.came(1)]) * GRAIN
    }

    /// log₂ of the middle size.
    fn median(&self) -> Option<i32> {
        (self.len > 0).then(|| log2(Nanos::from(self.sizes[self.len() / 2]) * GRAIN))
    }
}

/// A burst's signs, most specific first; 0 for one that it lacks.
pub type Signs = [u64; KINDS];

/// The memory.
pub struct History {
    rings: Box<[Ring]>,
    clock: u32,
    /// Running average errors by kind of sign and by how full the ring was (1, 2–3, 4–7, more).
    errors: [[i32; 4]; KINDS],
    tail: Tail,
}

/// How full a ring is, in four steps.
fn fill(len: u8) -> usize {
    (usize::from(len).max(1).ilog2() as usize).min(3)
}

fn mix(parts: [u64; 4]) -> u64 {
    let mut hash = 0x9e37_79b9_7f4a_7c15_u64;
    for part in parts {
        hash = (hash ^ part).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        hash ^= hash >> 29;
    }
    hash.max(1)
}

/// The signs of a burst.
#[must_use]
pub fn signs(task: TaskId, origin: Origin) -> Signs {
    let Origin { program, owner, declared } = origin;
    let (program, owner) = (u64::from(program), u64::from(owner));
    // An eighth of an octave, and a whole one.
    let octaves = log2(declared);
    let (fine, coarse) = ((octaves / (ONE / 8)) as u64, (octaves / ONE) as u64);
    let sign = |kind: u64, parts: [u64; 3], known: bool| {
        if known { mix([kind, parts[0], parts[1], parts[2]]) } else { 0 }
    };
    let (has_program, has_owner, has_size) = (program != 0, owner != 0, declared != 0);
    [
        sign(1, [u64::from(task), 0, 0], true),
        sign(2, [program, owner, declared], has_size),
        sign(3, [program, owner, fine], has_size),
        sign(4, [program, 0, fine], has_size && has_program && has_owner),
        sign(5, [program, owner, coarse], has_size),
        sign(6, [program, owner, 0], has_program && has_owner),
        sign(7, [program, 0, 0], has_program),
        sign(8, [0, owner, 0], has_owner),
        sign(9, [0, 0, coarse], has_size && (has_program || has_owner)),
        sign(10, [0, 0, 0], true),
    ]
}

impl History {
    /// Nothing remembered; `None` when there is no memory for it.
    #[must_use]
    pub fn new() -> Option<Self> {
        let mut rings = Vec::new();
        rings.try_reserve_exact(RINGS).ok()?;
        rings.resize(RINGS, Ring::EMPTY);
        Some(Self {
            rings: rings.into_boxed_slice(),
            clock: 0,
            errors: [[UNTRIED; 4]; KINDS],
            tail: Tail::new(),
        })
    }

    /// All sizes together: what is left of a burst that has outrun its kind.
    #[must_use]
    pub fn tail(&self) -> &Tail {
        &self.tail
    }

    fn set(sign: u64) -> core::ops::Range<usize> {
        let first = (sign >> 20) as usize % (RINGS / WAYS) * WAYS;
        first..first + WAYS
    }

    fn ring(&self, sign: u64) -> Option<&Ring> {
        if sign == 0 { None } else { self.rings[Self::set(sign)].iter().find(|ring| ring.sign == sign) }
    }

    /// What to expect of a burst with these signs.
    #[must_use]
    pub fn outlook(&self, signs: &Signs) -> Outlook {
        let mut best: Option<(i32, &Ring)> = None;
        for (kind, &sign) in signs.iter().enumerate() {
            let Some(ring) = self.ring(sign) else { continue };
            let own = i32::from(ring.len) - 1;
            let error = (ring.error * own + self.errors[kind][fill(ring.len)] * TRUST) / (own + TRUST);
            if best.is_none_or(|(least, _)| error < least) {
                best = Some((error, ring));
            }
        }
        best.map_or_else(Outlook::default, |(_, ring)| Outlook::of_sorted(ring.sizes, ring.len))
    }

    /// The persistence baseline: the last size with the most specific sign that was seen before.
    #[must_use]
    pub fn last(&self, signs: &Signs) -> Option<Nanos> {
        signs.iter().find_map(|&sign| self.ring(sign)).map(Ring::last)
    }

    /// A burst with these signs has ended.
    pub fn learn(&mut self, signs: &Signs, size: Nanos) {
        self.clock = self.clock.wrapping_add(1);
        self.tail.push(size);
        let (size, seen) = (grains(size), log2(size));
        for (kind, &sign) in signs.iter().enumerate().filter(|(_, sign)| **sign != 0) {
            let clock = self.clock;
            let set = &mut self.rings[Self::set(sign)];
            let at = set.iter().position(|ring| ring.sign == sign).unwrap_or_else(|| {
                let oldest = (0..WAYS).max_by_key(|&way| clock.wrapping_sub(set[way].used)).unwrap_or(0);
                let free = (0..WAYS).find(|&way| set[way].sign == 0).unwrap_or(oldest);
                set[free] = Ring { sign, ..Ring::EMPTY };
                free
            });
            let ring = &mut set[at];
            if let Some(median) = ring.median() {
                let error = (median - seen).abs().min(WORST);
                ring.error += (error - ring.error) / i32::from(ring.len).min(AVERAGED);
                let average = &mut self.errors[kind][fill(ring.len)];
                *average += (error - *average) / AVERAGED;
            }
            ring.used = clock;
            ring.push(size);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_keeps_the_last_sizes_in_order() {
        let (mut ring, mut state) = (Ring::EMPTY, 1_u32);
        let mut all = Vec::new();
        for _ in 0..600 {
            state = state.wrapping_mul(747_796_405).wrapping_add(2_891_336_453);
            let size = (state >> 28) + 1;
            ring.push(size);
            all.push(size);
            let mut last = all[all.len().saturating_sub(WINDOW)..].to_vec();
            last.sort_unstable();
            assert_eq!((&ring.sizes[..ring.len()], ring.last()), (&last[..], Nanos::from(size) * GRAIN));
        }
    }
}
