//! Man pages as plain text: the macros of man(7); those of mdoc(7) are in `mdoc`.

use super::escape::plain;
use super::flow::Flow;
use super::roff::{Line, lines};

/// Sections that say nothing about the subject, and the same in hundreds of pages.
const BOILERPLATE: [&str; 12] = [
    "COPYRIGHT",
    "REPORTING BUGS",
    "COLOPHON",
    "AUTHOR",
    "AUTHORS",
    "AVAILABILITY",
    "LICENSE",
    "HISTORY AND AUTHORS",
    "GIT",
    "COPYING",
    "RESOURCES",
    "WWW",
];

/// Whether a section of this name is left out.
pub(super) fn is_boilerplate(heading: &str) -> bool {
    BOILERPLATE.contains(&heading.trim().to_uppercase().as_str())
}

/// The text of a man page; `None` if the page only points to another one (`.so`).
pub fn text(source: &str) -> Option<String> {
    if source.lines().any(|l| l.starts_with(".so ")) && source.len() < 400 {
        return None;
    }
    if source.lines().any(|l| l.starts_with(".Dd") || l.starts_with(".Dt")) {
        return Some(super::mdoc::text(source));
    }
    let joined = joined(source);
    let mut page = Page::default();
    lines(&joined, |line| page.line(line));
    Some(page.flow.finish())
}

/// Lines that end in a backslash continue on the next.
pub(super) fn joined(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    for line in source.lines() {
        let continued = line.ends_with('\\') && !line.ends_with("\\\\") && !line.ends_with("\\{\\");
        out.push_str(if continued { line.strip_suffix('\\').unwrap_or(line) } else { line });
        if !continued {
            out.push('\n');
        }
    }
    out
}

/// The words of a macro's line: quoted ones keep their spaces, `""` in quotes is one quote.
pub(super) fn arguments(rest: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut letters = rest.chars().peekable();
    loop {
        while letters.next_if(|c| *c == ' ' || *c == '\t').is_some() {}
        let Some(first) = letters.peek() else { return words };
        let quoted = *first == '"';
        if quoted {
            letters.next();
        }
        let mut word = String::new();
        while let Some(c) = letters.next() {
            match c {
                '\\' => {
                    // A comment ends the line; other escapes are kept for later.
                    if letters.peek() == Some(&'"') {
                        if !word.is_empty() {
                            words.push(word);
                        }
                        return words;
                    }
                    word.push(c);
                    word.extend(letters.next());
                }
                '"' if quoted && letters.peek() == Some(&'"') => {
                    letters.next();
                    word.push('"');
                }
                '"' if quoted => break,
                ' ' | '\t' if !quoted => break,
                _ => word.push(c),
            }
        }
        words.push(word);
    }
}

#[derive(Default)]
struct Page {
    flow: Flow,
    /// Text is shown line by line.
    verbatim: bool,
    /// In a section that is left out.
    skipped: bool,
    /// The next line of text is the tag of an item, or a heading.
    awaits: Awaits,
    /// Depth by `.RS`.
    nested: usize,
    /// In the body of an item.
    in_item: bool,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Awaits {
    #[default]
    Nothing,
    Tag,
    Heading(usize),
}

impl Page {
    fn base(&self) -> usize {
        2 + 2 * self.nested
    }

    fn line(&mut self, line: Line<'_>) {
        match line {
            Line::Text(text) => self.text(&plain(text), text.ends_with("\\c")),
            Line::Macro(name, rest) => self.request(name, rest),
        }
    }

    /// Text; `open` if the next line follows without a space.
    fn text(&mut self, text: &str, open: bool) {
        match self.awaits {
            Awaits::Heading(depth) => {
                self.awaits = Awaits::Nothing;
                return self.heading(text, depth);
            }
            _ if self.skipped => return,
            Awaits::Tag => {
                self.flow.words(text);
                if !open {
                    self.tag_done();
                }
                return;
            }
            Awaits::Nothing => {}
        }
        if self.verbatim {
            if open || self.flow.is_open() {
                self.flow.words(text);
                if !open {
                    self.flow.line();
                }
            } else {
                self.flow.verbatim(text, 2);
            }
            return;
        }
        if text.trim().is_empty() {
            self.flow.paragraph();
        } else {
            self.flow.words(text);
            if open && !text.ends_with(' ') {
                self.flow.glue();
            }
        }
    }

    /// The tag is complete: the body stands deeper.
    fn tag_done(&mut self) {
        self.awaits = Awaits::Nothing;
        self.flow.line();
        self.in_item = true;
        self.flow.indent(self.base() + 2);
    }

    fn heading(&mut self, text: &str, depth: usize) {
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        if depth == 0 {
            self.skipped = is_boilerplate(&text);
        }
        (self.nested, self.verbatim, self.in_item) = (0, false, false);
        if !self.skipped {
            self.flow.heading(&text, depth);
            self.flow.indent(self.base());
        }
    }

    fn paragraph(&mut self) {
        self.flow.paragraph();
        self.in_item = false;
        self.flow.indent(self.base());
    }

    fn request(&mut self, name: &str, rest: &str) {
        if matches!(name, "SH" | "SS") {
            let depth = usize::from(name == "SS");
            let text = arguments(rest).iter().map(|a| plain(a)).collect::<Vec<_>>().join(" ");
            if text.trim().is_empty() {
                self.awaits = Awaits::Heading(depth);
            } else {
                self.heading(&text, depth);
            }
            return;
        }
        if self.skipped && matches!(self.awaits, Awaits::Nothing) {
            return;
        }
        match name {
            "PP" | "P" | "LP" | "Sp" | "sp" => self.spaced(name),
            "TP" | "TQ" => self.item(name == "TQ"),
            "IP" => {
                let words = arguments(rest);
                let tag = words.first().map(|w| plain(w)).unwrap_or_default();
                let bullet = matches!(tag.trim(), "*" | "-" | "o" | "·" | "•");
                self.flow.paragraph();
                self.flow.indent(self.base());
                if bullet {
                    self.flow.words("*");
                    self.in_item = true;
                } else if tag.trim().is_empty() {
                    self.flow.indent(self.base() + 2);
                } else {
                    self.flow.words(&tag);
                    self.tag_done();
                }
            }
            "HP" => self.paragraph(),
            "RS" => {
                self.flow.paragraph();
                self.nested = (self.nested + 1).min(4);
                self.flow.indent(self.base());
            }
            "RE" => {
                self.flow.paragraph();
                self.nested = self.nested.saturating_sub(1);
                self.flow.indent(self.base());
            }
            "nf" | "EX" | "Vb" | "NF" => {
                self.flow.paragraph();
                self.verbatim = true;
            }
            "fi" | "EE" | "Ve" | "FI" => {
                self.flow.paragraph();
                self.verbatim = false;
            }
            "br" if !self.verbatim => self.flow.line(),
            "B" | "I" | "SM" | "SB" | "b" | "R" | "CW" | "C" => {
                let words = arguments(rest).join(" ");
                self.text(&plain(&words), words.ends_with("\\c"));
            }
            "BR" | "RB" | "BI" | "IB" | "IR" | "RI" => {
                let words = arguments(rest).concat();
                self.text(&plain(&words), words.ends_with("\\c"));
            }
            "UR" | "MT" => {}
            "UE" | "ME" => {
                let after = arguments(rest).concat();
                if !after.is_empty() {
                    self.flow.glue();
                    self.text(&plain(&after), false);
                }
            }
            "OP" => {
                let words = arguments(rest).iter().map(|w| plain(w)).collect::<Vec<_>>().join(" ");
                self.text(&format!("[{words}]"), false);
            }
            "SY" => {
                self.flow.paragraph();
                self.text(&plain(&arguments(rest).join(" ")), false);
            }
            "YS" => self.flow.paragraph(),
            // Other requests set type: margins, hyphens, registers, index entries.
            _ => {}
        }
    }

    fn spaced(&mut self, name: &str) {
        if self.verbatim {
            self.flow.verbatim("", 0);
        } else if matches!(name, "sp" | "Sp") {
            self.flow.paragraph();
        } else {
            self.paragraph();
        }
    }

    fn item(&mut self, same: bool) {
        if same {
            self.flow.line();
        } else {
            self.flow.paragraph();
        }
        self.flow.indent(self.base());
        self.awaits = Awaits::Tag;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_becomes_headings_paragraphs_and_options() {
        let source = r#".TH LS "1" "September 2022" "GNU coreutils 9.1" "User Commands"
.SH NAME
ls \- list directory contents
.SH SYNOPSIS
.B ls
[\fI\,OPTION\/\fR]... [\fI\,FILE\/\fR]...
.\" comment
.SH DESCRIPTION
.PP
List information about the FILEs
(the current directory by default).
.TP
\fB\-a\fR, \fB\-\-all\fR
do not ignore entries
starting with .
.TP
.BR \-l " or " \-\-long
use a long format
.PP
See
.BR stat (1),
and more.
.nf
  $ ls -l
  total 0
.fi
.SH "REPORTING BUGS"
Nobody reads this.
.SH "SEE ALSO"
dir(1)
"#;
        let expected = "NAME\n  ls - list directory contents\n\nSYNOPSIS\n  ls [OPTION]... [FILE]...\n\nDESCRIPTION\n  \
            List information about the FILEs (the current directory by default).\n\n  -a, --all\n    do not ignore \
            entries starting with .\n\n  -l or --long\n    use a long format\n\n  See stat(1), and more.\n\n      $ ls -l\n      \
            total 0\n\nSEE ALSO\n  dir(1)\n";
        assert_eq!(text(source).unwrap(), expected);
    }

    #[test]
    fn conditions_definitions_and_tables_are_decided_as_on_a_terminal() {
        let source = ".de Sp\n.if t .sp .5v\n..\n.ie n \\{\\\n\\h'-04'\\(bu\\h'+03'\\c\n.\\}\n.el \\{\\\n.sp -1\n\
            hidden\n.\\}\none\n.if t hidden\n.if n shown\n.TS\nl l.\na b\n.TE\n.ig\nhidden\n..\nend\n";
        assert_eq!(text(source).unwrap(), "* one shown end\n");
        assert_eq!(text(".so man1/other.1\n"), None);
    }

    #[test]
    fn no_line_is_too_broken() {
        for source in [
            ".",
            "'",
            ".\\",
            ".SH",
            ".TP",
            ".IP \"",
            ".if",
            ".ie n \\{",
            ".el",
            ".de",
            "\\",
            ".B \"a",
            ".\\}\n.\\}",
        ] {
            let _ = text(source);
        }
        for nested in [".if n ", ".ie !", ".if n \\{", "\\s+", "\\n+", "\\}"] {
            let _ = text(&nested.repeat(100_000));
        }
    }
}
