//! `model_manifest.json`: what the embedded model is and where it came from. The kernel shows it in `slm status`.

use super::fetch::{self, sha256_of};
use anyhow::{Context, Result};
use llm::gguf::Gguf;
use std::collections::BTreeMap;
use std::path::Path;

/// The manifest's fields, in the order in which they are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// The model's name.
    pub name: String,
    /// Where the file came from.
    pub source: String,
    /// SHA-256 of the GGUF, in hexadecimal.
    pub sha256: String,
    /// SPDX-like licence name, `unknown` where the file has none.
    pub licence: String,
    /// The tensor type that holds most of the parameters.
    pub quantisation: String,
    /// Parameters: the elements of all tensors.
    pub parameters: u64,
    /// Size of the GGUF in bytes.
    pub bytes: u64,
}

impl Manifest {
    /// The manifest of the pinned default model, whose file was verified by [`fetch::fetch`].
    pub fn of_default(file: &Path) -> Result<Self> {
        let derived = Self::derive(file, fetch::SHA256.to_owned())?;
        let (name, source) = (fetch::NAME.to_owned(), format!("PyPI {}", fetch::REQUIREMENT));
        Ok(Self { name, source, licence: fetch::LICENCE.to_owned(), ..derived })
    }

    /// The manifest of any GGUF, from its own metadata.
    pub fn of_file(file: &Path) -> Result<Self> {
        Self::derive(file, sha256_of(file)?)
    }

    /// The manifest as JSON text.
    pub fn to_json(&self) -> String {
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        format!(
            "{{\n  \"name\": {},\n  \"source\": {},\n  \"sha256\": {},\n  \"licence\": {},\n  \
             \"quantisation\": {},\n  \"parameters\": {},\n  \"bytes\": {}\n}}\n",
            quoted(&self.name),
            quoted(&self.source),
            quoted(&self.sha256),
            quoted(&self.licence),
            quoted(&self.quantisation),
            self.parameters,
            self.bytes,
        )
    }

    /// Writes the manifest to `path`, unless it already says the same (so that nothing is rebuilt for its date).
    pub fn write(&self, path: &Path) -> Result<()> {
        let text = self.to_json();
        if std::fs::read_to_string(path).is_ok_and(|old| old == text) {
            return Ok(());
        }
        fetch::write_atomically(path, text.as_bytes())
    }

    fn derive(file: &Path, sha256: String) -> Result<Self> {
        let bytes = std::fs::read(file).with_context(|| format!("{} cannot be read", file.display()))?;
        let gguf =
            Gguf::parse(&bytes).with_context(|| format!("{} is not a usable GGUF model", file.display()))?;
        let text = |key: &str| gguf.get(key).and_then(|value| value.as_str().map(str::to_owned));
        let mut elements_by_type = BTreeMap::<String, u64>::new();
        for tensor in gguf.tensors() {
            *elements_by_type.entry(format!("{:?}", tensor.kind)).or_default() += tensor.elements();
        }
        let stem = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Self {
            name: text("general.name").unwrap_or(stem),
            source: text("general.source.url").unwrap_or_else(|| file.display().to_string()),
            sha256,
            licence: text("general.license").unwrap_or_else(|| "unknown".to_owned()),
            quantisation: elements_by_type
                .iter()
                .max_by_key(|(_, elements)| **elements)
                .map_or_else(|| "none".to_owned(), |(kind, _)| kind.clone()),
            parameters: elements_by_type.values().sum(),
            bytes: bytes.len() as u64,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use llm::gguf::{GgmlType, write::GgufWriter};

    #[test]
    fn a_files_own_metadata_makes_its_manifest() {
        let mut writer = GgufWriter::new();
        writer.string("general.name", "tiny \"quoted\"").string("general.license", "mit");
        writer.tensor("a", GgmlType::F32, &[4], &[0; 16]).tensor("b", GgmlType::F16, &[8, 2], &[0; 32]);
        let path = std::env::temp_dir().join(format!("auton-manifest-test-{}.gguf", std::process::id()));
        std::fs::write(&path, writer.finish()).unwrap();
        let manifest = Manifest::of_file(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let json: serde_json::Value = serde_json::from_str(&manifest.to_json()).unwrap();
        assert_eq!(json["name"], "tiny \"quoted\"");
        assert_eq!(json["licence"], "mit");
        assert_eq!(json["quantisation"], "F16");
        assert_eq!(json["parameters"], 20);
        assert_eq!(json["sha256"].as_str().unwrap().len(), 64);
    }

    #[test]
    fn what_is_no_gguf_is_refused() {
        let path = std::env::temp_dir().join(format!("auton-no-gguf-{}", std::process::id()));
        std::fs::write(&path, b"not a model").unwrap();
        let error = Manifest::of_file(&path).unwrap_err().to_string();
        std::fs::remove_file(&path).unwrap();
        assert!(error.contains("is not a usable GGUF model"), "{error}");
    }
}
