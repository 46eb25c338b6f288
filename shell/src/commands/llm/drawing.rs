//! A graph as boxes and lines, as tables, and as JSON.

use super::time;
use crate::json::Object;
use crate::table::{Align, Table};
use alloc::format;
use alloc::string::{String, ToString};
use llm::graph::{Picture, WhenFull};
use unicode_width::UnicodeWidthStr;

/// Boxes for operators, joined by channels with high water and capacity; then the counters.
pub(super) fn as_text(picture: &Picture) -> String {
    let [mut top, mut middle, mut bottom] = [const { String::new() }; 3];
    for (at, operator) in picture.operators.iter().enumerate() {
        let edge = "─".repeat(operator.name.width() + 2);
        top.push_str(&format!("┌{edge}┐"));
        bottom.push_str(&format!("└{edge}┘"));
        let Some(channel) = picture.channels.get(at) else {
            middle.push_str(&format!("│ {} │", operator.name));
            continue;
        };
        let line = if channel.edge.when_full == WhenFull::Drop { '┈' } else { '─' };
        let joint = format!("{line} {}/{} {line}→", channel.high_water, channel.edge.capacity);
        let gap = " ".repeat(joint.width());
        middle.push_str(&format!("│ {} │{joint}", operator.name));
        top.push_str(&gap);
        bottom.push_str(&gap);
    }
    let (operators, channels) = (operators(picture), channels(picture));
    format!(
        "{top}\n{middle}\n{bottom}\nMost chunks that ever waited / room; a dotted channel drops what it has no room for.\n\n{operators}\n{channels}"
    )
}

fn operators(picture: &Picture) -> Table {
    let mut table = Table::new(&[
        ("OPERATOR", Align::Left),
        ("TOOK", Align::Right),
        ("MADE", Align::Right),
        ("STEPS", Align::Right),
        ("HELD UP", Align::Right),
        ("BUSY", Align::Right),
    ]);
    for operator in &picture.operators {
        table.row([
            operator.name.clone(),
            operator.taken.to_string(),
            operator.made.to_string(),
            operator.steps.to_string(),
            operator.held_up.to_string(),
            time(operator.busy_ns),
        ]);
    }
    table
}

fn channels(picture: &Picture) -> Table {
    let mut table = Table::new(&[
        ("CHANNEL INTO", Align::Left),
        ("ROOM", Align::Right),
        ("MOST", Align::Right),
        ("PASSED", Align::Right),
        ("DROPPED", Align::Right),
        ("WHEN FULL", Align::Left),
    ]);
    for (channel, to) in picture.channels.iter().zip(picture.operators.iter().skip(1)) {
        table.row([
            to.name.clone(),
            channel.edge.capacity.to_string(),
            channel.high_water.to_string(),
            channel.passed.to_string(),
            channel.dropped.to_string(),
            channel.edge.when_full.name().into(),
        ]);
    }
    table
}

/// The keys `operators` and `channels`.
pub(super) fn as_json(o: &mut Object<'_>, picture: &Picture) {
    o.objects("operators", &picture.operators, |o, operator| {
        o.text("name", &operator.name).number("taken", operator.taken).number("made", operator.made);
        o.number("steps", operator.steps).number("held_up", operator.held_up);
        o.number("busy_ns", operator.busy_ns);
    });
    o.objects("channels", &picture.channels, |o, channel| {
        o.number("capacity", channel.edge.capacity as u64).number("high_water", channel.high_water as u64);
        o.number("waiting", channel.waiting as u64).number("passed", channel.passed);
        o.number("dropped", channel.dropped).text("when_full", channel.edge.when_full.name());
    });
}
