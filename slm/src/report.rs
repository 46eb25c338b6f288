//! Tables of what a GGUF file holds.

use std::collections::BTreeMap;

use llm::gguf::{Gguf, Tensor, Value};

use crate::table::{Table, grouped, mib};

/// Longest text shown of a value.
const SHOWN: usize = 60;

/// Metadata, one key a row.
pub fn metadata(gguf: &Gguf<'_>) -> Table {
    let mut table = Table::new(&["key", "value"]);
    for (key, value) in gguf.metadata() {
        table.row([key.to_string(), show(&value)]);
    }
    table
}

fn show(value: &Value<'_>) -> String {
    if let Some(array) = value.as_array() {
        return format!("{} × {:?}", grouped(array.len() as u64), array.kind());
    }
    if let Some(bytes) = value.as_bytes() {
        let text = String::from_utf8_lossy(bytes).escape_debug().to_string();
        let short: String = text.chars().take(SHOWN).collect();
        return if short.len() < text.len() { format!("{short}… ({} bytes)", bytes.len()) } else { short };
    }
    match value {
        Value::F32(v) => v.to_string(),
        Value::F64(v) => v.to_string(),
        Value::Bool(v) => v.to_string(),
        Value::I8(v) => v.to_string(),
        Value::I16(v) => v.to_string(),
        Value::I32(v) => v.to_string(),
        Value::I64(v) => v.to_string(),
        other => other.as_u64().map_or_else(|| format!("{other:?}"), |v| v.to_string()),
    }
}

/// Sizes, one element type a row, and the whole.
pub fn types(gguf: &Gguf<'_>) -> Table {
    let mut sums: BTreeMap<String, [u64; 3]> = BTreeMap::new();
    for tensor in gguf.tensors() {
        let part = [1, tensor.elements(), tensor.data.len() as u64];
        for name in [tensor.kind.to_string(), "~all".to_string()] {
            let sum = sums.entry(name).or_default();
            sum.iter_mut().zip(part).for_each(|(s, p)| *s += p);
        }
    }
    let mut table = Table::new(&["type", ">tensors", ">parameters", ">size", ">bits/parameter"]);
    for (name, [tensors, parameters, bytes]) in sums {
        let bits = bytes as f64 * 8.0 / parameters.max(1) as f64;
        let cells = [grouped(tensors), grouped(parameters), mib(bytes), format!("{bits:.2}")];
        table.row(std::iter::once(name.trim_start_matches('~').to_string()).chain(cells));
    }
    table
}

/// A heading for the tensor table.
pub fn tensors() -> Table {
    Table::new(&["tensor", "type", ">shape", ">size", ">greatest magnitude"])
}

/// One tensor's row.
pub fn tensor(table: &mut Table, tensor: &Tensor<'_>, greatest: f32) {
    let dims = tensor.dims.iter().take(tensor.n_dims as usize).map(u64::to_string).collect::<Vec<_>>();
    table.row([
        tensor.name.to_string(),
        tensor.kind.to_string(),
        dims.join(" × "),
        mib(tensor.data.len() as u64),
        format!("{greatest:.4}"),
    ]);
}
