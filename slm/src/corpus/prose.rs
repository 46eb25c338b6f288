//! From a package's files to documents of clean prose.

use std::path::Path;

use anyhow::Result;

use super::document::Document;
use super::sources::{Group, Package};
use super::{deb, man, rst};

/// Least bytes of a document: shorter pages say nothing.
const LEAST: usize = 300;
/// A book is cut at headings into documents of at least this many bytes.
const CHAPTER: usize = 12 << 10;
/// Other texts are cut only where they are longer than this.
const LONG: usize = 96 << 10;

/// Where the kernel's documentation lies in its package.
const LINUX: &str = "usr/share/doc/linux-doc-6.1/html/_sources/";
/// Debian's books in their packages.
const BOOKS: [&str; 4] = [
    "usr/share/debian-reference/debian-reference.en.txt.gz",
    "usr/share/doc/debian-policy/policy.txt.gz",
    "usr/share/doc/debian/FAQ/debian-faq.en.txt.gz",
    "usr/share/developers-reference/developers-reference.txt.gz",
];
/// Pages that only list words of other pages.
const LISTS: [&str; 4] = ["systemd.directives.7", "systemd.index.7", "git-bundle-uri.1", "ioctl_list.2"];

/// The documents of a package of prose.
pub fn documents(package: &Package, deb: &Path, linux_folders: &[String]) -> Result<Vec<Document>> {
    let wanted = |path: &str| match package.group {
        Group::Man => man_page(path).is_some_and(|page| !LISTS.contains(&page.trim_end_matches(".gz"))),
        Group::Linux => {
            linux_text(path).is_some_and(|p| linux_folders.iter().any(|f| p.starts_with(&format!("{f}/"))))
        }
        Group::Debian => BOOKS.contains(&path),
        Group::PciIds | Group::UsbIds => false,
    };
    let mut documents = Vec::new();
    deb::files(deb, wanted, |entry| {
        let source = String::from_utf8_lossy(&entry.bytes);
        match package.group {
            Group::Man => {
                let page = man_page(&entry.path).unwrap_or(&entry.path);
                let text = man::text(&source).unwrap_or_default();
                parts("man", &format!("{}/{page}", package.name), &tidy(&text), LONG, &mut documents);
            }
            Group::Linux => {
                let page = linux_text(&entry.path).unwrap_or(&entry.path);
                parts(
                    "linux",
                    page.trim_end_matches(".rst.txt"),
                    &tidy(&rst::text(&source)),
                    LONG,
                    &mut documents,
                );
            }
            Group::Debian => {
                parts("debian", &package.name, &tidy(&rst::text(&source)), CHAPTER, &mut documents)
            }
            Group::PciIds | Group::UsbIds => {}
        }
    })?;
    documents.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(documents)
}

/// `ls.1` or `ls.1.gz` for a page in English.
fn man_page(path: &str) -> Option<&str> {
    let (section, page) = path.strip_prefix("usr/share/man/man")?.split_once('/')?;
    (section.len() == 1 && !page.contains('/')).then_some(page)
}

fn linux_text(path: &str) -> Option<&str> {
    path.strip_prefix(LINUX).filter(|p| p.ends_with(".rst.txt"))
}

/// Typographic characters as ASCII, long runs of spaces inside a line as two, other control characters dropped.
fn tidy(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.lines() {
        let indent = line.len() - line.trim_start_matches(' ').len();
        out.extend(std::iter::repeat_n(' ', indent));
        let mut spaces = 0;
        for c in line.trim().chars() {
            spaces = if c == ' ' || c == '\t' { spaces + 1 } else { 0 };
            match c {
                ' ' | '\t' | '\u{a0}' if spaces > 2 => {}
                '\t' | '\u{a0}' => out.push(' '),
                '‘' | '’' | '‚' | '′' => out.push('\''),
                '“' | '”' | '„' | '″' => out.push('"'),
                '–' | '—' | '‐' | '‑' | '−' => out.push('-'),
                '…' => out.push_str("..."),
                '•' | '·' => out.push('*'),
                '→' => out.push_str("->"),
                '←' => out.push_str("<-"),
                '≤' => out.push_str("<="),
                '≥' => out.push_str(">="),
                '×' => out.push('x'),
                '®' => out.push_str("(R)"),
                '©' => out.push_str("(C)"),
                '™' => out.push_str("(TM)"),
                'ﬀ'..='ﬆ' | '\u{200b}'..='\u{200f}' | '\u{feff}' | '\u{ad}' => {}
                c if c.is_control() => {}
                c => out.push(c),
            }
        }
        out.push('\n');
    }
    out
}

/// Adds a text as one document, or cut at headings once `least` bytes are reached.
fn parts(source: &str, name: &str, text: &str, least: usize, documents: &mut Vec<Document>) {
    let mut add = |number: usize, part: &str| {
        if part.trim().len() >= LEAST {
            let name = if number == 0 { name.to_string() } else { format!("{name}/{number}") };
            documents.push(Document::new(source, name, part));
        }
    };
    let (mut number, mut from, mut at) = (0, 0, 0);
    for line in text.split_inclusive('\n') {
        let is_heading = !line.starts_with([' ', '\n']);
        if is_heading && at - from >= least {
            add(number, text.get(from..at).unwrap_or(""));
            (number, from) = (number + 1, at);
        }
        at += line.len();
    }
    add(number, text.get(from..).unwrap_or(""));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_english_pages_are_taken() {
        assert_eq!(man_page("usr/share/man/man1/ls.1.gz"), Some("ls.1.gz"));
        assert_eq!(man_page("usr/share/man/de/man1/ls.1.gz"), None);
        assert_eq!(man_page("usr/share/man/man3pm/x.gz"), None);
    }

    #[test]
    fn long_texts_are_cut_at_headings_and_nothing_is_lost() {
        let text: String =
            (0..40).map(|n| format!("Heading {n}\n  {}\n\n", "word ".repeat(100).trim())).collect();
        let mut documents = Vec::new();
        parts("debian", "book", &text, 2000, &mut documents);
        assert!(documents.len() > 5);
        assert_eq!(documents.iter().map(|d| d.text.as_str()).collect::<String>(), text);
        assert_eq!(tidy("  a     b\u{a0}“c”\n"), "  a  b \"c\"\n");
    }
}
