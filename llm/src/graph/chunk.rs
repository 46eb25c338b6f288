//! What goes through a graph: some tokens, and the text that they stand for once it is known.

/// Most tokens of a chunk.
pub const CHUNK_TOKENS: usize = 64;
/// Most bytes of text in a chunk.
pub const CHUNK_BYTES: usize = 256;

/// A piece of a stream, of fixed size: a channel's memory is known when it is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk {
    /// Counts the chunks of the operator that made it, from 0: a reader sees by it where one was dropped.
    pub sequence: u32,
    tokens: [u32; CHUNK_TOKENS],
    token_count: usize,
    bytes: [u8; CHUNK_BYTES],
    byte_count: usize,
}

impl Chunk {
    /// An empty one.
    pub const fn new(sequence: u32) -> Self {
        Self { sequence, tokens: [0; CHUNK_TOKENS], token_count: 0, bytes: [0; CHUNK_BYTES], byte_count: 0 }
    }

    /// Its tokens.
    pub fn tokens(&self) -> &[u32] {
        self.tokens.get(..self.token_count).unwrap_or_default()
    }

    /// Its text: whole characters, unless the model made bytes that are none.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.byte_count).unwrap_or_default()
    }

    /// Its text, to be changed in place.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.bytes.get_mut(..self.byte_count).unwrap_or_default()
    }

    /// Adds as many of `tokens` as there is room for. Says how many.
    pub fn add_tokens(&mut self, tokens: &[u32]) -> usize {
        let room = self.tokens.get_mut(self.token_count..).unwrap_or_default();
        let count = room.len().min(tokens.len());
        room.iter_mut().zip(tokens).for_each(|(place, token)| *place = *token);
        self.token_count += count;
        count
    }

    /// Adds as much of `text` as there is room for, never a part of a character whose other part is in `text` too. Says how many bytes.
    pub fn add_bytes(&mut self, text: &[u8]) -> usize {
        let room = self.bytes.get_mut(self.byte_count..).unwrap_or_default();
        let count = match text.get(..room.len()) {
            Some(fitting) if text.len() > room.len() => whole_characters(fitting),
            _ => text.len(),
        };
        room.iter_mut().zip(text).take(count).for_each(|(place, byte)| *place = *byte);
        self.byte_count += count;
        count
    }
}

/// Bytes of `text` without a character that begins at its end and is not complete; at most 3 fewer than all.
pub(super) fn whole_characters(text: &[u8]) -> usize {
    for (behind, byte) in (1..=3).zip(text.iter().rev()) {
        let length = match byte {
            0x80..=0xbf => continue,
            0xc0..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf7 => 4,
            _ => 1,
        };
        return if length > behind { text.len() - behind } else { text.len() };
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::String;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn text_cut_into_chunks_is_the_same_text(text in "\\PC{0,400}") {
            let (mut rest, mut all) = (text.as_bytes(), Vec::new());
            while !rest.is_empty() {
                let mut chunk = Chunk::new(0);
                let taken = chunk.add_bytes(rest);
                prop_assert!(taken > 0 && core::str::from_utf8(chunk.bytes()).is_ok());
                all.extend(chunk.bytes());
                rest = &rest[taken..];
            }
            prop_assert_eq!(String::from_utf8(all).unwrap(), text);
        }

        #[test]
        fn only_an_unfinished_character_is_left_out(text in "\\PC{0,8}", cut in 0usize..16, any in prop::collection::vec(any::<u8>(), 0..8)) {
            let bytes = &text.as_bytes()[..cut.min(text.len())];
            let valid = match core::str::from_utf8(bytes) { Ok(text) => text.len(), Err(error) => error.valid_up_to() };
            prop_assert_eq!(whole_characters(bytes), valid);
            prop_assert!(any.len() - whole_characters(&any) <= 3);
        }
    }

    #[test]
    fn tokens_up_to_the_bound() {
        let mut chunk = Chunk::new(3);
        assert_eq!((chunk.add_tokens(&[1; 60]), chunk.add_tokens(&[2; 60])), (60, 4));
        assert_eq!(chunk.add_tokens(&[3]), 0);
        assert_eq!((chunk.tokens().len(), chunk.tokens().last()), (64, Some(&2)));
    }
}
