//! The buddy allocator against a model that is too simple to be wrong: an owner per frame.

use std::collections::BTreeMap;

use mm::{AddError, AllocError, Block, Buddy, Frame, FreeError, Holder, MAX_ORDER, MigrateType, ORDERS};
use proptest::prelude::*;

/// What the model knows of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    Reserved,
    Free,
    /// Allocated, in the block that starts here.
    Block(u64),
}

struct Model {
    first: u64,
    owners: Vec<Owner>,
    blocks: BTreeMap<u64, usize>,
}

impl Model {
    fn new(first: u64, len: usize) -> Self {
        Self { first, owners: vec![Owner::Reserved; len], blocks: BTreeMap::new() }
    }

    fn owner(&self, pfn: u64) -> Owner {
        let index = pfn.checked_sub(self.first).and_then(|index| usize::try_from(index).ok());
        index.and_then(|index| self.owners.get(index)).copied().unwrap_or(Owner::Reserved)
    }

    fn set(&mut self, block: Block, from: Owner, to: Owner) {
        for pfn in block.pfn..block.pfn + block.frames() {
            assert_eq!(self.owner(pfn), from, "frame {pfn} of {block:?}");
            self.owners[(pfn - self.first) as usize] = to;
        }
    }

    fn free_frames(&self) -> u64 {
        self.owners.iter().filter(|owner| **owner == Owner::Free).count() as u64
    }

    /// Whether the frames `pfn..pfn + 2^order` are all free.
    fn is_free(&self, pfn: u64, order: usize) -> bool {
        (pfn..pfn + (1 << order)).all(|pfn| self.owner(pfn) == Owner::Free)
    }

    /// Free blocks per order when every two free buddies are joined: decided by the free frames alone.
    fn coalesced(&self) -> [u64; ORDERS] {
        let mut blocks = [0; ORDERS];
        let end = self.first + self.owners.len() as u64;
        let mut pfn = self.first;
        while pfn < end {
            let fits = |order: usize| pfn.is_multiple_of(1 << order) && self.is_free(pfn, order);
            // Free at order o implies free at every order below.
            match (0..=MAX_ORDER).take_while(|&order| fits(order)).last() {
                Some(order) => {
                    blocks[order] += 1;
                    pfn += 1 << order;
                }
                None => pfn += 1,
            }
        }
        blocks
    }

    fn expected_free(&self, pfn: u64, order: usize) -> Result<(), FreeError> {
        if order > MAX_ORDER {
            return Err(FreeError::OrderTooLarge { order });
        }
        let inside = (self.first..self.first + self.owners.len() as u64).contains(&pfn);
        if !inside {
            return Err(FreeError::Foreign { pfn });
        }
        if !pfn.is_multiple_of(1 << order) {
            return Err(FreeError::Misaligned { pfn, order });
        }
        match self.owner(pfn) {
            Owner::Reserved => Err(FreeError::Foreign { pfn }),
            Owner::Free => {
                let order =
                    (0..=MAX_ORDER).rev().find(|&order| self.is_free(pfn & !((1 << order) - 1), order));
                let order = order.expect("a free frame is a free block of order 0 at least");
                Err(FreeError::DoubleFree { pfn, head: pfn & !((1 << order) - 1), order })
            }
            Owner::Block(head) if head != pfn => {
                Err(FreeError::NotBlockStart { pfn, head, order: self.blocks[&head] })
            }
            Owner::Block(_) if self.blocks[&pfn] != order => {
                Err(FreeError::WrongOrder { pfn, order, allocated: self.blocks[&pfn] })
            }
            Owner::Block(_) => Ok(()),
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    Add {
        offset: u64,
        count: u64,
    },
    Alloc {
        order: usize,
        kind: usize,
    },
    AllocAtMost {
        order: usize,
        kind: usize,
    },
    /// Frees the nth live block, as it should be.
    Free {
        nth: usize,
    },
    /// Frees anything.
    WildFree {
        offset: u64,
        order: usize,
    },
}

const FIRST: u64 = 3 * 512 + 77;
const LEN: usize = 5000;

fn step() -> impl Strategy<Value = Step> {
    // Mostly small orders, and all of the others up to what fits.
    let order = prop_oneof![6 => 0..4_usize, 3 => 4..10_usize, 1 => 10..14_usize];
    prop_oneof![
        1 => (0..LEN as u64 + 50, 0..1500_u64).prop_map(|(offset, count)| Step::Add { offset, count }),
        8 => (order.clone(), 0..3_usize).prop_map(|(order, kind)| Step::Alloc { order, kind }),
        1 => (order.clone(), 0..3_usize).prop_map(|(order, kind)| Step::AllocAtMost { order, kind }),
        7 => any::<usize>().prop_map(|nth| Step::Free { nth }),
        3 => (0..LEN as u64 + 20, 0..19_usize).prop_map(|(offset, order)| Step::WildFree { offset, order }),
    ]
}

/// Does one step on both, and compares the answers.
fn apply(step: &Step, buddy: &mut Buddy<'_>, model: &mut Model) {
    match *step {
        Step::Add { offset, count } => {
            let pfn = FIRST + offset;
            let range = pfn..pfn + count;
            let in_span = range.end <= FIRST + LEN as u64;
            match buddy.add_free(pfn, count) {
                Ok(()) => {
                    assert!(in_span);
                    for pfn in range {
                        assert_eq!(model.owner(pfn), Owner::Reserved, "frame {pfn} added twice");
                        model.owners[(pfn - FIRST) as usize] = Owner::Free;
                    }
                }
                Err(AddError::OutOfRange { .. }) => assert!(!in_span),
                Err(AddError::Overlap { pfn }) => {
                    assert!(range.contains(&pfn));
                    assert_ne!(model.owner(pfn), Owner::Reserved);
                }
            }
        }
        Step::Alloc { order, kind } => {
            let room = model.coalesced()[order..].iter().any(|&blocks| blocks > 0);
            match buddy.alloc(order, MigrateType::ALL[kind]) {
                Ok(block) => {
                    assert!(room);
                    assert_eq!(block.order, order);
                    take(block, model);
                }
                Err(AllocError::OrderTooLarge { .. }) => panic!("order {order} is allowed"),
                Err(AllocError::OutOfMemory { free, .. }) => {
                    assert_eq!(free, model.free_frames());
                    assert!(free < 1 << order);
                }
                Err(AllocError::Fragmented { free, .. }) => {
                    assert_eq!(free, model.free_frames());
                    assert!(!room && free >= 1 << order);
                }
            }
        }
        Step::AllocAtMost { order, kind } => {
            let largest = model.coalesced().iter().rposition(|&blocks| blocks > 0);
            let got = buddy.alloc_at_most(order, MigrateType::ALL[kind]).ok();
            assert_eq!(got.map(|block| block.order), largest.map(|largest| largest.min(order)));
            if let Some(block) = got {
                take(block, model);
            }
        }
        Step::Free { nth } => {
            let n = model.blocks.len();
            if let Some((&pfn, &order)) = model.blocks.iter().nth(nth.checked_rem(n).unwrap_or(0)) {
                assert_eq!(buddy.free(pfn, order), Ok(()));
                give(Block { pfn, order }, model);
            }
        }
        Step::WildFree { offset, order } => {
            let pfn = FIRST - 10 + offset;
            let expected = model.expected_free(pfn, order);
            let before = buddy.stats();
            assert_eq!(buddy.free(pfn, order), expected);
            match expected {
                Ok(()) => give(Block { pfn, order }, model),
                Err(_) => assert_eq!(buddy.stats(), before),
            }
        }
    }
}

fn take(block: Block, model: &mut Model) {
    assert!(block.pfn.is_multiple_of(block.frames()), "{block:?} is aligned");
    model.set(block, Owner::Free, Owner::Block(block.pfn));
    model.blocks.insert(block.pfn, block.order);
}

fn give(block: Block, model: &mut Model) {
    model.set(block, Owner::Block(block.pfn), Owner::Free);
    model.blocks.remove(&block.pfn);
}

/// Whatever the model knows, the allocator says too.
fn compare(buddy: &Buddy<'_>, model: &Model) {
    let stats = buddy.stats();
    let free_blocks = model.coalesced();
    assert_eq!(stats.free_frames, model.free_frames());
    assert_eq!(stats.free_blocks, free_blocks);
    assert_eq!(stats.largest_free_order, free_blocks.iter().rposition(|&blocks| blocks > 0));
    let managed = model.owners.iter().filter(|owner| **owner != Owner::Reserved).count();
    assert_eq!(stats.total_frames, managed as u64);
    assert_eq!(stats.allocs - stats.frees, model.blocks.len() as u64);
}

fn compare_holders(buddy: &Buddy<'_>, model: &Model) {
    for pfn in FIRST - 2..FIRST + LEN as u64 + 2 {
        match (buddy.holder(pfn), model.owner(pfn)) {
            (Holder::Reserved, Owner::Reserved) => {}
            (Holder::Free(block), Owner::Free) => assert!(model.is_free(block.pfn, block.order)),
            (Holder::Allocated(block), Owner::Block(head)) => {
                assert_eq!((block.pfn, block.order), (head, model.blocks[&head]));
            }
            (holder, owner) => panic!("frame {pfn}: {holder:?}, the model says {owner:?}"),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn agrees_with_the_model(
        ranges in prop::collection::vec((0..LEN as u64, 1..3000_u64), 1..4),
        steps in prop::collection::vec(step(), 1..250),
    ) {
        let mut frames = vec![Frame::RESERVED; LEN];
        let mut buddy = Buddy::new(&mut frames, FIRST);
        let mut model = Model::new(FIRST, LEN);
        for (offset, count) in ranges {
            apply(&Step::Add { offset, count }, &mut buddy, &mut model);
        }
        for step in &steps {
            apply(step, &mut buddy, &mut model);
            compare(&buddy, &model);
        }
        compare_holders(&buddy, &model);
    }

    /// Whatever happened in between: when all is freed, the free blocks are those of the boot.
    #[test]
    fn all_freed_is_the_boot_state(
        requests in prop::collection::vec((0..12_usize, 0..3_usize, any::<bool>()), 1..400),
        order_of_frees in any::<u64>(),
    ) {
        let mut frames = vec![Frame::RESERVED; LEN];
        let mut buddy = Buddy::new(&mut frames, FIRST);
        buddy.add_free(FIRST + 5, LEN as u64 - 9).unwrap();
        let boot = buddy.stats();
        let mut live = Vec::new();
        let mut dice = order_of_frees;
        for (order, kind, free_one) in requests {
            live.extend(buddy.alloc(order, MigrateType::ALL[kind]));
            dice = dice.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            if free_one && !live.is_empty() {
                let block: Block = live.swap_remove((dice >> 33) as usize % live.len());
                buddy.free(block.pfn, block.order).unwrap();
            }
        }
        for block in live {
            buddy.free(block.pfn, block.order).unwrap();
        }
        let now = buddy.stats();
        prop_assert_eq!(now.free_blocks, boot.free_blocks);
        prop_assert_eq!(now.free_frames, boot.total_frames);
        prop_assert_eq!(now.allocs, now.frees);
    }
}
