//! Where a model may come from: the kernel's own image or the boot's ramdisk, and what its manifest says.

use crate::memory::layout::linker_address;
use alloc::string::String;
use alloc::sync::Arc;
use conquer_once::spin::OnceCell;
use serde_json::Value;
use shell::slm::{SlmError, SlmModel};

use super::upload::{self, Uploaded};

static RAMDISK: OnceCell<&'static [u8]> = OnceCell::uninit();

/// The bytes of a model file, unchecked.
#[derive(Clone)]
pub struct Source {
    /// The GGUF: to be used no longer than `keep` is held.
    pub bytes: &'static [u8],
    /// `embedded`, `ramdisk` or `uploaded`.
    pub name: &'static str,
    /// What keeps the bytes.
    #[cfg_attr(not(feature = "llm"), expect(dead_code, reason = "nothing loads a model there"))]
    pub keep: Option<Arc<Uploaded>>,
}

/// Keeps the model that the boot loader passed as ramdisk.
pub fn set_ramdisk(bytes: &'static [u8]) {
    RAMDISK.init_once(|| bytes);
}

/// The model of this boot: the ramdisk, which somebody passed on purpose, else the embedded one. Or the one of a name: `ramdisk`,
/// `embedded`, or that of the upload.
pub fn find(name: Option<&str>) -> Result<Source, SlmError> {
    let ramdisk = RAMDISK.get().map(|bytes| Source { bytes, name: "ramdisk", keep: None });
    let bytes = between(linker_address!(slm_model_start), linker_address!(slm_model_end));
    let embedded = (!bytes.is_empty()).then_some(Source { bytes, name: "embedded", keep: None });
    let (found, missing) = match name {
        None => (ramdisk.or(embedded), String::from("none is embedded or was passed as ramdisk")),
        Some(name) => {
            let known = [ramdisk, embedded].into_iter().flatten().find(|source| source.name == name);
            let missing = alloc::format!("none is named `{name}`; `datactl upload` sends one");
            (known.or_else(|| upload::source(name)), missing)
        }
    };
    found.ok_or(SlmError::NoModel { reason: missing })
}

fn between(start: u64, end: u64) -> &'static [u8] {
    // SAFETY: `kernel.ld` puts a read-only section, never moved, between each pair of symbols passed here.
    unsafe { core::slice::from_raw_parts(start as *const u8, (end - start) as usize) }
}

impl Source {
    /// Whether this is the same file, not just one of the same name. The two are kept, so they lie at different addresses otherwise.
    pub fn is(&self, other: &Self) -> bool {
        core::ptr::eq(self.bytes, other.bytes)
    }

    /// What [`find`] finds it by.
    #[cfg(feature = "llm")]
    pub fn called(&self) -> &str {
        self.keep.as_deref().map_or(self.name, Uploaded::name)
    }

    /// What is known without opening the file: its manifest, if it is the embedded one.
    pub fn describe(&self) -> SlmModel {
        let mut model =
            SlmModel { provided_by: self.name, file_size: self.bytes.len() as u64, ..SlmModel::default() };
        if self.name != "embedded" {
            return model;
        }
        let manifest = between(linker_address!(slm_manifest_start), linker_address!(slm_manifest_end));
        if manifest.is_empty() {
            return model;
        }
        match serde_json::from_slice::<Value>(manifest) {
            Ok(manifest) => fill(&mut model, &manifest),
            Err(error) => log::warn!("SLM: the embedded manifest is not JSON: {error}"),
        }
        model
    }
}

fn fill(model: &mut SlmModel, manifest: &Value) {
    let text = |key| manifest.get(key).and_then(Value::as_str).map(String::from).unwrap_or_default();
    model.name = text("name");
    model.source = text("source");
    model.sha256 = text("sha256");
    model.licence = text("licence");
    model.quantisation = text("quantisation");
    model.parameters = manifest.get("parameters").and_then(Value::as_u64).unwrap_or(0);
}
