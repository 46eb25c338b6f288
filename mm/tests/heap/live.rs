//! Live allocations, and the steps that make and end them.

use proptest::prelude::*;
use std::alloc::Layout;
use std::ptr::NonNull;

/// A live allocation, filled with a pattern of its own.
pub struct Live {
    pub memory: NonNull<u8>,
    pub layout: Layout,
    pub seed: u8,
}

impl Live {
    pub fn fill(&self) {
        for i in 0..self.layout.size() {
            // SAFETY: inside the allocation.
            unsafe { self.memory.add(i).write(self.pattern(i)) };
        }
    }

    pub fn check(&self, bytes: usize) {
        for i in 0..bytes {
            // SAFETY: inside the allocation, which `fill` has written.
            let byte = unsafe { self.memory.add(i).read() };
            assert_eq!(byte, self.pattern(i), "byte {i} of {:?}", self.layout);
        }
    }

    fn pattern(&self, i: usize) -> u8 {
        self.seed.wrapping_mul(31).wrapping_add(i as u8)
    }
}

/// What is done next; `nth` is taken modulo the number of live ones.
#[derive(Debug, Clone)]
pub enum Step {
    Allocate { size: usize, align: u32, seed: u8 },
    Free { nth: usize },
    Resize { nth: usize, size: usize },
}

pub fn size() -> impl Strategy<Value = usize> {
    prop_oneof![1 => Just(0_usize), 8 => 1..200_usize, 4 => 200..5000_usize, 1 => 5000..60_000_usize]
}

pub fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (size(), 0..13_u32, any::<u8>()).prop_map(|(size, align, seed)| Step::Allocate { size, align, seed }),
        3 => any::<usize>().prop_map(|nth| Step::Free { nth }),
        3 => (any::<usize>(), size()).prop_map(|(nth, size)| Step::Resize { nth, size }),
    ]
}
