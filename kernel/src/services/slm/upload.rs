//! A model that came through the control plane, piece by piece, and where it is kept.

use super::source::Source;
use crate::memory::Region;
use crate::sync::IrqMutex;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use llm::gguf::Gguf;
use sha2::{Digest, Sha256};

/// A whole model file in memory.
pub struct Uploaded {
    name: String,
    size: usize,
    memory: Region,
}

/// The one that can be loaded. It stays as long as it is loaded, whatever is sent next.
static READY: IrqMutex<Option<Arc<Uploaded>>> = IrqMutex::new(None);

/// One that is coming in. Owned by the control plane's thread.
pub struct Incoming {
    name: String,
    size: u64,
    sha256: [u8; 32],
    memory: Region,
    received: usize,
    digest: Sha256,
}

impl Incoming {
    /// Takes memory for a file. `before`: what is coming in; the same file goes on where it was, another one is given up.
    pub fn begin(before: Option<Self>, name: &str, size: u64, sha256: [u8; 32]) -> Result<Self, String> {
        if let Some(before) = before
            && (before.name.as_str(), before.size, before.sha256) == (name, size, sha256)
        {
            return Ok(before);
        }
        let good = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if name.is_empty()
            || name.len() > 64
            || !name.chars().all(good)
            || ["embedded", "ramdisk"].contains(&name)
        {
            let rule =
                "1 to 64 letters, digits, dots, dashes or underscores, and neither `embedded` nor `ramdisk`";
            return Err(alloc::format!("a model's name is {rule}"));
        }
        if size == 0 {
            return Err(String::from("the file is empty"));
        }
        let memory = Region::new(size).map_err(|error| {
            alloc::format!("there is no room for {size} bytes beside what is loaded: {error}")
        })?;
        Ok(Self { name: name.into(), size, sha256, memory, received: 0, digest: Sha256::new() })
    }

    /// Bytes that have come.
    pub fn received(&self) -> u64 {
        self.received as u64
    }

    /// Takes the next piece; one that came before is passed over.
    pub fn piece(&mut self, offset: u64, bytes: &[u8]) -> Result<(), String> {
        let end = offset.saturating_add(bytes.len() as u64);
        if end <= self.received() {
            return Ok(());
        }
        if offset != self.received() || end > self.size {
            let received = self.received;
            return Err(alloc::format!(
                "the piece begins at {offset} and ends at {end}, and {received} of {} bytes are here; send what comes next",
                self.size
            ));
        }
        let place = self.memory.as_mut_slice().get_mut(self.received..self.received + bytes.len());
        place.ok_or_else(|| String::from("the piece is past the file's end"))?.copy_from_slice(bytes);
        self.received += bytes.len();
        self.digest.update(bytes);
        Ok(())
    }

    /// Checks the whole file and keeps it, in place of the one before: its name and size.
    pub fn end(mut self) -> Result<(String, u64), String> {
        if self.received() < self.size {
            return Err(alloc::format!("{} of {} bytes are here; send the rest", self.received, self.size));
        }
        let digest: [u8; 32] = self.digest.finalize().into();
        if digest != self.sha256 {
            return Err(String::from("the SHA-256 of what came is another one; send the file again"));
        }
        let size = self.received;
        let bytes = self.memory.as_mut_slice().get(..size).unwrap_or_default();
        Gguf::parse(bytes).map_err(|error| error.to_string())?;
        let kept = Arc::new(Uploaded { name: self.name.clone(), size, memory: self.memory });
        // What is let go is freed here, without the lock.
        let _before = READY.lock().replace(kept);
        Ok((self.name, self.size))
    }
}

/// The uploaded model, if it has this name.
pub fn source(name: &str) -> Option<Source> {
    let uploaded = READY.lock().clone().filter(|uploaded| uploaded.name == name)?;
    let memory = uploaded.memory.as_slice();
    // SAFETY: nobody writes to a whole file any more, and the source keeps it alive: `Model` holds it for as long as its engine reads.
    let bytes = unsafe { core::slice::from_raw_parts(memory.as_ptr(), uploaded.size.min(memory.len())) };
    Some(Source { bytes, name: "uploaded", keep: Some(uploaded) })
}
