//! What an allocator is asked to do: a list of allocations and frees that ends with nothing allocated.

use mm::MigrateType;

/// One request.
#[derive(Debug, Clone, Copy)]
pub enum Op {
    /// Allocate, and remember the result in the slot.
    Alloc {
        slot: u32,
        /// Bytes, or the order of a block of pages: whichever the script is about.
        size: u32,
        kind: MigrateType,
    },
    /// Free what the slot remembers.
    Free { slot: u32 },
}

/// A list of requests.
#[derive(Debug, Clone, Default)]
pub struct Script {
    pub ops: Vec<Op>,
    pub slots: usize,
}

/// SplitMix64, as in `llm::random`, which this crate must not know.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
}

impl Script {
    pub fn alloc(&mut self, slot: u32, size: u32, kind: MigrateType) {
        self.slots = self.slots.max(slot as usize + 1);
        self.ops.push(Op::Alloc { slot, size, kind });
    }

    /// One frame, freed at once, `pairs` times.
    pub fn pairs(pairs: usize) -> Self {
        let mut script = Self::default();
        for _ in 0..pairs {
            script.alloc(0, 0, MigrateType::Movable);
            script.ops.push(Op::Free { slot: 0 });
        }
        script
    }

    /// Single frames, `live` of them at a time, freed in another order.
    pub fn bursts(live: usize, bursts: usize, random: &mut Random) -> Self {
        let mut script = Self::default();
        let mut order: Vec<u32> = (0..live as u32).collect();
        for _ in 0..bursts {
            (0..live as u32).for_each(|slot| script.alloc(slot, 0, MigrateType::Movable));
            (1..live).rev().for_each(|i| order.swap(i, random.below(i + 1)));
            script.ops.extend(order.iter().map(|&slot| Op::Free { slot }));
        }
        script
    }

    /// Blocks of mixed orders (half of them single frames, a quarter pairs, …) and `kinds` types, allocated and freed at random
    /// around `frames` live frames.
    pub fn mixed(frames: u64, requests: usize, kinds: usize, random: &mut Random) -> Self {
        let mut script = Self::default();
        let (mut live, mut used, mut free_slots) = (Vec::<(u32, u32)>::new(), 0, Vec::new());
        for _ in 0..requests {
            let grow = used < frames / 2 || (used < frames && random.below(2) == 0);
            if grow || live.is_empty() {
                let size = random.next().trailing_zeros().min(9);
                let slot = free_slots.pop().unwrap_or(script.slots as u32);
                script.alloc(slot, size, MigrateType::ALL[random.below(kinds)]);
                live.push((slot, size));
                used += 1 << size;
            } else {
                let (slot, size) = live.swap_remove(random.below(live.len()));
                script.ops.push(Op::Free { slot });
                free_slots.push(slot);
                used -= 1 << size;
            }
        }
        script.ops.extend(live.iter().map(|&(slot, _)| Op::Free { slot }));
        script
    }

    /// Frees at the end what this script leaves allocated.
    pub fn balanced(mut self) -> Self {
        let mut live = vec![false; self.slots];
        for op in &self.ops {
            match *op {
                Op::Alloc { slot, .. } => live[slot as usize] = true,
                Op::Free { slot } => live[slot as usize] = false,
            }
        }
        let rest = (0..).zip(live).filter(|(_, live)| *live).map(|(slot, _)| Op::Free { slot });
        self.ops.extend(rest);
        self
    }

    /// `copies` of this script, started one after the other, `apart` requests each, and interleaved.
    pub fn copies(&self, copies: usize, apart: usize) -> Self {
        let mut script = Self { slots: self.slots * copies, ops: Vec::new() };
        let shifted = |op: Op, copy: usize| {
            let base = (copy * self.slots) as u32;
            match op {
                Op::Alloc { slot, size, kind } => Op::Alloc { slot: slot + base, size, kind },
                Op::Free { slot } => Op::Free { slot: slot + base },
            }
        };
        for at in 0..self.ops.len() + (copies.saturating_sub(1)) * apart {
            for copy in 0..copies {
                if let Some(op) = at.checked_sub(copy * apart).and_then(|at| self.ops.get(at)) {
                    script.ops.push(shifted(*op, copy));
                }
            }
        }
        script
    }

    /// Bytes turned into orders of page blocks.
    pub fn in_pages(mut self) -> Self {
        for op in &mut self.ops {
            if let Op::Alloc { size, .. } = op {
                *size = size.div_ceil(4096).next_power_of_two().trailing_zeros();
            }
        }
        self
    }

    /// Leaves out the allocations that would bring what is allocated at once above `limit`, in the unit that `of` gives.
    pub fn within(&self, limit: u64, of: impl Fn(u32) -> u64) -> Self {
        let (mut sizes, mut used) = (vec![None; self.slots], 0);
        let fits = |op: &&Op| match **op {
            Op::Alloc { slot, size, .. } if used + of(size) <= limit => {
                sizes[slot as usize] = Some(of(size));
                used += of(size);
                true
            }
            Op::Alloc { .. } => false,
            Op::Free { slot } => sizes[slot as usize].take().map(|size| used -= size).is_some(),
        };
        Self { ops: self.ops.iter().filter(fits).copied().collect(), slots: self.slots }
    }

    /// The most that is allocated at once, in the unit that `of` gives a size.
    pub fn peak(&self, of: impl Fn(u32) -> u64) -> u64 {
        let (mut sizes, mut used, mut peak) = (vec![0; self.slots], 0, 0);
        for op in &self.ops {
            match *op {
                Op::Alloc { slot, size, .. } => {
                    sizes[slot as usize] = of(size);
                    used += of(size);
                    peak = used.max(peak);
                }
                Op::Free { slot } => used -= sizes[slot as usize],
            }
        }
        peak
    }
}
