//! A model that arrives in pieces: which piece is next, and whether the whole is what was announced.

use alloc::string::String;
use core::fmt;
use sha2::{Digest, Sha256};
use thiserror::Error;

/// The kernel's account of an upload. It holds no bytes of the file; whoever keeps them asks here before each piece.
#[derive(Clone)]
pub struct Upload {
    name: String,
    size: u64,
    sha256: [u8; 32],
    received: u64,
    hash: Sha256,
}

/// A piece that is not taken, or a whole that is not what was announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum UploadError {
    /// Not the next bytes; they would leave a gap or overlap in part.
    #[error("the next byte wanted is {wanted}, not {offset}; begin again to be told where to go on")]
    NotNext {
        /// Where the next piece begins.
        wanted: u64,
        /// Where this one begins.
        offset: u64,
    },
    /// More than was announced.
    #[error("the file was to have {size} bytes; this piece ends after them")]
    TooMuch {
        /// As announced.
        size: u64,
    },
    /// Fewer bytes than announced.
    #[error("{received} of {size} bytes have arrived; send the rest")]
    Incomplete {
        /// Bytes that have arrived.
        received: u64,
        /// As announced.
        size: u64,
    },
    /// All bytes, but not the right ones.
    #[error("the file's SHA-256 is not the one announced; it was changed or damaged, send it again")]
    WrongHash,
}

impl Upload {
    /// An upload of which nothing has arrived.
    pub fn new(name: String, size: u64, sha256: [u8; 32]) -> Self {
        Upload { name, size, sha256, received: 0, hash: Sha256::new() }
    }

    /// Whether the same file is announced again: then its sender came back and goes on where it was.
    pub fn is_same(&self, name: &str, size: u64, sha256: &[u8; 32]) -> bool {
        self.name == name && self.size == size && self.sha256 == *sha256
    }

    /// What to call the model.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Bytes announced.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Bytes that have arrived.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Takes account of a piece and says how many of its bytes are new: all, or none where it was sent again.
    pub fn take(&mut self, offset: u64, bytes: &[u8]) -> Result<usize, UploadError> {
        let end = offset.checked_add(bytes.len() as u64).filter(|end| *end <= self.size);
        let end = end.ok_or(UploadError::TooMuch { size: self.size })?;
        if end <= self.received {
            return Ok(0);
        }
        if offset != self.received {
            return Err(UploadError::NotNext { wanted: self.received, offset });
        }
        self.hash.update(bytes);
        self.received = end;
        Ok(bytes.len())
    }

    /// Whether the whole has arrived as announced.
    pub fn verify(&self) -> Result<(), UploadError> {
        if self.received != self.size {
            return Err(UploadError::Incomplete { received: self.received, size: self.size });
        }
        let found: [u8; 32] = self.hash.clone().finalize().into();
        if found == self.sha256 { Ok(()) } else { Err(UploadError::WrongHash) }
    }
}

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Upload({:?}, {} of {} bytes)", self.name, self.received, self.size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upload(content: &[u8]) -> Upload {
        Upload::new("m".into(), content.len() as u64, Sha256::digest(content).into())
    }

    #[test]
    fn a_file_arrives_in_pieces_some_of_them_twice() {
        let content = b"quantised weights";
        let mut upload = upload(content);
        assert_eq!(upload.take(0, &content[..5]), Ok(5));
        assert_eq!(upload.take(0, &content[..5]), Ok(0));
        assert_eq!(upload.verify(), Err(UploadError::Incomplete { received: 5, size: 17 }));
        assert_eq!(upload.take(6, &content[6..]), Err(UploadError::NotNext { wanted: 5, offset: 6 }));
        assert_eq!(upload.take(4, &content[4..]), Err(UploadError::NotNext { wanted: 5, offset: 4 }));
        assert_eq!(upload.take(5, &content[5..]), Ok(12));
        assert_eq!((upload.received(), upload.verify()), (17, Ok(())));
        assert_eq!(upload.take(17, b"x"), Err(UploadError::TooMuch { size: 17 }));
        assert_eq!(upload.take(u64::MAX, b"x"), Err(UploadError::TooMuch { size: 17 }));
        assert!(upload.is_same("m", 17, &Sha256::digest(content).into()));
    }

    #[test]
    fn another_content_is_found_out() {
        let mut upload = upload(b"abc");
        upload.take(0, b"abd").unwrap();
        assert_eq!(upload.verify(), Err(UploadError::WrongHash));
    }
}
