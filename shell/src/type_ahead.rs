//! Receive buffer between an interrupt handler and [`Console`](crate::Console).

use crate::console::CTRL_C;

/// Bytes that were typed and not read yet, oldest first: a ring of `N` bytes without allocation, so that
/// an interrupt handler may push. It has no lock: its owner provides one.
///
/// When it is full further bytes are dropped and counted, but a Ctrl-C always gets in (it takes the place
/// of the newest byte): a runaway paste can be stopped.
///
/// ```
/// let mut typed: shell::TypeAhead<8> = shell::TypeAhead::new();
/// for byte in *b"ab\x03\x03c" { typed.push(byte); }
/// assert!(typed.interrupted());
/// typed.clear_interrupt();
/// assert!(!typed.interrupted());
/// assert_eq!([typed.pop(), typed.pop(), typed.pop(), typed.pop()], [Some(b'a'), Some(b'b'), Some(b'c'), None]);
/// ```
pub struct TypeAhead<const N: usize> {
    ring: [u8; N],
    // Invariants: head < N (for N > 0), len <= N, interrupts = number of CTRL_C among the len bytes.
    head: usize,
    len: usize,
    interrupts: usize,
    dropped: u64,
}

impl<const N: usize> TypeAhead<N> {
    /// An empty buffer.
    pub const fn new() -> Self {
        Self { ring: [0; N], head: 0, len: 0, interrupts: 0, dropped: 0 }
    }

    /// Appends a byte. Bounded time.
    pub fn push(&mut self, byte: u8) {
        if self.len == N {
            self.dropped += 1;
            if byte != CTRL_C || N == 0 {
                return;
            }
            self.len -= 1;
            let newest = (self.head + self.len) % N;
            if self.ring[newest] == CTRL_C {
                self.interrupts -= 1;
            }
        }
        let end = (self.head + self.len) % N;
        self.ring[end] = byte;
        self.len += 1;
        if byte == CTRL_C {
            self.interrupts += 1;
        }
    }

    /// Takes the oldest byte. Bounded time.
    pub fn pop(&mut self) -> Option<u8> {
        if self.len == 0 {
            return None;
        }
        let byte = self.ring[self.head];
        self.head = (self.head + 1) % N;
        self.len -= 1;
        if byte == CTRL_C {
            self.interrupts -= 1;
        }
        Some(byte)
    }

    /// Whether an unread Ctrl-C waits. Constant time.
    pub fn interrupted(&self) -> bool {
        self.interrupts > 0
    }

    /// Drops the first unread Ctrl-C and those directly behind it; time linear in the bytes held.
    pub fn clear_interrupt(&mut self) {
        let at = |i: usize| (self.head + i) % N;
        let Some(first) = (0..self.len).find(|&i| self.ring[at(i)] == CTRL_C) else { return };
        let run = (first..self.len).take_while(|&i| self.ring[at(i)] == CTRL_C).count();
        for i in first..self.len - run {
            self.ring[(self.head + i) % N] = self.ring[(self.head + i + run) % N];
        }
        self.len -= run;
        self.interrupts -= run;
    }

    /// Bytes that wait.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes lost because the buffer was full, since the start.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }
}

impl<const N: usize> Default for TypeAhead<N> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    fn drain<const N: usize>(typed: &mut TypeAhead<N>) -> Vec<u8> {
        core::iter::from_fn(|| typed.pop()).collect()
    }

    #[test]
    fn a_full_buffer_still_takes_an_interrupt() {
        let mut typed: TypeAhead<4> = TypeAhead::new();
        for byte in *b"abcdef" {
            typed.push(byte);
        }
        assert_eq!(typed.dropped(), 2);
        typed.push(CTRL_C);
        typed.push(CTRL_C);
        assert!(typed.interrupted());
        assert_eq!(drain(&mut typed), b"abc\x03");
        assert!(!typed.interrupted());
    }

    #[test]
    fn only_the_first_run_of_interrupts_is_cleared() {
        let mut typed: TypeAhead<16> = TypeAhead::new();
        for byte in *b"x\x03\x03y\x03z" {
            typed.push(byte);
        }
        typed.clear_interrupt();
        assert!(typed.interrupted());
        assert_eq!(drain(&mut typed), b"xy\x03z");
    }

    proptest! {
        // Against a plain vector as model, over any order of operations.
        #[test]
        fn behaves_like_a_bounded_vector(ops in prop::collection::vec((0u8..4, prop::sample::select(b"ab\x03".to_vec())), 0..200)) {
            let mut typed: TypeAhead<7> = TypeAhead::new();
            let mut model: Vec<u8> = Vec::new();
            for (op, byte) in ops {
                match op {
                    0 | 1 => {
                        typed.push(byte);
                        if model.len() < 7 {
                            model.push(byte);
                        } else if byte == CTRL_C {
                            model[6] = CTRL_C;
                        }
                    }
                    2 => {
                        let expected = if model.is_empty() { None } else { Some(model.remove(0)) };
                        prop_assert_eq!(typed.pop(), expected);
                    }
                    _ => {
                        typed.clear_interrupt();
                        if let Some(first) = model.iter().position(|&b| b == CTRL_C) {
                            while model.get(first) == Some(&CTRL_C) {
                                model.remove(first);
                            }
                        }
                    }
                }
                prop_assert_eq!(typed.len(), model.len());
                prop_assert_eq!(typed.interrupted(), model.contains(&CTRL_C));
            }
            prop_assert_eq!(drain(&mut typed), model);
        }
    }
}
