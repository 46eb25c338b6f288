//! A model that came through the control plane, piece by piece, and where it is kept.

use super::source::Source;
use crate::memory::Region;
use crate::sync::IrqMutex;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use control::{Upload, UploadError};
use llm::gguf::Gguf;

/// A whole model file in memory.
pub struct Uploaded {
    name: String,
    size: usize,
    memory: Region,
}

/// The one that can be loaded. It stays as long as it is loaded, whatever is sent next.
static READY: IrqMutex<Option<Arc<Uploaded>>> = IrqMutex::new(None);

/// The one that is being loaded: what comes in meanwhile does not take its place, and the one before can be loaded again.
#[cfg(feature = "llm")]
static LOADING: IrqMutex<Option<Arc<Uploaded>>> = IrqMutex::new(None);

impl Uploaded {
    /// As its sender named it.
    #[cfg(feature = "llm")]
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// One that is coming in. Owned by the control plane's thread.
pub struct Incoming {
    account: Upload,
    memory: Region,
}

impl Incoming {
    /// Takes memory for a file, or says why not.
    pub fn begin(name: &str, size: u64, sha256: [u8; 32]) -> Result<Self, String> {
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
        Ok(Self { account: Upload::new(name.into(), size, sha256), memory })
    }

    /// Whether this file is the one that is announced.
    pub fn is_same(&self, name: &str, size: u64, sha256: &[u8; 32]) -> bool {
        self.account.is_same(name, size, sha256)
    }

    /// Bytes that have come.
    pub fn received(&self) -> u64 {
        self.account.received()
    }

    /// Whether all bytes have come, right or wrong.
    pub fn check_complete(&self) -> Result<(), UploadError> {
        let (received, size) = (self.account.received(), self.account.size());
        if received == size { Ok(()) } else { Err(UploadError::Incomplete { received, size }) }
    }

    /// Takes the next piece; one that came before is passed over.
    pub fn piece(&mut self, offset: u64, bytes: &[u8]) -> Result<(), UploadError> {
        // Before the account takes it: nothing is counted that is not kept.
        let end = offset.checked_add(bytes.len() as u64);
        if end.is_none_or(|end| end > self.memory.len()) {
            return Err(UploadError::TooMuch { size: self.account.size() });
        }
        let at = self.account.received() as usize;
        let new = self.account.take(offset, bytes)?;
        let room = self.memory.as_mut_slice().get_mut(at..).unwrap_or_default();
        room.iter_mut().zip(bytes).take(new).for_each(|(place, byte)| *place = *byte);
        Ok(())
    }

    /// Checks the whole file and keeps it, in place of the one before: its name and size.
    pub fn end(self) -> Result<(String, u64), String> {
        self.account.verify().map_err(|error| error.to_string())?;
        let (name, size) = (self.account.name(), self.account.size());
        let bytes = self.memory.as_slice().get(..size as usize).unwrap_or_default();
        Gguf::parse(bytes).map_err(|error| error.to_string())?;
        let kept = Arc::new(Uploaded { name: name.into(), size: size as usize, memory: self.memory });
        // What is let go is freed here, without the lock.
        let _before = READY.lock().replace(kept);
        Ok((name.into(), size))
    }
}

/// Runs `load` so that it finds this one, if it is one. For whoever has the turn to load.
#[cfg(feature = "llm")]
pub fn while_loading<R>(uploaded: Option<Arc<Uploaded>>, load: impl FnOnce() -> R) -> R {
    *LOADING.lock() = uploaded;
    let result = load();
    let _loaded = LOADING.lock().take();
    result
}

/// The uploaded model, if it has this name.
pub fn source(name: &str) -> Option<Source> {
    #[cfg(feature = "llm")]
    let loading = LOADING.lock().clone();
    #[cfg(not(feature = "llm"))]
    let loading = None;
    let uploaded = loading.or_else(|| READY.lock().clone()).filter(|uploaded| uploaded.name == name)?;
    let memory = uploaded.memory.as_slice();
    // SAFETY: nobody writes to a whole file any more, and the source keeps it alive: `Model` holds it for as long as its engine reads.
    let bytes = unsafe { core::slice::from_raw_parts(memory.as_ptr(), uploaded.size.min(memory.len())) };
    Some(Source { bytes, name: "uploaded", keep: Some(uploaded) })
}
