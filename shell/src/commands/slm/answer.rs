//! Prints an answer while it comes.

use crate::console::Console;
use crate::slm::SlmOrigin;
use crate::utf8::Utf8Stream;
use alloc::string::String;
use alloc::vec::Vec;

/// How an answer is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::commands) enum Style {
    /// The text alone.
    Plain,
    /// The text with marks for its origins.
    Marked,
    /// Nothing: it is kept for the JSON object.
    Kept,
}

/// Takes the pieces of an answer. A model may say anything: control characters (escape sequences to the
/// terminal among them) are not passed on, and bytes that are no UTF-8 are shown as U+FFFD.
pub(in crate::commands) struct Answer {
    style: Style,
    text: Utf8Stream,
    origin: Option<SlmOrigin>,
    // What came, by origin; filled only where kept.
    segments: Vec<(SlmOrigin, String)>,
    // Whether the terminal's cursor is behind a line end.
    at_line_start: bool,
}

pub(super) fn origin_name(origin: SlmOrigin) -> &'static str {
    match origin {
        SlmOrigin::Record => "record",
        SlmOrigin::Model => "model",
    }
}

impl Answer {
    pub(in crate::commands) fn new(style: Style) -> Self {
        Self { style, text: Utf8Stream::default(), origin: None, segments: Vec::new(), at_line_start: true }
    }

    /// Shows the next bytes.
    pub(in crate::commands) fn piece(&mut self, bytes: &[u8], origin: SlmOrigin, console: &mut dyn Console) {
        let mut shown = String::new();
        if self.origin != Some(origin) {
            self.text.finish(&mut |c| take(c, &mut shown));
            self.show(&shown, console);
            shown.clear();
            if self.style == Style::Marked {
                let close = if self.origin.is_some() { "] " } else { "" };
                let _ = write!(console, "{close}[{}: ", origin_name(origin));
                self.at_line_start = false;
            }
            if self.style == Style::Kept {
                self.segments.push((origin, String::new()));
            }
            self.origin = Some(origin);
        }
        for &byte in bytes {
            self.text.push(byte, &mut |c| take(c, &mut shown));
        }
        self.show(&shown, console);
    }

    /// The answer is over: leaves the terminal at the start of a line.
    pub(in crate::commands) fn end(&mut self, console: &mut dyn Console) {
        let mut shown = String::new();
        self.text.finish(&mut |c| take(c, &mut shown));
        self.show(&shown, console);
        if self.style == Style::Marked && self.origin.is_some() {
            let _ = console.write_char(']');
            self.at_line_start = false;
        }
        if !self.at_line_start {
            let _ = console.write_char('\n');
            self.at_line_start = true;
        }
    }

    /// What came, by origin, in order.
    pub(in crate::commands) fn segments(&self) -> &[(SlmOrigin, String)] {
        &self.segments
    }

    fn show(&mut self, text: &str, console: &mut dyn Console) {
        if text.is_empty() {
            return;
        }
        if self.style == Style::Kept {
            if let Some((_, kept)) = self.segments.last_mut() {
                kept.push_str(text);
            }
        } else {
            let _ = console.write_str(text);
            self.at_line_start = text.ends_with('\n');
        }
    }
}

fn take(c: Option<char>, text: &mut String) {
    let c = c.unwrap_or(char::REPLACEMENT_CHARACTER);
    if !c.is_control() || matches!(c, '\n' | '\t') {
        text.push(c);
    }
}
