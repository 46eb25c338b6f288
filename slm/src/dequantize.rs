//! `auton dequantize`: the same model with every weight in F32.

use std::path::Path;

use anyhow::{Context, Result};
use llm::gguf::write::GgufWriter;
use llm::gguf::{GgmlType, Gguf, Value, ValueKind};

use crate::table::mib;
use crate::tensor;

/// Reads `file`, writes `out`. The output appears whole or not at all.
pub fn dequantize(file: &Path, out: &Path) -> Result<()> {
    let bytes = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let written = convert(&bytes).with_context(|| file.display().to_string())?;
    let mut unfinished = out.as_os_str().to_owned();
    unfinished.push(".unfinished");
    std::fs::write(&unfinished, &written)
        .and_then(|()| std::fs::rename(&unfinished, out))
        .inspect_err(|_| drop(std::fs::remove_file(&unfinished)))
        .with_context(|| format!("cannot write {}", out.display()))?;
    println!("{}: {} in F32", out.display(), mib(written.len() as u64));
    Ok(())
}

fn convert(bytes: &[u8]) -> Result<Vec<u8>> {
    let gguf = Gguf::parse(bytes)?;
    let mut writer = GgufWriter::with_alignment(gguf.alignment());
    for (key, value) in gguf.metadata() {
        match key {
            // Said by `with_alignment`, and what is no longer true.
            "general.alignment" | "general.quantization_version" => {}
            // llama.cpp's LLAMA_FTYPE_ALL_F32.
            "general.file_type" => drop(writer.u32(key, 0)),
            _ => copy(&mut writer, key, value),
        }
    }
    for t in gguf.tensors() {
        let values = tensor::values(&t)?;
        tensor::check_finite(t.name, &values)?;
        let data: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let dims = t.dims.get(..t.n_dims as usize).unwrap_or(&t.dims);
        writer.tensor(t.name, GgmlType::F32, dims, &data);
    }
    Ok(writer.finish())
}

/// Copies one entry, byte for byte.
fn copy(writer: &mut GgufWriter, key: &str, value: Value<'_>) {
    match value {
        Value::U8(v) => writer.raw(key, ValueKind::U8, &v.to_le_bytes()),
        Value::I8(v) => writer.raw(key, ValueKind::I8, &v.to_le_bytes()),
        Value::U16(v) => writer.raw(key, ValueKind::U16, &v.to_le_bytes()),
        Value::I16(v) => writer.raw(key, ValueKind::I16, &v.to_le_bytes()),
        Value::U32(v) => writer.raw(key, ValueKind::U32, &v.to_le_bytes()),
        Value::I32(v) => writer.raw(key, ValueKind::I32, &v.to_le_bytes()),
        Value::F32(v) => writer.raw(key, ValueKind::F32, &v.to_le_bytes()),
        Value::U64(v) => writer.raw(key, ValueKind::U64, &v.to_le_bytes()),
        Value::I64(v) => writer.raw(key, ValueKind::I64, &v.to_le_bytes()),
        Value::F64(v) => writer.raw(key, ValueKind::F64, &v.to_le_bytes()),
        Value::Bool(v) => writer.bool(key, v),
        Value::Array(a) => writer.array(key, a.kind(), a.len() as u64, a.bytes()),
        Value::String(text) => {
            let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
            bytes.extend_from_slice(text);
            writer.raw(key, ValueKind::String, &bytes)
        }
    };
}
