//! Long numbers cut into groups of three from the right: as patterns these would look ahead to the number's end at
//! every group, which is quadratic.

use crate::tokenizer::classes::is_number;

/// Runs of `\p{N}`: the first group takes what three do not divide. What precedes a number is one piece with its
/// first group: this is how llama.cpp cuts for AFMoE and Tiny Aya, though their patterns would put it apart.
pub(super) fn groups_of_numbers(text: &str, piece: &mut dyn FnMut(&str)) {
    let mut rest = text;
    while let Some(start) = rest.find(is_number) {
        let (before, number) = rest.split_at(start);
        let length = number.find(|c| !is_number(c)).unwrap_or(number.len());
        let (number, after) = number.split_at(length);
        let count = number.chars().count();
        let mut done = 0;
        // Where the count is at a multiple of three from the right, a group ends.
        for (at, (from, c)) in number.char_indices().enumerate() {
            let left = count - at - 1;
            if left.is_multiple_of(3) {
                let end = from + c.len_utf8();
                let from = if done == 0 { 0 } else { start + done };
                give(rest, from, start + end, piece);
                done = end;
            }
        }
        debug_assert_eq!(before.len() + done + after.len(), rest.len());
        rest = after;
    }
    give(rest, 0, rest.len(), piece);
}

/// Runs of 0 to 9: a cut before each place from which a multiple of three digits is left (SuperBPE's
/// `(?=(\d{3})+(?!\d))`).
pub(super) fn groups_of_digits(text: &str, piece: &mut dyn FnMut(&str)) {
    let bytes = text.as_bytes();
    let (mut done, mut at) = (0, 0);
    while at < bytes.len() {
        let run = bytes.iter().skip(at).take_while(|byte| byte.is_ascii_digit()).count();
        let mut cut = at + run % 3;
        while cut < at + run {
            give(text, done, cut, piece);
            done = cut;
            cut += 3;
        }
        at += run.max(1);
    }
    give(text, done, text.len(), piece);
}

fn give(text: &str, from: usize, to: usize, piece: &mut dyn FnMut(&str)) {
    if let Some(text) = text.get(from..to).filter(|text| !text.is_empty()) {
        piece(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::{string::String, vec::Vec};

    fn pieces(cut: super::super::CutWhole, text: &str) -> Vec<String> {
        let mut pieces = Vec::new();
        cut(text, &mut |piece| pieces.push(piece.into()));
        pieces
    }

    #[test]
    fn numbers_end_in_groups_of_three() {
        assert_eq!(pieces(groups_of_numbers, "1234567"), ["1", "234", "567"]);
        assert_eq!(pieces(groups_of_numbers, "ab12345 cd"), ["ab12", "345", " cd"]);
        assert_eq!(pieces(groups_of_numbers, "x123y1"), ["x123", "y1"]);
        assert_eq!(pieces(groups_of_numbers, "²³٣٣"), ["²", "³٣٣"]);
        assert_eq!(pieces(groups_of_numbers, ""), [""; 0]);
    }

    #[test]
    fn digits_are_cut_from_the_right() {
        assert_eq!(pieces(groups_of_digits, "1234567"), ["1", "234", "567"]);
        assert_eq!(pieces(groups_of_digits, "a123456 7"), ["a", "123", "456 7"]);
        assert_eq!(pieces(groups_of_digits, "12 ٣٣٣"), ["12 ٣٣٣"]);
    }
}
