//! Where a model may come from: the kernel's own image or the boot's ramdisk, and what its manifest says.

use crate::memory::layout::linker_address;
use alloc::string::String;
use conquer_once::spin::OnceCell;
use serde_json::Value;
use shell::slm::SlmModel;

static RAMDISK: OnceCell<&'static [u8]> = OnceCell::uninit();

/// The bytes of a model file, unchecked.
#[derive(Clone, Copy)]
pub struct Source {
    /// The GGUF.
    pub bytes: &'static [u8],
    /// `embedded` or `ramdisk`.
    pub name: &'static str,
}

/// Keeps the model that the boot loader passed as ramdisk.
pub fn set_ramdisk(bytes: &'static [u8]) {
    RAMDISK.init_once(|| bytes);
}

/// The model of this boot: the ramdisk, which somebody passed on purpose, else the embedded one.
pub fn find() -> Option<Source> {
    let ramdisk = RAMDISK.get().map(|bytes| Source { bytes, name: "ramdisk" });
    let bytes = between(linker_address!(slm_model_start), linker_address!(slm_model_end));
    ramdisk.or((!bytes.is_empty()).then_some(Source { bytes, name: "embedded" }))
}

fn between(start: u64, end: u64) -> &'static [u8] {
    // SAFETY: `kernel.ld` puts a read-only section, never moved, between each pair of symbols passed here.
    unsafe { core::slice::from_raw_parts(start as *const u8, (end - start) as usize) }
}

impl Source {
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
