//! `free`: memory, heap, SLM pool, and the free blocks of the page allocator.
//!
//! JSON: `{"memory":{"total","used","free"},"heap":{"size","used","free","peak","live"},"slm_pool":
//! {"size","used","free","weights","kv_cache","activations","tokenizer"}|null,"pages":{"frame_bytes",
//! "total","free","allocations","frees","failures","free_blocks":[per order]}}`; sizes in bytes.

use super::{Command, CommandError, Context, JSON, Next, PLAIN};
use crate::json;
use crate::slm::SlmPool;
use crate::system::Memory;
use crate::table::{Align, Table};
use crate::units;
use alloc::format;
use alloc::string::{String, ToString};

pub const FREE: Command = Command {
    name: "free",
    summary: "Show memory in use and free, and free blocks per order.",
    usage: "free [--json]",
    options: &[JSON],
    example: "free",
    run,
    ..PLAIN
};

fn run(context: &mut Context<'_>) -> Result<Next, CommandError> {
    let memory = context.system.memory();
    let text = if context.args.flag("json") { as_json(&memory) } else { as_text(&memory) };
    context.print(&text)
}

fn free_bytes(memory: &Memory) -> u64 {
    memory.pages.free_frames.saturating_mul(memory.pages.frame_size)
}

fn as_text(memory: &Memory) -> String {
    let (pages, heap) = (&memory.pages, &memory.heap);
    let mut table = Table::new(&[
        ("", Align::Left),
        ("TOTAL", Align::Right),
        ("USED", Align::Right),
        ("FREE", Align::Right),
    ]);
    let mut row = |name: &str, total: u64, free: u64| {
        let used = units::bytes(total.saturating_sub(free));
        table.row([name.into(), units::bytes(total), used, units::bytes(free)]);
    };
    row("Memory", memory.total, free_bytes(memory));
    row("Kernel heap", heap.size, heap.size.saturating_sub(heap.used));
    if let Some(pool) = &memory.slm_pool {
        row("SLM pool", pool.size, pool.free());
    }

    let columns = [
        ("ORDER", Align::Right),
        ("BLOCK", Align::Right),
        ("FREE BLOCKS", Align::Right),
        ("FREE", Align::Right),
    ];
    let mut blocks = Table::new(&columns);
    for (order, &count) in pages.free_blocks.iter().enumerate() {
        let size =
            u32::try_from(order).ok().and_then(|order| pages.frame_size.checked_shl(order)).unwrap_or(0);
        let cells = [order.to_string(), units::exact_bytes(size), count.to_string()];
        blocks.row(cells.into_iter().chain([units::bytes(size.saturating_mul(count))]));
    }
    format!(
        "{table}\n{blocks}\nPage allocations {}, frees {}, failures {}; heap peak {}, {} live allocations.\n",
        pages.allocations,
        pages.frees,
        pages.failures,
        units::bytes(heap.peak),
        heap.live
    )
}

fn as_json(memory: &Memory) -> String {
    let (pages, heap) = (&memory.pages, &memory.heap);
    json::document(|o| {
        o.object("memory", |o| {
            let free = free_bytes(memory);
            o.number("total", memory.total)
                .number("used", memory.total.saturating_sub(free))
                .number("free", free);
        });
        o.object("heap", |o| {
            o.number("size", heap.size).number("used", heap.used);
            o.number("free", heap.size.saturating_sub(heap.used))
                .number("peak", heap.peak)
                .number("live", heap.live);
        });
        pool_json(o, "slm_pool", memory.slm_pool.as_ref());
        o.object("pages", |o| {
            o.number("frame_bytes", pages.frame_size).number("total", pages.total_frames);
            o.number("free", pages.free_frames).number("allocations", pages.allocations);
            o.number("frees", pages.frees).number("failures", pages.failures);
            o.numbers("free_blocks", pages.free_blocks.iter().copied());
        });
    })
}

/// The pool, as `free` and `slm status` show it.
pub(super) fn pool_json(o: &mut json::Object<'_>, key: &str, pool: Option<&SlmPool>) {
    match pool {
        Some(pool) => o.object(key, |o| {
            o.number("size", pool.size).number("used", pool.used()).number("free", pool.free());
            o.number("weights", pool.weights).number("kv_cache", pool.kv_cache);
            o.number("activations", pool.activations).number("tokenizer", pool.tokenizer);
        }),
        None => o.null(key),
    };
}
