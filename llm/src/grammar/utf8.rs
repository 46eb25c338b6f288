//! Ranges of characters as ranges of their UTF-8 bytes (Thompson's and Cox's construction).

/// The bytes that may stand at each place of a character.
pub(super) type ByteRange = (u8, u8);

/// Last code points of the lengths 1, 2 and 3.
const LENGTHS: [u32; 3] = [0x7F, 0x7FF, 0xFFFF];

/// Calls `each` with byte ranges whose sequences are the characters `first..=last`, ascending and disjoint. The range
/// holds no surrogates.
pub(super) fn sequences<E>(
    first: u32,
    last: u32,
    each: &mut impl FnMut(&[ByteRange]) -> Result<(), E>,
) -> Result<(), E> {
    for end in LENGTHS {
        if first <= end && end < last {
            sequences(first, end, each)?;
            return sequences(end + 1, last, each);
        }
    }
    // The bytes below a place go their whole way only if the range begins and ends at its borders.
    for places in 1..4 {
        let below = (1u32 << (6 * places)) - 1;
        if last > 0x7F && first & !below != last & !below {
            if first & below != 0 {
                sequences(first, first | below, each)?;
                return sequences((first | below) + 1, last, each);
            }
            if last & below != below {
                sequences(first, (last & !below) - 1, each)?;
                return sequences(last & !below, last, each);
            }
        }
    }
    let (mut low, mut high) = ([0; 4], [0; 4]);
    let (Some(first), Some(last)) = (char::from_u32(first), char::from_u32(last)) else { return Ok(()) };
    let (low, high) = (first.encode_utf8(&mut low).as_bytes(), last.encode_utf8(&mut high).as_bytes());
    let mut ranges = [(0, 0); 4];
    for (range, (&low, &high)) in ranges.iter_mut().zip(low.iter().zip(high)) {
        *range = (low, high);
    }
    each(ranges.get(..low.len()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    fn all(first: u32, last: u32) -> Vec<Vec<ByteRange>> {
        let mut found = Vec::new();
        sequences(first, last, &mut |ranges| {
            found.push(ranges.to_vec());
            Ok::<(), ()>(())
        })
        .unwrap();
        found
    }

    #[test]
    fn the_whole_of_unicode_is_nine_sequences() {
        let found = [all(0, 0xD7FF), all(0xE000, 0x10_FFFF)].concat();
        let first: Vec<ByteRange> = found.iter().map(|ranges| ranges[0]).collect();
        let wanted = [
            (0, 0x7F),
            (0xC2, 0xDF),
            (0xE0, 0xE0),
            (0xE1, 0xEC),
            (0xED, 0xED),
            (0xEE, 0xEF),
            (0xF0, 0xF0),
            (0xF1, 0xF3),
            (0xF4, 0xF4),
        ];
        assert_eq!(first, wanted);
    }

    proptest! {
        #[test]
        fn characters_match_where_they_are_in_range(a in any::<char>(), b in any::<char>(), probes: Vec<char>) {
            let (first, last) = (a.min(b), a.max(b));
            if (first as u32) < 0xD800 && (last as u32) > 0xDFFF {
                return Ok(());
            }
            let found = all(first.into(), last.into());
            for probe in probes.into_iter().chain([first, last, 'a', 'é', '語', '🙂']) {
                let mut utf8 = [0; 4];
                let bytes = probe.encode_utf8(&mut utf8).as_bytes();
                let fits = |ranges: &&Vec<ByteRange>| {
                    ranges.len() == bytes.len()
                        && ranges.iter().zip(bytes).all(|((low, high), byte)| (low..=high).contains(&byte))
                };
                prop_assert_eq!(found.iter().filter(fits).count(), usize::from((first..=last).contains(&probe)));
            }
        }
    }
}
