//! reStructuredText, and books laid out as plain text, as flowing text: the two differ little once directives are gone.

use super::flow::Flow;

/// Directives whose content is shown as running text.
const SHOWN: [&str; 14] = [
    "note",
    "warning",
    "tip",
    "important",
    "caution",
    "attention",
    "hint",
    "danger",
    "admonition",
    "seealso",
    "only",
    "versionadded",
    "versionchanged",
    "deprecated",
];
/// Directives whose content is shown line by line.
const LITERAL: [&str; 5] = ["code-block", "code", "sourcecode", "parsed-literal", "highlight"];

/// The text of a source.
pub fn text(source: &str) -> String {
    let lines: Vec<&str> = source.lines().collect();
    let mut reader = Reader { lines: &lines, at: 0, flow: Flow::default(), literal: None };
    while reader.at < lines.len() {
        reader.step();
    }
    reader.flow.finish()
}

struct Reader<'r> {
    lines: &'r [&'r str],
    at: usize,
    flow: Flow,
    /// Indentation of the text that announced a literal block by `::`.
    literal: Option<usize>,
}

fn indent(line: &str) -> usize {
    line.chars().take_while(|c| *c == ' ').count() + 8 * line.chars().take_while(|c| *c == '\t').count()
}

/// A line of one punctuation mark, as under headings.
fn is_rule(line: &str) -> bool {
    let line = line.trim_end();
    let mut marks = line.chars();
    let Some(first) = marks.next().filter(|c| c.is_ascii_punctuation()) else { return false };
    line.len() >= 3 && marks.all(|c| c == first)
}

/// A line of a drawn table.
fn is_table(line: &str) -> bool {
    let line = line.trim();
    let drawn = line.starts_with('+') && line.ends_with('+') && line.len() > 2;
    let cells = line.starts_with('|') && line.ends_with('|') && line.len() > 2;
    let simple =
        line.len() > 3 && line.contains(' ') && line.chars().all(|c| c == '=' || c == ' ' || c == '-');
    drawn || cells || simple || line.contains(['│', '┌', '└', '├'])
}

impl<'r> Reader<'r> {
    fn line(&self, at: usize) -> &'r str {
        self.lines.get(at).copied().unwrap_or("")
    }

    /// One line, or one block.
    fn step(&mut self) {
        let line = self.line(self.at);
        let trimmed = line.trim();
        if trimmed.is_empty() {
            self.flow.paragraph();
            self.at += 1;
            return;
        }
        if let Some(outer) = self.literal.take().filter(|outer| indent(line) > *outer) {
            return self.verbatim(outer);
        }
        if trimmed.starts_with(".. ") || trimmed == ".." {
            return self.directive();
        }
        if is_table(line) {
            return self.table();
        }
        if is_rule(trimmed) {
            self.at += 1;
            return;
        }
        let below = self.line(self.at + 1);
        if is_rule(below)
            && below.trim_end().chars().count() + 2 >= trimmed.chars().count()
            && indent(below) == 0
        {
            self.flow.heading(&inline(trimmed), 0);
            self.flow.paragraph();
            self.at += 2;
            return;
        }
        // `:orphan:` and the like, and addresses of people.
        if trimmed.starts_with(':')
            && trimmed
                .trim_start_matches(':')
                .split(':')
                .next()
                .is_some_and(|f| !f.contains(' ') && trimmed.len() > f.len() + 1)
            && indent(line) == 0
        {
            self.at += 1;
            return;
        }
        self.prose(line, trimmed);
    }

    fn prose(&mut self, line: &str, trimmed: &str) {
        let bullet = ["* ", "- ", "+ ", "• ", "o "].iter().find(|b| trimmed.starts_with(**b));
        let numbered = trimmed.split_once(['.', ')']).is_some_and(|(n, rest)| {
            n.len() <= 3 && !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()) && rest.starts_with(' ')
        });
        let depth = (indent(line) / 2).min(4);
        if bullet.is_some() || numbered {
            // A list follows at once what announces it.
            self.flow.line();
            self.flow.indent(2 + 2 * depth.min(3));
        } else if !self.flow.is_open() {
            self.flow.indent(2 + if depth > 0 { 2 * depth.min(3) } else { 0 });
        }
        let (text, literal) = match trimmed.strip_suffix("::") {
            Some("") => ("", true),
            Some(text) if text.ends_with(' ') => (text, true),
            Some(_) => (trimmed.strip_suffix(':').unwrap_or(trimmed), true),
            None => (trimmed, false),
        };
        let text = match bullet {
            Some(bullet) => format!("* {}", text.strip_prefix(bullet).unwrap_or(text)),
            None => text.to_string(),
        };
        self.flow.words(&inline(&text));
        // A term stands alone above its deeper definition.
        let below = self.line(self.at + 1);
        if !below.trim().is_empty() && indent(below) > indent(line) && bullet.is_none() && !numbered {
            self.flow.line();
        }
        if literal {
            self.literal = Some(indent(line));
        }
        self.at += 1;
    }

    /// A block deeper than `outer`, line by line.
    fn verbatim(&mut self, outer: usize) {
        self.flow.paragraph();
        self.flow.indent(2 + 2 * (outer / 2).min(3));
        let base = indent(self.line(self.at));
        while self.at < self.lines.len() {
            let line = self.line(self.at);
            if line.trim().is_empty() {
                self.flow.verbatim("", 0);
            } else if indent(line) <= outer {
                break;
            } else {
                let expanded = line.replace('\t', "        ");
                let from = base.min(indent(&expanded));
                self.flow.verbatim(expanded.get(from..).unwrap_or("").trim_end(), 2);
            }
            self.at += 1;
        }
        self.flow.paragraph();
    }

    /// A directive, a comment, or a target.
    fn directive(&mut self) {
        let line = self.line(self.at);
        let outer = indent(line);
        let name = line.trim().trim_start_matches("..").trim_start().split("::").next().unwrap_or("");
        let argument = line.split_once("::").map(|(_, a)| a.trim()).unwrap_or("");
        self.flow.paragraph();
        self.at += 1;
        if SHOWN.contains(&name) && line.contains("::") {
            self.flow.words(&inline(argument));
            self.options(outer);
            return;
        }
        if LITERAL.contains(&name) && line.contains("::") {
            self.options(outer);
            while self.at < self.lines.len() && self.line(self.at).trim().is_empty() {
                self.at += 1;
            }
            if indent(self.line(self.at)) > outer {
                self.verbatim(outer);
            }
            return;
        }
        while self.at < self.lines.len()
            && (self.line(self.at).trim().is_empty() || indent(self.line(self.at)) > outer)
        {
            self.at += 1;
        }
    }

    /// Skips the `:option: value` lines of a directive.
    fn options(&mut self, outer: usize) {
        while indent(self.line(self.at)) > outer && self.line(self.at).trim().starts_with(':') {
            self.at += 1;
        }
    }

    /// A table: it ends at an empty line that no drawn line follows.
    fn table(&mut self) {
        self.flow.paragraph();
        let simple = self.line(self.at).trim().starts_with('=');
        let base = indent(self.line(self.at));
        while self.at < self.lines.len() {
            let line = self.line(self.at);
            let ends = if simple {
                is_table(line) && self.line(self.at + 1).trim().is_empty()
            } else {
                self.line(self.at + 1).trim().is_empty()
            };
            self.at += 1;
            if ends || (simple && !line.trim().is_empty() && indent(line) < base) {
                break;
            }
        }
    }
}

/// Marks of inline markup dropped: ``code``, *emphasis*, :role:`target <x>`, `text <address>`_.
fn inline(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['`', '*', ':', '\\']) {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        let step = markup(from, out.chars().next_back());
        match step {
            Some((inner, after)) => {
                out.push_str(&inner);
                rest = after;
            }
            None => {
                let mut letters = from.chars();
                out.extend(letters.next().filter(|c| *c != '\\'));
                rest = letters.as_str();
            }
        }
    }
    out.push_str(rest);
    out
}

/// The text of the markup that `from` begins with, and what follows.
fn markup(from: &str, before: Option<char>) -> Option<(String, &str)> {
    if let Some(code) = from.strip_prefix("``") {
        let (inner, after) = code.split_once("``")?;
        return Some((inner.to_string(), after));
    }
    if let Some(target) = from.strip_prefix('`') {
        let (inner, after) = target.split_once('`')?;
        let shown = inner.split_once(" <").map_or(inner, |(shown, _)| shown);
        return Some((shown.trim_start_matches(['~', '!']).to_string(), after.trim_start_matches('_')));
    }
    if let Some(role) = from.strip_prefix(':') {
        let (name, after) = role.split_once(":`")?;
        let is_name =
            !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "-+:_.".contains(c));
        return is_name.then(|| markup(&from[from.len() - after.len() - 1..], before)).flatten();
    }
    let open_here = before.is_none_or(|c| c.is_whitespace() || "([\"'-/".contains(c));
    for mark in ["**", "*"] {
        if let Some(strong) = from
            .strip_prefix(mark)
            .filter(|s| open_here && s.starts_with(|c: char| !c.is_whitespace() && c != '*'))
        {
            let (inner, after) = strong.split_once(mark)?;
            return (!inner.ends_with(char::is_whitespace)).then(|| (inner.to_string(), after));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directives_markup_and_tables_go_and_text_stays() {
        let source = ".. SPDX-License-Identifier: GPL-2.0\n.. _label:\n\n======\nTitle\n======\n\n:Author: X\n\nThe ``mm`` is\n\
            *good*, see :ref:`the guide <guide>` and :doc:`/mm/x`::\n\n    $ ls\n      deep\n\nAfter.\n\n.. note::\n   Take\n   care.\n\n\
            .. toctree::\n   :maxdepth: 1\n\n   a\n   b\n\n==== ====\na    b\n==== ====\n1    2\n==== ====\n\n* one\n  more\n* two\n\nend 2*3*4\n";
        let expected = "Title\n  The mm is good, see the guide and /mm/x:\n\n    $ ls\n      deep\n\n  After.\n\n    Take care.\n  * one more\n  * two\n\n  end 2*3*4\n";
        assert_eq!(text(source), expected);
    }

    #[test]
    fn no_source_is_too_broken() {
        for source in
            ["..", "::", "`", ":a:`", "**", "+", "===", "== ==", ".. code::", "\u{2502}", ":ref:`ä", "*ä*"]
        {
            let _ = text(source);
        }
    }
}
