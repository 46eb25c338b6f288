//! Text that arrives in pieces which may split a character.

/// Holds the beginning of a character until its end arrives.
#[derive(Debug, Default)]
pub struct Utf8 {
    held: Vec<u8>,
}

impl Utf8 {
    /// The text that is complete now; what is no UTF-8 becomes U+FFFD.
    pub fn push(&mut self, bytes: &[u8]) -> String {
        self.held.extend_from_slice(bytes);
        let held = std::mem::take(&mut self.held);
        let (mut out, mut at) = (String::new(), 0);
        for chunk in held.utf8_chunks() {
            let invalid = chunk.invalid();
            at += chunk.valid().len() + invalid.len();
            out.push_str(chunk.valid());
            // Up to three bytes at the very end may be a character's beginning.
            if at == held.len() && is_beginning(invalid) {
                self.held = invalid.to_vec();
            } else if !invalid.is_empty() {
                out.push(char::REPLACEMENT_CHARACTER);
            }
        }
        out
    }

    /// What is left at the end.
    pub fn finish(&mut self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.held)).into_owned()
    }
}

/// Whether more bytes could make a character of these.
fn is_beginning(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none())
}

#[test]
fn a_split_character_is_whole_and_nonsense_is_marked() {
    let text = "aé√😀b";
    for size in 1..5 {
        let mut utf8 = Utf8::default();
        let joined: String = text.as_bytes().chunks(size).map(|piece| utf8.push(piece)).collect();
        assert_eq!(joined + &utf8.finish(), text);
    }
    let mut utf8 = Utf8::default();
    assert_eq!(utf8.push(b"x\xffy\xe2"), "x\u{fffd}y");
    assert_eq!(utf8.push(b"z\xe2"), "\u{fffd}z");
    assert_eq!(utf8.push(b"z"), "\u{fffd}z");
    assert_eq!(utf8.push(b"\xf0\x9f"), "");
    assert_eq!(utf8.finish(), "\u{fffd}");
}
