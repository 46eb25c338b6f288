//! The kernel command line: space separated `key=value`.

use conquer_once::spin::OnceCell;

const CAPACITY: usize = 512;

struct CommandLine {
    bytes: [u8; CAPACITY],
    len: usize,
}

static LINE: OnceCell<CommandLine> = OnceCell::uninit();

/// Keeps a copy of the line (cut at 512 bytes). Only the first call counts.
pub fn store(line: impl Iterator<Item = u8>) {
    LINE.init_once(|| {
        let mut copy = CommandLine { bytes: [0; CAPACITY], len: 0 };
        for (slot, byte) in copy.bytes.iter_mut().zip(line) {
            *slot = byte;
            copy.len += 1;
        }
        copy
    });
}

/// The whole line; empty if none was given or it is not UTF-8.
pub fn text() -> &'static str {
    LINE.get().and_then(|line| core::str::from_utf8(&line.bytes[..line.len]).ok()).unwrap_or("")
}

/// The value of the last `key=value` on the line.
pub fn option(key: &str) -> Option<&'static str> {
    text().split_ascii_whitespace().rev().find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
}
