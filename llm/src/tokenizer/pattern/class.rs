//! One character of a pattern: a class such as `[^\s\p{L}]`, tested by a bitmap for ASCII.

use crate::tokenizer::classes::Properties;
use alloc::vec::Vec;

/// Characters by property and by range, as between one pair of brackets.
#[derive(Debug, Clone, Default)]
pub(super) struct Set {
    pub properties: Properties,
    pub ranges: Vec<(char, char)>,
    pub negated: bool,
}

impl Set {
    /// The one character `c`.
    pub fn of(c: char) -> Self {
        Self { ranges: [(c, c)].into(), ..Self::default() }
    }

    /// Those that have one of `properties`.
    pub fn having(properties: Properties) -> Self {
        Self { properties, ..Self::default() }
    }

    /// Every character that is not in the set.
    pub fn complement(self) -> Self {
        Self { negated: !self.negated, ..self }
    }

    /// Adds what `other`, which must not be negated, holds.
    pub fn add(&mut self, other: &Self) {
        self.properties = self.properties.with(other.properties);
        self.ranges.extend(&other.ranges);
    }

    fn has(&self, c: char) -> bool {
        let within = |&(first, last): &(char, char)| (first..=last).contains(&c);
        (Properties::of(c).meets(self.properties) || self.ranges.iter().any(within)) != self.negated
    }
}

/// What an operation tests a character for: membership in every one of some sets.
#[derive(Debug, Clone)]
pub(super) struct Class {
    /// Bit n: whether ASCII character n is in it.
    ascii: u128,
    sets: Vec<Set>,
}

impl Class {
    /// The characters of `set`.
    pub fn new(set: Set) -> Self {
        Self::of_all([set].into())
    }

    /// The characters that are in this and in `other`.
    pub fn and(mut self, other: Self) -> Self {
        self.sets.extend(other.sets);
        Self::of_all(self.sets)
    }

    /// Every other character; `None` for an intersection, whose complement is no intersection.
    pub fn complement(self) -> Option<Self> {
        let [set] = <[Set; 1]>::try_from(self.sets).ok()?;
        Some(Self::new(set.complement()))
    }

    fn of_all(sets: Vec<Set>) -> Self {
        let ascii = (0..128u8)
            .filter(|&byte| sets.iter().all(|set| set.has(char::from(byte))))
            .fold(0, |bits, byte| bits | 1 << byte);
        Self { ascii, sets }
    }

    /// The ASCII characters in it, as a bitmap.
    pub fn ascii(&self) -> u128 {
        self.ascii
    }

    /// Whether `byte`, which must be ASCII, is in it.
    fn has_ascii(&self, byte: u8) -> bool {
        self.ascii >> (byte & 127) & 1 != 0
    }

    /// As llama.cpp does before it matches, white space beyond ASCII is taken for a vertical tab: `\s` matches it,
    /// a range that happens to span it does not.
    fn has_wide(&self, c: char) -> bool {
        if c.is_whitespace() { self.has_ascii(0x0b) } else { self.sets.iter().all(|set| set.has(c)) }
    }

    /// Bytes of the character at `at`, if there is one and it is in the class.
    pub fn step(&self, text: &str, at: usize) -> Option<usize> {
        let &byte = text.as_bytes().get(at)?;
        if byte.is_ascii() {
            return self.has_ascii(byte).then_some(1);
        }
        let c = text.get(at..)?.chars().next()?;
        self.has_wide(c).then_some(c.len_utf8())
    }

    /// Where the run of at most `most` characters of the class that begins at `at` ends, and how many they are.
    pub fn run(&self, text: &str, mut at: usize, most: u32) -> (usize, u32) {
        let mut count = 0;
        while count < most
            && let Some(bytes) = self.step(text, at)
        {
            at += bytes;
            count += 1;
        }
        (at, count)
    }
}
