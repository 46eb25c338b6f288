//! UTF-8 that arrives byte by byte.

/// Puts characters together from bytes: keys from a terminal, pieces from a model.
#[derive(Clone, Debug, Default)]
pub(crate) struct Utf8Stream {
    bytes: [u8; 4],
    len: usize,
}

impl Utf8Stream {
    /// Takes a byte; gives every character that it completes, and `None` for each ill-formed sequence that
    /// it ends (as Unicode's "maximal subpart" practice counts them).
    pub(crate) fn push(&mut self, byte: u8, out: &mut dyn FnMut(Option<char>)) {
        if byte.is_ascii() {
            self.finish(out);
            return out(Some(char::from(byte)));
        }
        if let Some(slot) = self.bytes.get_mut(self.len) {
            *slot = byte;
            self.len += 1;
        }
        let held = self.bytes.get(..self.len).unwrap_or_default();
        match core::str::from_utf8(held) {
            Ok(text) => {
                for c in text.chars() {
                    out(Some(c));
                }
                self.len = 0;
            }
            Err(e) if e.error_len().is_none() => {}
            Err(_) => {
                // The byte does not continue what is held. Alone it may start something new.
                let alone = self.len == 1;
                self.len = 0;
                out(None);
                if !alone {
                    self.push(byte, out);
                }
            }
        }
    }

    /// The stream ended: an unfinished character is ill-formed.
    pub(crate) fn finish(&mut self, out: &mut dyn FnMut(Option<char>)) {
        if core::mem::take(&mut self.len) > 0 {
            out(None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::{String, ToString};
    use alloc::vec::Vec;
    use proptest::prelude::*;

    fn decode(bytes: &[u8]) -> String {
        let mut stream = Utf8Stream::default();
        let mut text = String::new();
        let mut out = |c: Option<char>| text.push(c.unwrap_or(char::REPLACEMENT_CHARACTER));
        bytes.iter().for_each(|&b| stream.push(b, &mut out));
        stream.finish(&mut out);
        text
    }

    proptest! {
        #[test]
        fn same_as_the_standard_library(bytes in prop::collection::vec(any::<u8>(), 0..64), text in "\\PC{0,16}") {
            prop_assert_eq!(decode(&bytes), String::from_utf8_lossy(&bytes).to_string());
            prop_assert_eq!(decode(text.as_bytes()), text.clone());
            let cut: Vec<u8> = text.bytes().skip(1).collect();
            prop_assert_eq!(decode(&cut), String::from_utf8_lossy(&cut).to_string());
        }
    }
}
