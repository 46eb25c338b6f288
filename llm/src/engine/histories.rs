//! Which pages of the cache belong to whom: sequences that are under way own theirs, and what ended ones read rests
//! until its pages are needed, for a sequence that begins with the same tokens.

use super::EngineError;
use crate::model::Row;
use crate::model::kv::Place;
use crate::model::stored::CHUNK;
use crate::pool::{Pool, PoolFull, Purpose};
use alloc::vec::Vec;

/// Tokens in their order, and the pages with the keys and values of the first `read` of them.
pub(super) struct History {
    /// The tokens that are known; room for all that its pages hold.
    pub tokens: Vec<u32>,
    /// How many of them the model has read.
    pub read: usize,
    pages: Vec<u32>,
}

impl History {
    /// How many of its tokens are to be read.
    pub fn unread(&self) -> usize {
        self.tokens.len().saturating_sub(self.read)
    }

    /// The next `count` of them.
    pub fn rows(&self, count: usize) -> impl Iterator<Item = Row<'_>> {
        let tokens = self.tokens.iter().skip(self.read).take(count);
        let place = |position| Place { position, pages: &self.pages };
        (self.read..).zip(tokens).map(move |(position, &token)| Row { token, place: place(position) })
    }

    /// How many tokens from the beginning are these, and were read.
    pub fn shared_with(&self, tokens: impl Iterator<Item = u32>) -> usize {
        self.tokens.iter().take(self.read).zip(tokens).take_while(|(own, other)| **own == *other).count()
    }

    /// Its pages.
    pub fn pages(&self) -> &[u32] {
        &self.pages
    }
}

/// Whose place a new history takes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Heir {
    /// Of what ended last, whatever it was: calls that run alone follow one another in one place.
    OfTheLast,
    /// Of the resting one that has most in common with it, if any has.
    OfTheNearest,
}

/// All pages, and the histories at rest.
pub(super) struct Histories<'p> {
    /// Pages that hold nothing: the first `free` of these.
    pages: &'p mut [u32],
    free: usize,
    /// The one that ended last is at the end.
    resting: Vec<History>,
}

impl<'p> Histories<'p> {
    /// `pages` free pages.
    pub fn new(pages: usize, pool: &mut Pool<'p>) -> Result<Self, PoolFull> {
        let numbers = pool.take_unzeroed(Purpose::KvCache, pages)?;
        numbers.iter_mut().zip(0..).for_each(|(page, number)| *page = number);
        Ok(Self { free: numbers.len(), pages: numbers, resting: Vec::new() })
    }

    /// Positions that a new history could have.
    pub fn room(&self) -> usize {
        let resting: usize = self.resting.iter().map(|history| history.pages.len()).sum();
        (self.free + resting) * CHUNK
    }

    /// The one that ended last.
    pub fn last(&self) -> Option<&History> {
        self.resting.last()
    }

    /// A history of `tokens` with pages for `positions` positions, at least as many as tokens (or none at all). What
    /// was read of the same tokens by the history whose place it takes counts as read; others at rest give way, the
    /// oldest first. Nothing changes where there are too few pages.
    pub fn open(
        &mut self,
        tokens: impl Iterator<Item = u32> + Clone,
        positions: usize,
        heir: Heir,
    ) -> Result<History, EngineError> {
        let wanted = positions.div_ceil(CHUNK);
        if wanted * CHUNK > self.room() {
            return Err(EngineError::CacheFull { wanted: positions, free: self.room() });
        }
        let mut new = History { tokens: Vec::new(), read: 0, pages: Vec::new() };
        let count = tokens.clone().count().max(positions);
        let no_memory = |_| EngineError::NoMemory { bytes: (count + wanted) * size_of::<u32>() };
        new.tokens.try_reserve_exact(count).map_err(no_memory)?;
        new.pages.try_reserve_exact(wanted).map_err(no_memory)?;
        new.tokens.extend(tokens.clone());
        if wanted == 0 {
            return Ok(new);
        }
        let nearest = || {
            let shared = self.resting.iter().map(|history| history.shared_with(tokens.clone()));
            // Of equals, the one that rests longest.
            shared.enumerate().rev().max_by_key(|(_, shared)| *shared).filter(|(_, shared)| *shared > 0)
        };
        let before = match heir {
            Heir::OfTheLast => self.resting.len().checked_sub(1),
            Heir::OfTheNearest => nearest().map(|(at, _)| at),
        };
        if let Some(mut before) = before.map(|at| self.resting.remove(at)) {
            new.read = before.shared_with(tokens);
            let kept = wanted.min(before.pages.len());
            new.pages.extend(before.pages.drain(..kept));
            self.release(&before.pages);
        }
        while self.free < wanted - new.pages.len() && !self.resting.is_empty() {
            let oldest = self.resting.remove(0);
            self.release(&oldest.pages);
        }
        let left = self.free.saturating_sub(wanted - new.pages.len());
        new.pages.extend_from_slice(self.pages.get(left..self.free).unwrap_or_default());
        self.free = left;
        Ok(new)
    }

    /// Lets a history rest with what was read of it; pages beyond that are free.
    pub fn rest(&mut self, mut history: History) {
        history.tokens.truncate(history.read);
        let kept = history.read.div_ceil(CHUNK).min(history.pages.len());
        self.release(history.pages.get(kept..).unwrap_or_default());
        history.pages.truncate(kept);
        if kept == 0 {
            return;
        }
        // What rests takes no more of the heap than it says.
        history.tokens.shrink_to_fit();
        match self.resting.try_reserve(1) {
            Ok(()) => self.resting.push(history),
            Err(_) => self.release(&history.pages),
        }
    }

    fn release(&mut self, pages: &[u32]) {
        for (slot, page) in self.pages.iter_mut().skip(self.free).zip(pages) {
            *slot = *page;
        }
        self.free = (self.free + pages.len()).min(self.pages.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use proptest::prelude::*;

    const PAGES: usize = 12;

    proptest! {
        /// Whatever begins and ends: no page belongs to two, none is lost, and what counts as read was read of these
        /// very tokens.
        #[test]
        fn each_page_has_one_owner(
            steps in prop::collection::vec((0u32..4, 0usize..70, 0usize..60, any::<bool>(), any::<bool>()), 1..60),
        ) {
            let mut memory = vec![0u8; 4096];
            let mut all = Histories::new(PAGES, &mut Pool::new(&mut memory)).unwrap();
            let mut open: Vec<History> = Vec::new();
            for (kind, length, more, nearest, ends) in steps {
                let tokens: Vec<u32> = (0..length as u32).map(|at| if at < 20 { 7 } else { kind + at }).collect();
                let heir = if nearest { Heir::OfTheNearest } else { Heir::OfTheLast };
                let (room, positions) = (all.room(), length + more);
                match all.open(tokens.iter().copied(), positions, heir) {
                    Ok(mut history) => {
                        prop_assert_eq!(history.pages.len(), positions.div_ceil(CHUNK));
                        prop_assert!(history.read <= length && history.tokens == tokens);
                        history.read = length;
                        open.push(history);
                    }
                    Err(error) => {
                        prop_assert!(positions.div_ceil(CHUNK) * CHUNK > room);
                        prop_assert_eq!(error, EngineError::CacheFull { wanted: positions, free: room });
                        prop_assert_eq!(all.room(), room);
                    }
                }
                if ends && !open.is_empty() {
                    all.rest(open.remove(length % open.len()));
                }
                let owned = open.iter().chain(&all.resting).flat_map(|history| &history.pages);
                let mut pages: Vec<u32> = owned.chain(&all.pages[..all.free]).copied().collect();
                pages.sort_unstable();
                prop_assert_eq!(pages, (0..PAGES as u32).collect::<Vec<_>>());
                for history in &all.resting {
                    prop_assert_eq!(history.pages.len(), history.tokens.len().div_ceil(CHUNK));
                }
            }
        }
    }

    #[test]
    fn the_nearest_is_taken_over_and_the_oldest_gives_way() {
        let mut memory = vec![0u8; 4096];
        let mut all = Histories::new(4, &mut Pool::new(&mut memory)).unwrap();
        let ended = |all: &mut Histories<'_>, tokens: [u32; 17]| {
            let mut history = all.open(tokens.into_iter(), 17, Heir::OfTheNearest).unwrap();
            let shared = history.read;
            history.read = 17;
            all.rest(history);
            shared
        };
        assert_eq!((ended(&mut all, [1; 17]), ended(&mut all, [2; 17])), (0, 0));
        assert_eq!((ended(&mut all, [1; 17]), all.resting.len()), (17, 2));
        // Now 2 is the oldest, and gives way to 3.
        assert_eq!((ended(&mut all, [3; 17]), ended(&mut all, [2; 17])), (0, 0));
        assert_eq!((ended(&mut all, [3; 17]), all.resting.len()), (17, 2));
    }
}
