//! Which partly used pageblock serves a request.

use super::Buddy;
use crate::free_lists::Group;
use crate::{MigrateType, PAGEBLOCK_ORDER};

impl Buddy<'_> {
    /// The fullest partly used pageblock that has a free block of at least `order`, of those that `kind` may use: see
    /// [`Buddy`]. It is of the right type then.
    #[inline]
    pub(super) fn choose(&mut self, order: usize, kind: MigrateType) -> Option<u32> {
        if order >= PAGEBLOCK_ORDER {
            return None;
        }
        let own = self.lists.smallest(order, Group::Typed(kind));
        if let Some((number, found)) = own
            && (kind == MigrateType::Unmovable || found == order)
        {
            return Some(number);
        }
        self.choose_elsewhere(order, kind, own)
    }

    fn choose_elsewhere(
        &mut self,
        order: usize,
        kind: MigrateType,
        own: Option<(u32, usize)>,
    ) -> Option<u32> {
        let [first, second] = kind.fallbacks().map(|other| self.lists.smallest(order, Group::Typed(other)));
        // The first of the smallest: its own type, where that is as good.
        let (number, _) = [own, first, second].into_iter().flatten().min_by_key(|&(_, found)| found)?;
        let of = self.type_of(number);
        if of != kind {
            self.fallbacks += 1;
        }
        // Where something unmovable lies, what can't move does no more harm: later ones are to come here.
        if of != kind && kind == MigrateType::Unmovable {
            self.claim(number, kind);
        }
        Some(number)
    }

    /// Gives a pageblock another type: its free blocks are counted there, and it changes lists.
    fn claim(&mut self, number: u32, kind: MigrateType) {
        let old = self.type_of(number);
        let map = self.pageblocks.map(self.frames, number);
        for order in 0..PAGEBLOCK_ORDER {
            let count = map.count(order);
            self.in_maps[old as usize][order] -= count;
            self.in_maps[kind as usize][order] += count;
        }
        let (largest, _) = map.close();
        self.relist(number, old, largest, None);
        self.set_type(number, kind);
        self.relist(number, kind, None, largest);
        self.claimed += 1;
    }
}
