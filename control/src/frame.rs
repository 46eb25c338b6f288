//! Frames: how messages are cut out of a byte stream that may lose, damage or invent bytes.
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 4 | magic `AUTN` |
//! | 4 | 1 | version, 1 |
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
use crc::{CRC_32_ISO_HDLC, Crc};
use thiserror::Error;

/// The first four bytes of every frame.
pub const MAGIC: [u8; 4] = *b"AUTN";
/// The version of the frame's layout and of the messages.
pub const VERSION: u8 = 1;
/// Bytes before the payload.
pub const HEADER: usize = 24;
/// The longest payload.
pub const MAX_PAYLOAD: usize = 4096;
/// The longest frame.
pub const MAX_FRAME: usize = HEADER + MAX_PAYLOAD;

const CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);

/// One received frame, still in the decoder's buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The message's type.
    pub kind: u8,
    /// The request that it belongs to.
    pub id: u32,
    /// The message's body.
    pub payload: &'a [u8],
}

/// Why something that began like a frame was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum FrameError {
    /// A sound header of another version.
    #[error(
        "frame version {version} is not spoken here, only version {VERSION}; use the tool built with this kernel"
    )]
    Version {
        /// The version found.
        version: u8,
        /// The request id found.
        id: u32,
    },
    /// A sound header, but more payload than is accepted.
    #[error("payload of {length} bytes is over the limit of {MAX_PAYLOAD}; send less in one frame")]
    TooLong {
        /// The length found.
        length: u32,
        /// The request id found.
        id: u32,
    },
    /// A sound header, but the payload does not match its checksum.
    #[error("payload of request {id} was damaged on the way; send it again")]
    Damaged {
        /// The request id found.
        id: u32,
    },
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
/// that can begin a frame.
#[derive(Debug)]
pub struct Decoder {
    /// Bytes not yet decided upon: `held[start..]`. Never grows past [`MAX_FRAME`].
    held: Vec<u8>,
    start: usize,
    skipped: u64,
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

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Decoder {
    /// An empty decoder. It allocates when bytes arrive.
    pub fn new() -> Self {
        Decoder { held: Vec::new(), start: 0, skipped: 0 }
    }

    /// Takes bytes as they arrived, in pieces of any size, and calls `each` for every frame or fault in them.
    pub fn feed(&mut self, mut bytes: &[u8], mut each: impl FnMut(Result<Frame<'_>, FrameError>)) {
        while !bytes.is_empty() {
            let room = MAX_FRAME.saturating_sub(self.held.len());
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.held.extend_from_slice(now);
            bytes = later;
            self.decide(&mut each);
            self.held.drain(..self.start);
            self.start = 0;
        }
    }

    /// Gives up the frame that has begun (its sender fell silent) and looks for frames in what followed.
    pub fn give_up(&mut self, mut each: impl FnMut(Result<Frame<'_>, FrameError>)) {
        while self.start < self.held.len() {
            self.skip_one();
            self.decide(&mut each);
        }
        self.held.clear();
        self.start = 0;
    }

    /// Bytes that belonged to no frame, since the beginning.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Whether a frame has begun and not ended.
    pub fn mid_frame(&self) -> bool {
        self.start < self.held.len()
    }

    /// Decides upon held bytes until more are needed. Afterwards fewer than [`MAX_FRAME`] are undecided,
    /// for that many always decide something: so `feed` always has room.
    fn decide(&mut self, each: &mut impl FnMut(Result<Frame<'_>, FrameError>)) {
        loop {
            match self.step() {
                Step::NeedMore => return,
                Step::Skip => self.skip_one(),
                Step::Fault(fault) => {
                    // Only the header goes: if bytes were lost, the next frame begins inside this payload.
                    each(Err(fault));
                    self.skip_one();
                }
                Step::Whole(length) => {
                    let frame = self.held.get(self.start..).and_then(|rest| rest.get(..length));
                    if let Some(frame) = frame.and_then(view) {
                        each(Ok(frame));
                    }
                    self.start += length;
                }
            }
        }
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
        let (id, length) = (word(header, 8), word(header, 12));
        if header[4] != VERSION {
            return Step::Fault(FrameError::Version { version: header[4], id });
        }
        if length as usize > MAX_PAYLOAD {
            return Step::Fault(FrameError::TooLong { length, id });
        }
        let whole = HEADER + length as usize;
        let Some(payload) = rest.get(HEADER..whole) else { return Step::NeedMore };
        if CRC.checksum(payload) != word(header, 16) {
            return Step::Fault(FrameError::Damaged { id });
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
