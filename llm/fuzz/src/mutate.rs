//! Changes to an input: bytes, numbers at the edges of what lengths and offsets can be, and pieces of other inputs.

use crate::random::Random;

/// Longest input made.
pub const MAX_INPUT: usize = 64 << 10;
/// Half of the changes to longer inputs fall into this many bytes at the beginning, where files say what they are.
const HEAD: usize = 4 << 10;

const NUMBERS: [u64; 22] = [
    0,
    1,
    2,
    3,
    4,
    7,
    8,
    13,
    31,
    32,
    63,
    64,
    65,
    255,
    256,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    1 << 32,
    1 << 61,
    1 << 63,
    u64::MAX,
];

/// Changes `input` in one to several places. `words` are texts that the target knows.
pub fn mutate(input: &mut Vec<u8>, other: &[u8], words: &[&[u8]], random: &mut Random) {
    for _ in 0..1 + random.below(4) {
        change(input, other, words, random);
    }
    input.truncate(MAX_INPUT);
}

fn change(input: &mut Vec<u8>, other: &[u8], words: &[&[u8]], random: &mut Random) {
    let len = input.len();
    let within = if random.one_in(2) { len.min(HEAD) } else { len };
    let at = random.below(within);
    match random.below(12) {
        0 if len > 0 => input[at] ^= 1 << random.below(8),
        1 if len > 0 => input[at] = random.next() as u8,
        2 if len > 0 => input[at] = input[at].wrapping_add_signed(random.pick(&[-1, 1, 16, -16])),
        3 => overwrite(input, at, &random.pick(&NUMBERS).to_le_bytes()),
        4 => overwrite(input, at, &(random.pick(&NUMBERS) as u32).to_le_bytes()),
        5 => overwrite(input, at, &random.below(len + 64).to_le_bytes()),
        6 => input.truncate(at),
        7 => {
            let end = (at + 1 + random.below(16)).min(len);
            input.drain(at.min(end)..end);
        }
        8 => {
            let from = random.below(other.len());
            let end = (from + 1 + random.below(64)).min(other.len());
            let piece: Vec<u8> = other[from.min(end)..end].into();
            if random.one_in(2) { insert(input, at, &piece) } else { overwrite(input, at, &piece) }
        }
        9 if !words.is_empty() => {
            let word: &[u8] = random.pick(words);
            if random.one_in(2) { insert(input, at, word) } else { overwrite(input, at, word) }
        }
        10 => {
            let end = (at + 1 + random.below(32)).min(len);
            let piece: Vec<u8> = input[at.min(end)..end].into();
            insert(input, random.below(len), &piece);
        }
        _ => insert(input, at, &[random.next() as u8]),
    }
}

fn overwrite(input: &mut [u8], at: usize, bytes: &[u8]) {
    input.iter_mut().skip(at).zip(bytes).for_each(|(to, from)| *to = *from);
}

fn insert(input: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    input.splice(at..at, bytes.iter().copied());
}
