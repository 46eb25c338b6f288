//! What was asked of the service, by whom, and what came of it: never the text.

use super::request::{CONSOLE, ClientId};
use alloc::collections::TryReserveError;
use alloc::vec::Vec;

/// Operations that the ring remembers, but for those refused to clients outside.
pub const AUDIT_ENTRIES: usize = 256;
/// Of these it remembers so many.
pub const AUDIT_REFUSALS: usize = 64;

/// Declares the operations with their number and name.
macro_rules! operations {
    ($($(#[$doc:meta])* $name:ident = $code:literal $text:literal,)*) => {
        /// What was asked; the number is the `op` of an audit entry.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Operation { $($(#[$doc])* $name = $code,)* }

        impl Operation {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// As printed.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

operations! {
    /// A model was loaded.
    Load = 1 "load",
    /// A budget was set or taken away.
    Budget = 2 "budget",
    /// An answer, given as a whole.
    Infer = 3 "infer",
    /// An answer, given in chunks.
    Stream = 4 "stream",
    /// An answer by way of a graph of operators.
    Graph = 5 "graph",
    /// A question with its record (`slm query`).
    Query = 6 "query",
    /// A request was cancelled.
    Cancel = 7 "cancel",
    /// The model was unloaded.
    Unload = 8 "unload",
    /// The spread of tokens in a period was changed.
    Pace = 9 "pace",
    /// A model was sent.
    Upload = 10 "upload",
    /// This ring was exported.
    Export = 11 "export",
    /// A token was replaced by a new one.
    Rotate = 12 "rotate",
    /// A token with embedded rights was given out.
    Embed = 13 "embed",
    /// A frame that was refused before it became one of the others.
    Access = 14 "access",
    /// A fine-tuning run.
    Finetune = 15 "finetune",
}

/// How an operation ended: bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Status(u8);

impl Status {
    /// It was done.
    pub const OK: Status = Status(0b001);
    /// It was refused, or failed.
    pub const REJECT: Status = Status(0b010);
    /// A deadline was missed: the request's own, or that of a period in which the budget promised tokens.
    pub const DEADLINE_MISS: Status = Status(0b100);

    /// Both.
    pub const fn and(self, other: Status) -> Status {
        Status(self.0 | other.0)
    }

    /// Whether all bits of `other` are set.
    pub const fn has(self, other: Status) -> bool {
        self.0 & other.0 == other.0
    }

    /// The bits.
    pub const fn bits(self) -> u8 {
        self.0
    }
}

/// One operation. Plain numbers: there is no room for a prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditEntry {
    /// Counts the operations since boot, from 1.
    pub number: u64,
    /// When it ended, in nanoseconds since boot.
    pub ts_ns: u64,
    /// Who asked.
    pub client: ClientId,
    /// What.
    pub op: Operation,
    /// What came of it.
    pub status: Status,
    /// Bytes of the prompt or of what was sent.
    pub prompt_len: u32,
    /// Tokens that were made.
    pub tokens: u32,
    /// Worst case of a token in CPU cycles, of the budget at that time; 0 without one.
    pub wcet_cycles: u64,
    /// Period of that budget; 0 without one.
    pub period_ns: u64,
    /// Why it was refused or failed, in a word or two; empty where all went well.
    pub reason: &'static str,
}

impl AuditEntry {
    /// An entry of which the ring and the service fill in the rest.
    pub const fn new(client: ClientId, op: Operation, status: Status) -> Self {
        Self {
            number: 0,
            ts_ns: 0,
            client,
            op,
            status,
            prompt_len: 0,
            tokens: 0,
            wcet_cycles: 0,
            period_ns: 0,
            reason: "",
        }
    }
}

/// The last operations: [`AUDIT_ENTRIES`] of them, and apart from these the last [`AUDIT_REFUSALS`] that were refused to clients outside. So nobody
/// without a token can push out what others did. Its memory is taken when it is made.
pub struct AuditRing {
    done: Ring,
    refused: Ring,
    /// Entries written since boot.
    written: u64,
}

/// The last so many entries.
struct Ring {
    /// A ring from the time on when it is full.
    entries: Vec<AuditEntry>,
    size: usize,
    /// Where the oldest is then, and the next one goes.
    next: usize,
}

impl Ring {
    fn new(size: usize) -> Result<Self, TryReserveError> {
        let mut entries = Vec::new();
        entries.try_reserve_exact(size)?;
        Ok(Self { entries, size, next: 0 })
    }

    fn add(&mut self, entry: AuditEntry) {
        match self.entries.get_mut(self.next) {
            Some(oldest) => *oldest = entry,
            // There is room: the ring is not full yet.
            None => self.entries.push(entry),
        }
        self.next = (self.next + 1) % self.size;
    }

    /// Oldest first.
    fn entries(&self) -> impl Iterator<Item = &AuditEntry> {
        let (newer, older) = self.entries.split_at_checked(self.next).unwrap_or((&self.entries, &[]));
        older.iter().chain(newer)
    }
}

impl AuditRing {
    /// An empty one.
    ///
    /// # Errors
    /// There is no memory.
    pub fn new() -> Result<Self, TryReserveError> {
        Ok(Self { done: Ring::new(AUDIT_ENTRIES)?, refused: Ring::new(AUDIT_REFUSALS)?, written: 0 })
    }

    /// Adds an entry and numbers it.
    pub fn add(&mut self, entry: AuditEntry) {
        self.written += 1;
        let outside = entry.client != CONSOLE && entry.status.has(Status::REJECT);
        let ring = if outside { &mut self.refused } else { &mut self.done };
        ring.add(AuditEntry { number: self.written, ..entry });
    }

    /// All that is in its memory, in no order.
    pub fn memory(&self) -> [&[AuditEntry]; 2] {
        [&self.done.entries, &self.refused.entries]
    }

    /// How many were written since boot.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Those that are still there, oldest first.
    pub fn entries(&self) -> impl Iterator<Item = &AuditEntry> {
        let (mut done, mut refused) = (self.done.entries().peekable(), self.refused.entries().peekable());
        core::iter::from_fn(move || match (done.peek(), refused.peek()) {
            (Some(one), Some(other)) if one.number < other.number => done.next(),
            (Some(_), None) => done.next(),
            _ => refused.next(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ring_keeps_the_last_ones_in_order() {
        let mut ring = AuditRing::new().unwrap();
        for client in 0..AUDIT_ENTRIES as u32 + 3 {
            ring.add(AuditEntry::new(client, Operation::Infer, Status::OK));
        }
        let clients: alloc::vec::Vec<u32> = ring.entries().map(|entry| entry.client).collect();
        assert_eq!(clients, (3..AUDIT_ENTRIES as u32 + 3).collect::<alloc::vec::Vec<u32>>());
        assert_eq!(ring.entries().last().map(|entry| entry.number), Some(ring.written()));
    }

    #[test]
    fn refusals_to_others_push_out_only_each_other() {
        let mut ring = AuditRing::new().unwrap();
        ring.add(AuditEntry::new(1, Operation::Stream, Status::OK));
        (0..1000).for_each(|_| ring.add(AuditEntry::new(1, Operation::Access, Status::REJECT)));
        ring.add(AuditEntry::new(0, Operation::Budget, Status::REJECT));
        let numbers: Vec<u64> = ring.entries().map(|entry| entry.number).collect();
        assert_eq!(numbers.len(), AUDIT_REFUSALS + 2);
        assert!(numbers.is_sorted() && numbers[0] == 1 && numbers.last() == Some(&1002));
    }

    #[test]
    fn the_contract_s_numbers() {
        use Operation::*;
        assert_eq!([Load, Budget, Infer, Stream].map(|op| op as u8), [1, 2, 3, 4]);
        assert_eq!([Status::OK, Status::REJECT, Status::DEADLINE_MISS].map(Status::bits), [1, 2, 4]);
        let mut codes: alloc::vec::Vec<u8> = Operation::ALL.iter().map(|op| *op as u8).collect();
        codes.dedup();
        assert_eq!(codes.len(), Operation::ALL.len());
    }
}
