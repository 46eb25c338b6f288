//! GPT-2's byte alphabet: every byte is written as one printable character, so that texts of tokens are text.

/// The character that stands for `byte`.
///
/// Printable Latin-1 stands for itself; the other 68 bytes, in order, are U+0100 and following.
pub(super) fn byte_to_char(byte: u8) -> char {
    match byte {
        b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff => char::from(byte),
        // 0x00–0x20, then 0x7f–0xa0, then 0xad.
        0x00..=0x20 => from_offset(u32::from(byte)),
        0x7f..=0xa0 => from_offset(u32::from(byte) - 0x7f + 33),
        0xad => from_offset(67),
    }
}

/// The byte that `c` stands for, `None` where it is not of the alphabet.
pub(super) fn char_to_byte(c: char) -> Option<u8> {
    let code = u32::from(c);
    match code {
        0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff => Some(code as u8),
        0x100..=0x120 => Some((code - 0x100) as u8),
        0x121..=0x142 => Some((code - 0x121 + 0x7f) as u8),
        0x143 => Some(0xad),
        _ => None,
    }
}

fn from_offset(offset: u32) -> char {
    char::from_u32(0x100 + offset).unwrap_or(char::REPLACEMENT_CHARACTER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_alphabet_is_a_bijection_onto_known_characters() {
        for byte in 0..=255u8 {
            assert_eq!(char_to_byte(byte_to_char(byte)), Some(byte));
        }
        assert_eq!((byte_to_char(b' '), byte_to_char(b'\n'), byte_to_char(b'a')), ('Ġ', 'Ċ', 'a'));
        assert_eq!(byte_to_char(0xad), 'Ń');
        assert_eq!(char_to_byte('Ń'), Some(0xad));
        assert_eq!(char_to_byte('你'), None);
    }
}
