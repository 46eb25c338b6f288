//! Cuts a stream of token bytes at character borders.

use alloc::vec::Vec;

/// The stream.
#[derive(Default)]
pub(super) struct Utf8Stream {
    /// Bytes of a character that is not complete yet.
    pending: Vec<u8>,
    complete: Vec<u8>,
}

impl Utf8Stream {
    /// Begins another text.
    pub fn clear(&mut self) {
        self.pending.clear();
    }

    /// Appends bytes and returns what is complete.
    pub fn push(&mut self, append: impl FnOnce(&mut Vec<u8>)) -> &[u8] {
        append(&mut self.pending);
        self.complete.clear();
        let mut used = 0;
        for chunk in self.pending.utf8_chunks() {
            self.complete.extend_from_slice(chunk.valid().as_bytes());
            used += chunk.valid().len();
            let invalid = chunk.invalid();
            let at_end = used + invalid.len() == self.pending.len();
            if at_end && core::str::from_utf8(invalid).is_err_and(|error| error.error_len().is_none()) {
                break;
            }
            if !invalid.is_empty() {
                self.complete.extend_from_slice("\u{FFFD}".as_bytes());
                used += invalid.len();
            }
        }
        self.pending.drain(..used);
        &self.complete
    }

    /// What stands for a character that was never completed.
    pub fn finish(&mut self) -> Option<&'static [u8]> {
        let incomplete = !self.pending.is_empty();
        self.pending.clear();
        incomplete.then_some("\u{FFFD}".as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn pieces_are_utf8_and_add_up_to_the_text(bytes in prop::collection::vec(any::<u8>(), 0..40), cut in 1usize..5) {
            let mut stream = Utf8Stream::default();
            let mut joined = alloc::string::String::new();
            for part in bytes.chunks(cut) {
                joined.push_str(core::str::from_utf8(stream.push(|out| out.extend_from_slice(part))).unwrap());
            }
            joined.push_str(core::str::from_utf8(stream.finish().unwrap_or_default()).unwrap());
            prop_assert_eq!(joined, alloc::string::String::from_utf8_lossy(&bytes));
        }

        #[test]
        fn whole_text_passes_unchanged(text in "\\PC{0,20}", cut in 1usize..4) {
            let mut stream = Utf8Stream::default();
            let mut joined = Vec::new();
            for part in text.as_bytes().chunks(cut) {
                joined.extend_from_slice(stream.push(|out| out.extend_from_slice(part)));
            }
            prop_assert_eq!(joined, text.as_bytes());
        }
    }
}
