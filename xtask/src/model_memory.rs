//! Memory for a model on the host: in huge pages where the system gives them, as the kernel's own memory is. A decoded token
//! reads all weights once, and with pages of 4 KiB the CPU spends a third of that time on finding the pages.

use anyhow::{Context, Result};
use memmap2::{Advice, MmapMut};

/// `bytes` zeroed bytes; without huge pages where the system has none to give.
pub fn model_memory(bytes: usize) -> Result<MmapMut> {
    let memory =
        MmapMut::map_anon(bytes).with_context(|| format!("no {bytes} bytes of memory for the model"))?;
    // Advice only: what it costs to be refused is speed.
    let _ = memory.advise(Advice::HugePage);
    Ok(memory)
}
