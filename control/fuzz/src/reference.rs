//! The frames in a stretch of bytes, read the slow and obvious way: at each byte, whether a frame lies there.

use control::frame::{HEADER, MAGIC, MAX_PAYLOAD, VERSION};

/// What must come of the bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// A sound frame: type, id, payload.
    Frame(u8, u32, Vec<u8>),
    /// A sound header of a frame that is not: type, id.
    Fault(u8, u32),
}

/// All bytes since the last silence, and how far they have been read.
#[derive(Debug, Default)]
pub struct Stretch {
    pub bytes: Vec<u8>,
    at: usize,
}

impl Stretch {
    /// The next item; `None` where what is left may be the beginning of one. `last`: nothing more will come.
    pub fn next(&mut self, last: bool) -> Option<Item> {
        loop {
            let rest = &self.bytes[self.at..];
            match look(rest) {
                _ if rest.is_empty() => return None,
                Some(Look::Frame(length)) => {
                    self.at += length;
                    let number = |at: usize| u32::from_le_bytes(rest[at..at + 4].try_into().unwrap());
                    return Some(Item::Frame(rest[5], number(8), rest[HEADER..length].to_vec()));
                }
                Some(Look::Fault(kind, id)) => {
                    self.at += 1;
                    return Some(Item::Fault(kind, id));
                }
                Some(Look::Open) if !last => return None,
                _ => self.at += 1,
            }
        }
    }
}

enum Look {
    Frame(usize),
    Fault(u8, u32),
    Open,
}

fn look(rest: &[u8]) -> Option<Look> {
    if !rest.starts_with(&MAGIC) && !MAGIC.starts_with(rest) {
        return None;
    }
    if rest.len() < HEADER {
        return Some(Look::Open);
    }
    let number = |at: usize| u32::from_le_bytes(rest[at..at + 4].try_into().unwrap());
    if crc(&rest[..20]) != number(20) {
        return None;
    }
    let (kind, id, length) = (rest[5], number(8), number(12) as usize);
    if rest[4] != VERSION || length > MAX_PAYLOAD {
        return Some(Look::Fault(kind, id));
    }
    let Some(payload) = rest[HEADER..].get(..length) else { return Some(Look::Open) };
    Some(if crc(payload) == number(16) { Look::Frame(HEADER + length) } else { Look::Fault(kind, id) })
}

/// CRC-32 (ISO-HDLC), four bits at a time.
pub fn crc(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 16] = {
        let mut table = [0; 16];
        let mut n = 0;
        while n < 16 {
            let mut value = n as u32;
            let mut bit = 0;
            while bit < 4 {
                value = if value & 1 == 1 { value >> 1 ^ 0xedb8_8320 } else { value >> 1 };
                bit += 1;
            }
            table[n] = value;
            n += 1;
        }
        table
    };
    !bytes.iter().fold(!0u32, |crc, byte| {
        let crc = crc ^ u32::from(*byte);
        let crc = crc >> 4 ^ TABLE[crc as usize & 15];
        crc >> 4 ^ TABLE[crc as usize & 15]
    })
}
