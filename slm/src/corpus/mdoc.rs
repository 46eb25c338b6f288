//! Man pages in the macros of mdoc(7) as plain text. Inline macros are called in a line's own words (`.Op Fl f Ar file`);
//! lists and displays nest.

use super::escape::plain;
use super::flow::Flow;
use super::man::{arguments, is_boilerplate, joined};
use super::roff::{Line, lines};

/// The text of a page.
pub fn text(source: &str) -> String {
    let joined = joined(source);
    let mut page = Page::default();
    lines(&joined, |line| match line {
        Line::Text(text) => page.text(&plain(text)),
        Line::Macro(name, rest) => page.request(name, &arguments(rest)),
    });
    page.flow.finish()
}

#[derive(Default)]
struct Page {
    flow: Flow,
    name: String,
    skipped: bool,
    verbatim: bool,
    /// For each open list: whether its items are marked by bullets.
    lists: Vec<bool>,
}

impl Page {
    fn indent(&mut self, extra: usize) {
        let depth = self.lists.len().saturating_sub(1);
        self.flow.indent(2 + 2 * depth + extra);
    }

    fn text(&mut self, text: &str) {
        if self.skipped {
        } else if self.verbatim {
            self.flow.verbatim(text, 2);
        } else if text.trim().is_empty() {
            self.flow.paragraph();
        } else {
            self.flow.words(text);
        }
    }

    fn request(&mut self, name: &str, words: &[String]) {
        if matches!(name, "Sh" | "Ss") {
            let text = words.iter().map(|w| plain(w)).collect::<Vec<_>>().join(" ");
            if name == "Sh" {
                self.skipped = is_boilerplate(&text);
                self.lists.clear();
            }
            if !self.skipped {
                self.flow.heading(&text, usize::from(name == "Ss"));
                self.flow.indent(2);
            }
            return;
        }
        if self.skipped {
            return;
        }
        match name {
            "Dd" | "Dt" | "Os" | "Bk" | "Ek" | "Sm" => {}
            "Pp" | "Lp" => {
                self.flow.paragraph();
                self.indent(if self.lists.is_empty() { 0 } else { 2 });
            }
            "Bl" => {
                self.flow.paragraph();
                self.lists.push(
                    words.iter().any(|w| matches!(w.as_str(), "-bullet" | "-dash" | "-enum" | "-hyphen")),
                );
            }
            "El" => {
                self.flow.paragraph();
                self.lists.pop();
                self.indent(if self.lists.is_empty() { 0 } else { 2 });
            }
            "It" => {
                self.flow.paragraph();
                self.indent(0);
                if self.lists.last().copied().unwrap_or(false) {
                    self.flow.words("*");
                } else {
                    let tag = self.inline(words);
                    self.flow.words(&tag);
                    self.flow.line();
                    self.indent(2);
                }
            }
            "Bd" => {
                self.flow.paragraph();
                self.verbatim = words.iter().any(|w| matches!(w.as_str(), "-literal" | "-unfilled"));
            }
            "Ed" => {
                self.flow.paragraph();
                self.verbatim = false;
            }
            "Dl" | "D1" => {
                let text = self.inline(words);
                self.flow.paragraph();
                self.flow.verbatim(&text, 2);
                self.flow.paragraph();
            }
            "br" => self.flow.line(),
            "sp" => self.flow.paragraph(),
            "Nd" => {
                let text = self.inline(words);
                self.flow.words(&format!("- {text}"));
            }
            _ => {
                let mut all = vec![name.to_string()];
                all.extend_from_slice(words);
                let text = self.inline(&all);
                self.text(&text);
            }
        }
    }

    /// The text of a line of inline macros.
    fn inline(&mut self, words: &[String]) -> String {
        let mut out = Words::default();
        let mut flag = false;
        for (at, word) in words.iter().enumerate() {
            let next = words.get(at + 1).map(String::as_str);
            match word.as_str() {
                "Fl" => {
                    out.put(if next.is_none_or(is_macro) { "-" } else { "" });
                    flag = true;
                    continue;
                }
                "Ns" | "Ap" => {
                    out.glue = true;
                    if word == "Ap" {
                        out.put("'");
                        out.glue = true;
                    }
                }
                "Op" | "Oo" => out.open("[", "]", word == "Op"),
                "Oc" | "Bc" => out.close("]"),
                "Pq" | "Po" => out.open("(", ")", word == "Pq"),
                "Pc" => out.close(")"),
                "Aq" | "Ao" => out.open("<", ">", word == "Aq"),
                "Ac" => out.close(">"),
                "Bq" | "Bo" => out.open("[", "]", word == "Bq"),
                "Brq" | "Bro" => out.open("{", "}", word == "Brq"),
                "Brc" => out.close("}"),
                "Dq" | "Qq" | "Do" | "Qo" => out.open("\"", "\"", matches!(word.as_str(), "Dq" | "Qq")),
                "Dc" | "Qc" => out.close("\""),
                "Sq" | "Ql" | "So" => out.open("'", "'", word != "So"),
                "Sc" => out.close("'"),
                "Nm" => {
                    if next.is_some_and(|n| !is_macro(n) && !is_punctuation(n)) {
                        if self.name.is_empty() {
                            self.name = next.map(plain).unwrap_or_default();
                        }
                    } else {
                        let name = self.name.clone();
                        out.put(&name);
                    }
                }
                "Xr" => {
                    // `Xr ls 1` is ls(1): the section is put in brackets below.
                    out.reference = 2;
                    flag = false;
                    continue;
                }
                "Ar" if next.is_none_or(is_macro) => out.put("file ..."),
                "Bx" => out.put("BSD"),
                "Ux" => out.put("UNIX"),
                "Ex" => out.put("The utility exits 0 on success, and >0 if an error occurs."),
                "Rv" => out.put("The function returns the value 0 if successful; otherwise the value -1 is returned and errno is set."),
                "St" | "An" | "Tn" | "Fx" | "Nx" | "Ox" => {}
                other if is_macro(other) => {}
                other => {
                    let text = plain(other);
                    if is_punctuation(&text) {
                        out.punctuation(&text);
                    } else if flag {
                        out.put(&format!("-{text}"));
                    } else {
                        out.put(&text);
                    }
                    continue;
                }
            }
            flag = false;
        }
        out.finish()
    }
}

/// Names that are called when they stand among a line's words.
fn is_macro(word: &str) -> bool {
    const INLINE: [&str; 66] = [
        "Ac", "Ad", "An", "Ao", "Ap", "Aq", "Ar", "Bc", "Bo", "Bq", "Brc", "Bro", "Brq", "Bx", "Cd", "Cm",
        "Dc", "Do", "Dq", "Dv", "Em", "Er", "Ev", "Ex", "Fa", "Fd", "Fl", "Fn", "Fo", "Fc", "Ft", "Fx", "Ic",
        "In", "Li", "Lk", "Ms", "Mt", "Nm", "No", "Ns", "Nx", "Oc", "Oo", "Op", "Ox", "Pa", "Pc", "Pf", "Po",
        "Pq", "Qc", "Ql", "Qo", "Qq", "Rv", "Sc", "So", "Sq", "St", "Sx", "Sy", "Tn", "Ux", "Va", "Xr",
    ];
    INLINE.contains(&word) || matches!(word, "Vt" | "Pp" | "Xo" | "Xc" | "Ta")
}

fn is_punctuation(word: &str) -> bool {
    matches!(word, "." | "," | ";" | ":" | "?" | "!" | ")" | "]" | "(" | "[" | "|")
}

#[derive(Default)]
struct Words {
    text: String,
    /// The next word follows without a space.
    glue: bool,
    /// Closing marks that stand at the end of the line.
    at_end: Vec<&'static str>,
    /// Words of a reference still to come: its page and its section.
    reference: u8,
}

impl Words {
    fn put(&mut self, word: &str) {
        if word.is_empty() {
            return;
        }
        if self.reference == 1 && word.len() <= 3 {
            self.text.push_str(&format!("({word})"));
            self.reference = 0;
            return;
        }
        self.reference = self.reference.saturating_sub(1);
        if !self.text.is_empty() && !self.glue {
            self.text.push(' ');
        }
        self.glue = false;
        self.text.push_str(word);
    }

    fn open(&mut self, mark: &str, closing: &'static str, to_the_end: bool) {
        self.put(mark);
        self.glue = true;
        if to_the_end {
            self.at_end.push(closing);
        }
    }

    fn close(&mut self, mark: &str) {
        self.text.push_str(mark);
        self.glue = false;
    }

    fn punctuation(&mut self, mark: &str) {
        match mark {
            "(" | "[" => {
                self.put(mark);
                self.glue = true;
            }
            "|" => self.put(mark),
            _ => {
                // What ends a sentence stands behind the brackets.
                while let Some(closing) = self.at_end.pop() {
                    self.text.push_str(closing);
                }
                self.text.push_str(mark);
            }
        }
    }

    fn finish(mut self) -> String {
        while let Some(closing) = self.at_end.pop() {
            self.text.push_str(closing);
        }
        self.text
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn inline_macros_lists_and_references_are_read() {
        let source = ".Dd May 1\n.Dt SSH 1\n.Os\n.Sh NAME\n.Nm ssh\n.Nd OpenSSH remote login client\n.Sh SYNOPSIS\n.Nm ssh\n\
            .Op Fl 46\n.Op Fl B Ar interface\n.Sh DESCRIPTION\n.Nm\nis a program, see\n.Xr sshd 8 .\n.Pp\nOptions:\n\
            .Bl -tag -width Ds\n.It Fl 4\nForces\n.Nm\nto use IPv4\n.Pq only .\n.El\n";
        let expected = "NAME\n  ssh - OpenSSH remote login client\n\nSYNOPSIS\n  ssh [-46] [-B interface]\n\nDESCRIPTION\n  \
            ssh is a program, see sshd(8).\n\n  Options:\n\n  -4\n    Forces ssh to use IPv4 (only).\n";
        assert_eq!(super::text(source), expected);
    }
}
