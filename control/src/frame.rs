//! Frames: how messages are cut out of a byte stream that may lose, damage or invent bytes.
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 4 | magic `AUTN` |
//! | 4 | 1 | version, 2 |
//! | 5 | 1 | type (see [`crate::message`]) |
//! | 6 | 2 | zero |
//! | 8 | 4 | request id, chosen by the asker and repeated in every reply |
//! | 12 | 4 | payload length, at most [`MAX_PAYLOAD`] |
//! | 16 | 4 | CRC-32 of the payload |
//! | 20 | 4 | CRC-32 of bytes 0–19 |
//! | 24 | … | payload |
//!
//! Numbers are little-endian; CRC-32 is the one of Ethernet and zlib (ISO-HDLC).

use alloc::vec::Vec;
use core::fmt;
use crc::{CRC_32_ISO_HDLC, Crc};
use thiserror::Error;

/// The first four bytes of every frame.
pub const MAGIC: [u8; 4] = *b"AUTN";
/// The version of the frame's layout and of the messages.
pub const VERSION: u8 = 2;
/// Bytes before the payload.
pub const HEADER: usize = 24;
/// The longest payload.
pub const MAX_PAYLOAD: usize = 4096;
/// The longest frame.
pub const MAX_FRAME: usize = HEADER + MAX_PAYLOAD;

const CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);

/// One received frame, still in the decoder's buffer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The message's type.
    pub kind: u8,
    /// The request that it belongs to.
    pub id: u32,
    /// The message's body.
    pub payload: &'a [u8],
}

/// Without the payload, which may hold a token.
impl fmt::Debug for Frame<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Frame { kind, id, payload } = self;
        write!(f, "Frame({kind:#04x}, {id}, {} bytes)", payload.len())
    }
}

/// A sound header whose frame cannot be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{fault}")]
pub struct FrameError {
    /// The message's type, as the header says.
    pub kind: u8,
    /// The request, as the header says.
    pub id: u32,
    /// What is wrong.
    pub fault: Fault,
}

/// Why something that began like a frame was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Fault {
    /// Another version; this is the one found.
    #[error(
        "frame version {0} is not spoken here, only version {VERSION}; use the tool built with this kernel"
    )]
    Version(u8),
    /// More payload than is accepted; this is the length found.
    #[error("payload of {0} bytes is over the limit of {MAX_PAYLOAD}; send less in one frame")]
    TooLong(u32),
    /// The payload does not match its checksum.
    #[error("the payload was damaged on the way; send it again")]
    Damaged,
}

/// A payload longer than [`MAX_PAYLOAD`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("payload of {0} bytes does not fit a frame of at most {MAX_PAYLOAD}")]
pub struct PayloadTooLong(pub usize);

/// Appends one frame to `out`.
pub fn encode(kind: u8, id: u32, payload: &[u8], out: &mut Vec<u8>) -> Result<(), PayloadTooLong> {
    if payload.len() > MAX_PAYLOAD {
        return Err(PayloadTooLong(payload.len()));
    }
    let start = out.len();
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&[VERSION, kind, 0, 0]);
    out.extend_from_slice(&id.to_le_bytes());
    out.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    out.extend_from_slice(&CRC.checksum(payload).to_le_bytes());
    let check = CRC.checksum(out.get(start..).unwrap_or_default());
    out.extend_from_slice(&check.to_le_bytes());
    out.extend_from_slice(payload);
    Ok(())
}

/// Cuts frames out of a byte stream. Holds at most one frame; after garbage it goes on at the next byte
/// that can begin a frame. Bytes are pushed in, frames are pulled out, so that whoever has no room for
/// answers can leave the rest undecided.
#[derive(Default)]
pub struct Decoder {
    /// Bytes not yet decided upon: `held[start..]`. Never grows past [`MAX_FRAME`].
    held: Vec<u8>,
    start: usize,
    skipped: u64,
    /// What is held is all that will come: a frame that is not whole is none.
    given_up: bool,
}

/// What the held bytes are.
enum Step {
    /// The beginning of a frame that has not arrived whole.
    NeedMore,
    /// No frame begins at the first byte.
    Skip,
    /// A frame of this many bytes.
    Whole(usize),
    /// A header whose frame cannot be taken.
    Fault(FrameError),
}

/// Without the bytes, which may hold a token.
impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Decoder({} bytes held)", self.held.len() - self.start)
    }
}

impl Decoder {
    /// An empty decoder. It allocates when bytes arrive.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes bytes as they arrived and says how many: as many as there is room for. Once [`Self::next`] has
    /// given `None` there is room for at least one.
    pub fn push(&mut self, bytes: &[u8]) -> usize {
        self.held.drain(..self.start);
        self.start = 0;
        let room = MAX_FRAME.saturating_sub(self.held.len());
        let taken = bytes.get(..room).unwrap_or(bytes);
        self.held.extend_from_slice(taken);
        self.given_up &= taken.is_empty();
        taken.len()
    }

    /// The next frame or fault; `None` when more bytes are needed. Then fewer than [`MAX_FRAME`] are held, for
    /// that many always decide something.
    #[expect(clippy::should_implement_trait, reason = "an iterator cannot lend its own buffer")]
    pub fn next(&mut self) -> Option<Result<Frame<'_>, FrameError>> {
        loop {
            match self.step() {
                Step::NeedMore if !self.given_up || self.start >= self.held.len() => return None,
                Step::NeedMore | Step::Skip => self.skip_one(),
                Step::Fault(fault) => {
                    // Only the header's first byte goes: if bytes were lost, the next frame begins inside this payload.
                    self.skip_one();
                    return Some(Err(fault));
                }
                Step::Whole(length) => {
                    let at = self.start;
                    self.start += length;
                    let frame = self.held.get(at..self.start).and_then(view);
                    return frame.map(Ok);
                }
            }
        }
    }

    /// Gives up the frame that has begun (its sender fell silent): [`Self::next`] looks for frames in what
    /// followed, until bytes arrive again.
    pub fn give_up(&mut self) {
        self.given_up = true;
    }

    /// Bytes that belonged to no frame, since the beginning.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Whether bytes are held: a frame has begun and not ended, or was not asked for yet.
    pub fn mid_frame(&self) -> bool {
        self.start < self.held.len()
    }

    fn skip_one(&mut self) {
        self.start += 1;
        self.skipped += 1;
    }

    fn step(&self) -> Step {
        let rest = self.held.get(self.start..).unwrap_or_default();
        let known = rest.len().min(MAGIC.len());
        if rest.get(..known) != MAGIC.get(..known) {
            return Step::Skip;
        }
        let Some(header) = rest.first_chunk::<HEADER>() else { return Step::NeedMore };
        let (checked, _) = header.split_at(20);
        if CRC.checksum(checked) != word(header, 20) {
            return Step::Skip;
        }
        let (kind, id, length) = (header[5], word(header, 8), word(header, 12));
        let fault = |fault| Step::Fault(FrameError { kind, id, fault });
        if header[4] != VERSION {
            return fault(Fault::Version(header[4]));
        }
        if length as usize > MAX_PAYLOAD {
            return fault(Fault::TooLong(length));
        }
        let whole = HEADER + length as usize;
        let Some(payload) = rest.get(HEADER..whole) else { return Step::NeedMore };
        if CRC.checksum(payload) != word(header, 16) {
            return fault(Fault::Damaged);
        }
        Step::Whole(whole)
    }
}

fn word(header: &[u8; HEADER], at: usize) -> u32 {
    let mut bytes = [0; 4];
    for (to, from) in bytes.iter_mut().zip(header.iter().skip(at)) {
        *to = *from;
    }
    u32::from_le_bytes(bytes)
}

fn view(frame: &[u8]) -> Option<Frame<'_>> {
    let (header, payload) = frame.split_first_chunk::<HEADER>()?;
    Some(Frame { kind: header[5], id: word(header, 8), payload })
}
