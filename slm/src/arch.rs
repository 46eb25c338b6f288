//! `auton arch check|flops`: an architecture checked and costed before anybody trains it.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use llm::gguf::Gguf;

use crate::cost;
use crate::shape::Shape;
use crate::table::{Table, grouped, mib, operations};

/// Reads the shape from a configuration or a GGUF file; a GGUF's tensors must make the parameters that its
/// metadata promises.
fn read(file: &Path) -> Result<Shape> {
    let bytes = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let named = || file.display().to_string();
    if !bytes.starts_with(b"GGUF") {
        let text =
            String::from_utf8(bytes).ok().with_context(|| format!("{} is neither GGUF nor text", named()))?;
        return Shape::from_toml(&text).with_context(named);
    }
    let gguf = Gguf::parse(&bytes).with_context(named)?;
    let shape = Shape::from_gguf(&gguf).with_context(named)?;
    let held: u64 = gguf.tensors().filter(|t| t.name.ends_with(".weight")).map(|t| t.elements()).sum();
    ensure!(
        held == shape.parameters(),
        "{}: its tensors hold {held} parameters, but its metadata makes {}",
        named(),
        shape.parameters()
    );
    Ok(shape)
}

/// Prints the dimensions and the parameters they make.
pub fn check(file: &Path) -> Result<()> {
    let s = read(file)?;
    let mut table = Table::new(&[&s.name, ">"]);
    let rows = [
        ("layers", s.layers),
        ("width", s.width),
        ("feed-forward width", s.ffn),
        ("query heads", s.heads),
        ("key/value heads", s.kv_heads),
        ("head width", s.head_dim()),
        ("vocabulary", s.vocabulary),
        ("context", s.context),
        ("parameters, embedding", s.embedding_parameters()),
        ("parameters, one block", s.block_matrix_parameters() + 2 * s.width),
        ("parameters, all", s.parameters()),
    ];
    for (name, value) in rows {
        table.row([name.to_string(), grouped(value)]);
    }
    print!("{table}");
    if !s.holds_k_quants() {
        println!("note: some widths are no multiples of 256, so K-quants cannot hold those matrices");
    }
    println!("the dimensions fit together");
    Ok(())
}

/// Prints operations per token and memory.
pub fn flops(file: &Path) -> Result<()> {
    let s = read(file)?;
    println!("{}: {} parameters\n", s.name, grouped(s.parameters()));

    let mut table = Table::new(&[
        ">context",
        ">decode FLOP/token",
        ">prefill FLOP/token",
        ">KV f32",
        ">KV 16-bit",
        ">activations",
    ]);
    for n in cost::contexts(&s) {
        let sizes = [cost::kv_bytes(&s, n, 4), cost::kv_bytes(&s, n, 2), cost::activation_bytes(&s, n)];
        let work = [cost::decode_flops(&s, n), cost::prefill_flops(&s, n)];
        let cells = work.map(operations).into_iter().chain(sizes.map(mib));
        table.row(std::iter::once(grouped(n)).chain(cells));
    }
    println!("{table}");

    let mut table = Table::new(&["weights", ">bits/weight", ">size"]);
    for kind in cost::TYPES {
        let bits = kind.type_size() as f64 * 8.0 / kind.block_size() as f64;
        let fits = kind.block_size() <= 32 || s.holds_k_quants();
        let size = if fits { mib(cost::weight_bytes(&s, kind)) } else { "does not divide by 256".into() };
        table.row([kind.to_string(), format!("{bits:.2}"), size]);
    }
    print!("{table}");
    Ok(())
}
