//! The lines of a roff source with what is conditional, defined or set aside already decided, as for a terminal (`nroff`).

/// A line of roff.
#[derive(Debug, PartialEq, Eq)]
pub enum Line<'r> {
    /// A request or macro with the rest of its line.
    Macro(&'r str, &'r str),
    /// Text.
    Text(&'r str),
}

/// Gives `take` the lines that a terminal would see.
pub fn lines<'r>(source: &'r str, mut take: impl FnMut(Line<'r>)) {
    let mut state = State { skip_until: None, blocks: Vec::new(), last_if: false };
    for line in source.lines() {
        state.line(line, &mut take);
    }
}

/// A longer request is passed over: conditions nest in a line, and each costs stack.
const LONGEST_REQUEST: usize = 4096;

struct State<'r> {
    /// Inside `.de`, `.ig`, `.TS`, `.EQ`: nothing is shown up to this request.
    skip_until: Option<&'r str>,
    /// Open `\{` blocks: whether each is shown.
    blocks: Vec<bool>,
    /// What the last `.ie` decided, for its `.el`.
    last_if: bool,
}

impl<'r> State<'r> {
    fn line(&mut self, line: &'r str, take: &mut impl FnMut(Line<'r>)) {
        let control = line.strip_prefix('.').or_else(|| line.strip_prefix('\''));
        let request = control.map(str::trim_start);
        if let Some(end) = self.skip_until {
            let is_end = request.is_some_and(|r| r.split_whitespace().next().unwrap_or("") == end);
            if is_end || (end == "." && line.trim_end() == "..") {
                self.skip_until = None;
            }
            return;
        }
        // A block ends where `\}` stands, at whatever place of the line.
        let closed = line.matches("\\}").count();
        match request {
            Some(request) if request.len() > LONGEST_REQUEST => {}
            Some(request) => self.request(request, take),
            None => {
                let text = line.split("\\}").next().unwrap_or(line);
                if self.shown() && !(closed > 0 && text.trim().is_empty()) {
                    take(Line::Text(text));
                }
            }
        }
        for _ in 0..closed {
            self.blocks.pop();
        }
    }

    fn shown(&self) -> bool {
        self.blocks.iter().all(|shown| *shown)
    }

    fn request(&mut self, request: &'r str, take: &mut impl FnMut(Line<'r>)) {
        let request = request.strip_suffix("\\}").unwrap_or(request);
        let name = request.split(|c: char| c.is_whitespace() || c == '\\').next().unwrap_or("");
        let rest = request.get(name.len()..).unwrap_or("").trim_start();
        match name {
            "" => {}
            "if" | "ie" => {
                let (decided, rest) = condition(rest);
                if name == "ie" {
                    self.last_if = decided;
                }
                self.branch(decided, rest, take);
            }
            "el" => self.branch(!self.last_if, rest, take),
            "while" => self.branch(false, condition(rest).1, take),
            "de" | "de1" | "am" | "dei" | "ami" => {
                self.skip_until = Some(rest.split_whitespace().nth(1).unwrap_or("."));
            }
            "ig" => self.skip_until = Some(rest.split_whitespace().next().unwrap_or(".")),
            "TS" => self.skip_until = Some("TE"),
            "EQ" => self.skip_until = Some("EN"),
            "PS" => self.skip_until = Some("PE"),
            _ if self.shown() => take(Line::Macro(name, rest)),
            _ => {}
        }
    }

    /// What follows a condition: a block, or the rest of the line.
    fn branch(&mut self, decided: bool, rest: &'r str, take: &mut impl FnMut(Line<'r>)) {
        let rest = rest.trim_start();
        if let Some(inside) = rest.strip_prefix("\\{") {
            self.blocks.push(decided);
            let inside = inside.trim_start().trim_end_matches('\\');
            if !inside.is_empty() {
                self.one(inside, take);
            }
        } else if decided && !rest.is_empty() {
            self.one(rest, take);
        }
    }

    fn one(&mut self, line: &'r str, take: &mut impl FnMut(Line<'r>)) {
        match line.strip_prefix('.').or_else(|| line.strip_prefix('\'')) {
            Some(request) => self.request(request.trim_start(), take),
            None if self.shown() => take(Line::Text(line)),
            None => {}
        }
    }
}

/// Decides a condition for a terminal; returns what follows it.
fn condition(text: &str) -> (bool, &str) {
    let text = text.trim_start();
    if let Some(text) = text.strip_prefix('!') {
        let (decided, rest) = condition(text);
        return (!decided, rest);
    }
    let mut letters = text.chars();
    match letters.next() {
        Some('n' | 'o') if !text.starts_with("ne") => (true, letters.as_str()),
        Some('t' | 'e' | 'v') => (false, letters.as_str()),
        // A comparison of strings: the first delimiter thrice.
        Some(quote @ ('\'' | '"')) => {
            let mut parts = letters.as_str().splitn(3, quote);
            let (a, b) = (parts.next(), parts.next());
            (a == b && a.is_some(), parts.next().unwrap_or(""))
        }
        // `\n(.g` is 1 in groff; other registers are 0 here.
        _ => {
            let mut depth = 0usize;
            let end = text.char_indices().find(|(at, c)| {
                match c {
                    '(' if !text.get(..*at).is_some_and(|t| t.ends_with("\\n")) => depth += 1,
                    ')' => depth = depth.saturating_sub(1),
                    _ => {}
                }
                depth == 0 && c.is_whitespace()
            });
            let end = end.map_or(text.len(), |(at, _)| at);
            (text.starts_with("\\n(.g") || text.starts_with("\\n[.g]"), text.get(end..).unwrap_or(""))
        }
    }
}
