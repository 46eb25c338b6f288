//! `memctl`: physical memory and what is done to keep it in order.
//!
//! JSON of `memctl status`: `{"pressure":"none|low|min","zones":[{"name","total","free","min","low","high"}],
//! "cached_frames","caches":[{"name","bytes"}],"reclaim":{"rounds","asked","freed"},"stall":{"some":{"avg10",
//! "avg60","total_ns"},"full":{...}},"compactions","moved","ooms","kills"}`; frames unless a name says bytes, averages
//! in thousandths. `memctl buddyinfo`: `{"zones":[{"name","free_blocks","unmovable","movable","reclaimable",
//! "extfrag_index"}]}`, each an array by order; an index of -1000 says that a request of that order would be served.
//! `memctl compact`: `{"scanned","isolated","moved","pinned","free_before":[],"free_after":[]}`.
//! `memctl reclaim`: `{"freed","caches":[{"name","held","asked","freed"}]}`, bytes. `memctl stress`: `{"family","end",
//! "start_ns","seconds","peak","failures","ooms"}`; it began at `start_ns` after boot. Without a family:
//! `{"families":[{"name","summary"}]}`.

use super::{Command, CommandError, Context, JSON, Next, OptionSpec, PLAIN};
use crate::json;
use crate::system::{Flow, MemoryState, StressRequest, StressState};
use crate::table::{Align, Table};
use crate::units;
use alloc::format;
use alloc::string::{String, ToString};
use core::time::Duration;
use mm::{FRAME_SIZE, MigrateType, ORDERS, Pressure, fragmentation};

pub const STATUS: Command = Command {
    name: "memctl status",
    summary: "Show zones, watermarks, memory pressure, and what reclaim and compaction did.",
    usage: "memctl status [--json]",
    options: &[JSON],
    example: "memctl status",
    run: status,
    ..PLAIN
};

pub const BUDDYINFO: Command = Command {
    name: "memctl buddyinfo",
    summary: "Show free blocks per order and migrate type, and the fragmentation index.",
    usage: "memctl buddyinfo [--json]",
    options: &[JSON],
    example: "memctl buddyinfo",
    run: buddyinfo,
    ..PLAIN
};

pub const COMPACT: Command = Command {
    name: "memctl compact",
    summary: "Move movable pages together, so that free memory comes in large blocks.",
    usage: "memctl compact [--json]",
    options: &[JSON],
    example: "memctl compact",
    run: compact,
    ..PLAIN
};

pub const RECLAIM: Command = Command {
    name: "memctl reclaim",
    summary: "Have caches give memory back.",
    usage: "memctl reclaim [--mib N] [--json]",
    options: &[
        OptionSpec {
            name: "mib",
            short: None,
            value: Some("N"),
            summary: "How much; all there is unless given.",
        },
        JSON,
    ],
    example: "memctl reclaim --mib 16",
    run: reclaim,
    ..PLAIN
};

pub const STRESS: Command = Command {
    name: "memctl stress",
    summary: "List the stress workloads, or run one: it may use up all memory, and is ended then.",
    usage: "memctl stress [FAMILY] [--seconds N] [--seed S] [--json]",
    options: &[
        OptionSpec {
            name: "seconds",
            short: None,
            value: Some("N"),
            summary: "How long at most; 60 unless given.",
        },
        OptionSpec {
            name: "seed",
            short: None,
            value: Some("S"),
            summary: "Draw all its parameters from this number; typical ones unless given.",
        },
        JSON,
    ],
    example: "memctl stress plateau --seconds 20",
    operands: (0, 1),
    run: stress,
    ..PLAIN
};

fn pressure(pressure: Pressure) -> &'static str {
    match pressure {
        Pressure::None => "none",
        Pressure::Low => "low",
        Pressure::Min => "min",
    }
}

fn frames(n: u64) -> String {
    units::bytes(n.saturating_mul(FRAME_SIZE))
}

fn status(context: &mut Context<'_>) -> Result<Next, CommandError> {
    let state = context.system.memory_state();
    let text = if context.args.flag("json") { status_json(&state) } else { status_text(&state) };
    context.print(&text)
}

fn status_text(state: &MemoryState) -> String {
    let columns = [
        ("ZONE", Align::Left),
        ("TOTAL", Align::Right),
        ("FREE", Align::Right),
        ("MIN", Align::Right),
        ("LOW", Align::Right),
        ("HIGH", Align::Right),
    ];
    let mut zones = Table::new(&columns);
    for zone in &state.zones {
        let marks = zone.watermarks;
        let cells = [zone.stats.total_frames, zone.stats.free_frames, marks.min, marks.low, marks.high];
        zones.row([String::from(zone.name)].into_iter().chain(cells.map(frames)));
    }
    let mut caches = Table::new(&[("CACHE", Align::Left), ("HOLDS", Align::Right)]);
    for (name, bytes) in &state.caches {
        caches.row([String::from(*name), units::bytes(*bytes)]);
    }
    let share = |thousandths: u16| format!("{}.{} %", thousandths / 10, thousandths % 10);
    let columns = [
        ("STALLED", Align::Left),
        ("LAST 10 S", Align::Right),
        ("LAST 60 S", Align::Right),
        ("IN ALL", Align::Right),
    ];
    let mut stalls = Table::new(&columns);
    for (name, stall) in [("some", state.stall.some), ("full", state.stall.full)] {
        let total = units::short_time(Duration::from_nanos(stall.total_ns));
        stalls.row([String::from(name), share(stall.avg10), share(stall.avg60), total]);
    }
    let (freed, asked) = (units::bytes(state.reclaim.freed), units::bytes(state.reclaim.asked));
    let lines = [
        ("Pressure", String::from(pressure(state.pressure))),
        ("CPU caches", format!("{} free", frames(state.cached_frames))),
        ("Reclaimed", format!("{freed} of {asked} asked, in {} rounds", state.reclaim.rounds)),
        ("Compacted", format!("{} times, moved {} pages", state.compactions, state.moved)),
        ("Out of memory", format!("{} times, {} tasks ended", state.ooms, state.kills)),
    ];
    let lines: String = lines.iter().map(|(name, value)| format!("{name:<14} {value}\n")).collect();
    format!("{zones}\n{caches}\n{stalls}\n{lines}")
}

fn status_json(state: &MemoryState) -> String {
    json::document(|o| {
        o.text("pressure", pressure(state.pressure));
        o.objects("zones", &state.zones, |o, zone| {
            o.text("name", zone.name).number("total", zone.stats.total_frames);
            o.number("free", zone.stats.free_frames).number("min", zone.watermarks.min);
            o.number("low", zone.watermarks.low).number("high", zone.watermarks.high);
        });
        o.number("cached_frames", state.cached_frames);
        o.objects("caches", &state.caches, |o, (name, bytes)| {
            o.text("name", name).number("bytes", *bytes);
        });
        o.object("reclaim", |o| {
            o.number("rounds", state.reclaim.rounds).number("asked", state.reclaim.asked);
            o.number("freed", state.reclaim.freed);
        });
        o.object("stall", |o| {
            for (name, share) in [("some", state.stall.some), ("full", state.stall.full)] {
                o.object(name, |o| {
                    o.number("avg10", share.avg10).number("avg60", share.avg60);
                    o.number("total_ns", share.total_ns);
                });
            }
        });
        o.number("compactions", state.compactions).number("moved", state.moved);
        o.number("ooms", state.ooms).number("kills", state.kills);
    })
}

fn buddyinfo(context: &mut Context<'_>) -> Result<Next, CommandError> {
    let state = context.system.memory_state();
    let text = if context.args.flag("json") { buddyinfo_json(&state) } else { buddyinfo_text(&state) };
    context.print(&text)
}

fn indices(free_blocks: &[u64; ORDERS]) -> [i32; ORDERS] {
    core::array::from_fn(|order| fragmentation::extfrag_index(free_blocks, order))
}

fn type_name(kind: MigrateType) -> &'static str {
    match kind {
        MigrateType::Unmovable => "unmovable",
        MigrateType::Movable => "movable",
        MigrateType::Reclaimable => "reclaimable",
    }
}

fn buddyinfo_text(state: &MemoryState) -> String {
    let mut text = String::new();
    for zone in &state.zones {
        let mut table = Table::new(&[
            (zone.name, Align::Right),
            ("BLOCK", Align::Right),
            ("FREE", Align::Right),
            ("UNMOVABLE", Align::Right),
            ("MOVABLE", Align::Right),
            ("RECLAIMABLE", Align::Right),
            ("EXTFRAG", Align::Right),
        ]);
        let by_type = |kind: MigrateType, order: usize| zone.by_type[kind as usize][order].to_string();
        for (order, index) in indices(&zone.stats.free_blocks).into_iter().enumerate() {
            table.row([
                order.to_string(),
                units::exact_bytes(FRAME_SIZE << order),
                zone.stats.free_blocks[order].to_string(),
                by_type(MigrateType::Unmovable, order),
                by_type(MigrateType::Movable, order),
                by_type(MigrateType::Reclaimable, order),
                if index < 0 { String::from("-") } else { format!("{}.{:03}", index / 1000, index % 1000) },
            ]);
        }
        text += &format!("{table}\n");
    }
    text + "Blocks of a type lie in partly used pageblocks; whole free pageblocks have none. EXTFRAG near 0: such a request\n\
            fails for lack of memory; near 1: for fragmentation; -: it would be served.\n"
}

fn buddyinfo_json(state: &MemoryState) -> String {
    json::document(|o| {
        o.objects("zones", &state.zones, |o, zone| {
            o.text("name", zone.name).numbers("free_blocks", zone.stats.free_blocks);
            for kind in MigrateType::ALL {
                o.numbers(type_name(kind), zone.by_type[kind as usize]);
            }
            o.integers("extfrag_index", indices(&zone.stats.free_blocks).map(i64::from));
        });
    })
}

fn compact(context: &mut Context<'_>) -> Result<Next, CommandError> {
    let report = context.system.memory_compact();
    if context.args.flag("json") {
        let text = json::document(|o| {
            o.number("scanned", report.scanned).number("isolated", report.isolated);
            o.number("moved", report.moved).number("pinned", report.pinned);
            o.numbers("free_before", report.free_before).numbers("free_after", report.free_after);
        });
        return context.print(&text);
    }
    let columns = [
        ("ORDER", Align::Right),
        ("BLOCK", Align::Right),
        ("FREE BEFORE", Align::Right),
        ("FREE AFTER", Align::Right),
    ];
    let mut table = Table::new(&columns);
    for order in 0..ORDERS {
        let block = units::exact_bytes(FRAME_SIZE << order);
        let (before, after) = (report.free_before[order], report.free_after[order]);
        table.row([order.to_string(), block, before.to_string(), after.to_string()]);
    }
    context.print(&format!(
        "{table}\n{} pages moved, {} could not be; {} blocks looked at.\n",
        report.moved, report.pinned, report.scanned
    ))
}

fn reclaim(context: &mut Context<'_>) -> Result<Next, CommandError> {
    let mib: Option<u64> = context.args.number("mib", 1..=1 << 20, "a number of MiB from 1 to 1048576")?;
    let parts = context.system.memory_reclaim(mib.map_or(u64::MAX, |mib| mib << 20));
    let freed = parts.iter().map(|part| part.freed).sum::<u64>();
    if context.args.flag("json") {
        let text = json::document(|o| {
            o.number("freed", freed);
            o.objects("caches", &parts, |o, part| {
                o.text("name", part.name).number("held", part.count);
                o.number("asked", part.asked).number("freed", part.freed);
            });
        });
        return context.print(&text);
    }
    let columns =
        [("CACHE", Align::Left), ("HELD", Align::Right), ("ASKED", Align::Right), ("FREED", Align::Right)];
    let mut table = Table::new(&columns);
    for part in &parts {
        let [held, asked, freed] = [part.count, part.asked, part.freed].map(units::bytes);
        table.row([part.name.into(), held, asked, freed]);
    }
    context.print(&format!("{table}\n{} freed.\n", units::bytes(freed)))
}

fn stress(context: &mut Context<'_>) -> Result<Next, CommandError> {
    let seconds: u64 =
        context.args.number("seconds", 1..=86_400, "a number of seconds from 1 to 86400")?.unwrap_or(60);
    let seed: Option<u64> = context.args.number("seed", .., "a whole number from 0 on")?;
    let request = StressRequest { duration: Duration::from_secs(seconds), seed };
    let Some(family) = context.args.operands.first().cloned() else {
        if context.args.flag("json") {
            let text = json::document(|o| {
                o.objects("families", context.system.stress_families(), |o, (name, summary)| {
                    o.text("name", name).text("summary", summary);
                });
            });
            return context.print(&text);
        }
        let mut table = Table::new(&[("FAMILY", Align::Left), ("WHAT IT DOES", Align::Left)]);
        for (name, summary) in context.system.stress_families() {
            table.row([String::from(*name), String::from(*summary)]);
        }
        return context.print(&format!("{table}"));
    };
    let (system, console, json) = (context.system, &mut *context.console, context.args.flag("json"));
    let mut watch = |state: &StressState| {
        if !json {
            let line = format!(
                "\r{:5.1} s  holds {:>10}  free {:>10} ",
                state.elapsed.as_secs_f64(),
                units::bytes(state.held),
                units::bytes(state.free)
            );
            let _ = console.write_str(&line);
        }
        let stop = console.interrupted();
        if stop {
            console.clear_interrupt();
        }
        if stop { Flow::Stop } else { Flow::Continue }
    };
    let outcome = system.memory_stress(&family, request, &mut watch)?;
    let text = if json {
        json::document(|o| {
            o.text("family", &family).text("end", outcome.end.name());
            o.number("start_ns", u64::try_from(outcome.start.as_nanos()).unwrap_or(u64::MAX));
            o.decimal("seconds", outcome.duration.as_secs_f64()).number("peak", outcome.peak);
            o.number("failures", outcome.failures).number("ooms", outcome.ooms);
        })
    } else {
        format!(
            "\n{family}: ended by {} after {:.1} s; held {} at the most; {} allocations refused, out of memory {} times.\n",
            outcome.end.name(),
            outcome.duration.as_secs_f64(),
            units::bytes(outcome.peak),
            outcome.failures,
            outcome.ooms
        )
    };
    context.print(&text)
}
