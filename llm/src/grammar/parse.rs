//! A grammar's text to its rules, in the notation of llama.cpp's GBNF.

use super::error::{GrammarError, GrammarFault};
use super::expression::{Expression, LAST_CHARACTER, Range, Rule, class};
use crate::error::Quoted;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

/// Longest text of a grammar, in bytes.
pub const MAX_TEXT: usize = 64 << 10;
/// Most rules.
pub const MAX_RULES: usize = 1024;
/// Deepest nesting of parentheses.
pub const MAX_NESTING: usize = 16;
/// Repetitions of one item, such as `"a"?*`.
const MAX_REPEATS: usize = 2;
/// Largest number in `{m,n}`.
pub const MAX_REPETITIONS: u32 = 65_535;

/// All rules of `text`, each with a body; the number of `root`.
pub(super) fn parse(text: &str) -> Result<(Vec<Rule<'_>>, usize), GrammarError> {
    let mut parser = Parser { text, at: 0, names: BTreeMap::new(), rules: Vec::new() };
    if text.len() > MAX_TEXT {
        return Err(parser.error(GrammarFault::TooLarge { what: "bytes", limit: MAX_TEXT }));
    }
    parser.space(true);
    while parser.peek().is_some() {
        parser.rule()?;
    }
    if let Some(rule) = parser.rules.iter().find(|rule| rule.body.is_none()) {
        let fault = GrammarFault::UndefinedRule { name: Quoted::new(rule.name.as_bytes()) };
        return Err(error_at(text, rule.at, fault));
    }
    let root = parser.names.get("root").copied();
    root.map_or_else(|| Err(error_at(text, 0, GrammarFault::NoRoot)), |root| Ok((parser.rules, root)))
}

/// `fault` at the byte `at` of `text`.
pub(super) fn error_at(text: &str, at: usize, fault: GrammarFault) -> GrammarError {
    let before = text.get(..at).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let line = 1 + before.matches('\n').count();
    let column = 1 + before.get(line_start..).unwrap_or_default().chars().count();
    GrammarError { line, column, fault }
}

/// A place in the text.
struct Parser<'t> {
    text: &'t str,
    at: usize,
    names: BTreeMap<&'t str, usize>,
    rules: Vec<Rule<'t>>,
}

type Parsed<T> = Result<T, GrammarError>;

impl<'t> Parser<'t> {
    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    /// Steps over `c` if it is next.
    fn eat(&mut self, c: char) -> bool {
        let there = self.peek() == Some(c);
        if there {
            self.at += c.len_utf8();
        }
        there
    }

    fn error(&self, fault: GrammarFault) -> GrammarError {
        error_at(self.text, self.at, fault)
    }

    fn unexpected(&self, wanted: &'static str) -> GrammarError {
        let mut utf8 = [0; 4];
        let found = self.peek().map_or("the end", |c| c.encode_utf8(&mut utf8));
        self.error(GrammarFault::Unexpected { wanted, found: Quoted::new(found.as_bytes()) })
    }

    /// Steps over blanks and comments, over line ends too where they mean nothing.
    fn space(&mut self, newlines: bool) {
        while let Some(c) = self.peek() {
            match c {
                ' ' | '\t' => self.at += 1,
                '\r' | '\n' if newlines => self.at += 1,
                '#' => self.at += self.rest().find(['\r', '\n']).unwrap_or(self.rest().len()),
                _ => return,
            }
        }
    }

    /// `name ::= alternatives`, to the end of its line.
    fn rule(&mut self) -> Parsed<()> {
        let at = self.at;
        let name = self.name()?;
        self.space(false);
        if !self.rest().starts_with("::=") {
            return Err(self.unexpected("::= behind the rule's name"));
        }
        self.at += 3;
        self.space(true);
        let rule = self.number_of(name, at)?;
        if self.rules.get(rule).is_some_and(|rule| rule.body.is_some()) {
            let fault = GrammarFault::DuplicateRule { name: Quoted::new(name.as_bytes()) };
            return Err(error_at(self.text, at, fault));
        }
        let body = self.alternatives(0)?;
        if let Some(rule) = self.rules.get_mut(rule) {
            (rule.body, rule.at) = (Some(body), at);
        }
        if !matches!(self.peek(), None | Some('\r' | '\n')) {
            return Err(self.unexpected("an item, | or the end of the line"));
        }
        self.space(true);
        Ok(())
    }

    fn name(&mut self) -> Parsed<&'t str> {
        let rest = self.rest();
        let length = rest.find(|c: char| !is_word(c)).unwrap_or(rest.len());
        if length == 0 {
            return Err(self.unexpected("a rule's name (letters, digits and -)"));
        }
        self.at += length;
        Ok(rest.get(..length).unwrap_or_default())
    }

    /// The rule of this name, which may be defined later.
    fn number_of(&mut self, name: &'t str, at: usize) -> Parsed<usize> {
        if let Some(&rule) = self.names.get(name) {
            return Ok(rule);
        }
        if self.rules.len() == MAX_RULES {
            let fault = GrammarFault::TooLarge { what: "rules", limit: MAX_RULES };
            return Err(error_at(self.text, at, fault));
        }
        self.rules.push(Rule { name, at, body: None });
        self.names.insert(name, self.rules.len() - 1);
        Ok(self.rules.len() - 1)
    }

    fn alternatives(&mut self, depth: usize) -> Parsed<Expression> {
        let mut choices = Vec::from([self.sequence(depth)?]);
        while self.eat('|') {
            self.space(true);
            choices.push(self.sequence(depth)?);
        }
        Ok(if choices.len() > 1 { Expression::Choice(choices) } else { choices.remove(0) })
    }

    /// Items up to something that is none. In parentheses lines may end anywhere.
    fn sequence(&mut self, depth: usize) -> Parsed<Expression> {
        let mut items = Vec::new();
        // Repetitions of repetitions nest too.
        let mut repeats = 0;
        while let Some(c) = self.peek() {
            let at = self.at;
            if matches!(c, '*' | '+' | '?' | '{') {
                repeats += 1;
                self.check_depth(repeats, MAX_REPEATS)?;
                self.repeat(&mut items)?;
                self.space(depth > 0);
                continue;
            }
            repeats = 0;
            let item = match c {
                '"' => self.literal()?,
                '[' => self.class()?,
                '.' => {
                    self.at += 1;
                    Expression::Class(class(Vec::new(), true))
                }
                '(' => {
                    self.at += 1;
                    self.space(true);
                    self.check_depth(depth + 1, MAX_NESTING)?;
                    let inner = self.alternatives(depth + 1)?;
                    match self.peek() {
                        Some(')') => self.at += 1,
                        Some(_) => return Err(self.unexpected("an item, | or )")),
                        None => {
                            let fault = GrammarFault::NotClosed { what: "the group", close: ')' };
                            return Err(error_at(self.text, at, fault));
                        }
                    }
                    inner
                }
                '<' | '!' => return Err(self.error(GrammarFault::TokenReference)),
                c if is_word(c) => {
                    let name = self.name()?;
                    Expression::Rule(self.number_of(name, at)?)
                }
                _ => break,
            };
            items.push(item);
            self.space(depth > 0);
        }
        Ok(if items.len() == 1 { items.remove(0) } else { Expression::Sequence(items) })
    }

    fn check_depth(&self, depth: usize, limit: usize) -> Parsed<()> {
        if depth > limit {
            return Err(self.error(GrammarFault::TooDeep { limit }));
        }
        Ok(())
    }

    /// Wraps the last item.
    fn repeat(&mut self, items: &mut Vec<Expression>) -> Parsed<()> {
        let Some(item) = items.pop() else { return Err(self.error(GrammarFault::NothingToRepeat)) };
        let at = self.at;
        let sign = self.peek();
        self.at += 1;
        let (least, most) = match sign {
            Some('*') => (0, None),
            Some('+') => (1, None),
            Some('?') => (0, Some(1)),
            _ => self.counts()?,
        };
        if let Some(most) = most.filter(|&most| most < least) {
            let fault = GrammarFault::BackwardsRepetition { least, most };
            return Err(error_at(self.text, at, fault));
        }
        items.push(Expression::Repeat { item: Box::new(item), least, most });
        Ok(())
    }

    /// `m}`, `m,}` or `m,n}`.
    fn counts(&mut self) -> Parsed<(u32, Option<u32>)> {
        self.space(false);
        let least = self.number()?;
        self.space(false);
        if self.eat('}') {
            return Ok((least, Some(least)));
        }
        if !self.eat(',') {
            return Err(self.unexpected(", or } behind the number of repetitions"));
        }
        self.space(false);
        let most = if self.peek() == Some('}') { None } else { Some(self.number()?) };
        self.space(false);
        if self.eat('}') { Ok((least, most)) } else { Err(self.unexpected("} behind the repetitions")) }
    }

    fn number(&mut self) -> Parsed<u32> {
        let rest = self.rest();
        let length = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        if length == 0 {
            return Err(self.unexpected("a number of repetitions"));
        }
        let number: Option<u32> = rest.get(..length).and_then(|digits| digits.parse().ok());
        let fault = GrammarFault::TooManyRepetitions { limit: MAX_REPETITIONS };
        let number = number.filter(|&n| n <= MAX_REPETITIONS).ok_or_else(|| self.error(fault))?;
        self.at += length;
        Ok(number)
    }

    fn literal(&mut self) -> Parsed<Expression> {
        let start = self.at;
        self.at += 1;
        let mut text = String::new();
        while !self.eat('"') {
            let at = self.at;
            let Some(code) = self.character()? else {
                let fault = GrammarFault::NotClosed { what: "the literal", close: '"' };
                return Err(error_at(self.text, start, fault));
            };
            let c = char::from_u32(code);
            text.push(c.ok_or_else(|| error_at(self.text, at, GrammarFault::NoCharacter { code }))?);
        }
        Ok(Expression::Literal(text))
    }

    fn class(&mut self) -> Parsed<Expression> {
        let start = self.at;
        self.at += 1;
        let negated = self.eat('^');
        let mut ranges: Vec<Range> = Vec::new();
        let open = || error_at(self.text, start, GrammarFault::NotClosed { what: "the class", close: ']' });
        let open = open();
        while !self.eat(']') {
            let at = self.at;
            let Some(first) = self.character()? else { return Err(open) };
            let mut last = first;
            // A - before the end stands for itself.
            if self.peek() == Some('-') && !self.rest().starts_with("-]") {
                self.at += 1;
                let Some(end) = self.character()? else { return Err(open) };
                last = end;
            }
            if last < first {
                return Err(error_at(self.text, at, GrammarFault::BackwardsRange));
            }
            ranges.push((first, last));
        }
        let nothing_named = ranges.is_empty();
        let ranges = class(ranges, negated);
        if ranges.is_empty() || nothing_named {
            return Err(error_at(self.text, start, GrammarFault::EmptyClass));
        }
        Ok(Expression::Class(ranges))
    }

    /// The next character, escaped or not; `None` at the end of the text.
    fn character(&mut self) -> Parsed<Option<u32>> {
        let mut chars = self.rest().chars();
        let Some(c) = chars.next() else { return Ok(None) };
        if c != '\\' {
            self.at += c.len_utf8();
            return Ok(Some(c.into()));
        }
        let Some(escaped) = chars.next() else { return Ok(None) };
        let plain = match escaped {
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            '\\' | '"' | '[' | ']' | '-' => escaped,
            'x' => return self.hexadecimal(2).map(Some),
            'u' => return self.hexadecimal(4).map(Some),
            'U' => return self.hexadecimal(8).map(Some),
            _ => {
                let found = self.rest().get(..1 + escaped.len_utf8()).unwrap_or_default();
                return Err(self.error(GrammarFault::BadEscape { found: Quoted::new(found.as_bytes()) }));
            }
        };
        self.at += 2;
        Ok(Some(plain.into()))
    }

    /// The code point behind `\x`, `\u` or `\U`.
    fn hexadecimal(&mut self, digits: usize) -> Parsed<u32> {
        let text = self.rest().get(2..2 + digits).filter(|text| text.bytes().all(|b| b.is_ascii_hexdigit()));
        let code = text.and_then(|text| u32::from_str_radix(text, 16).ok());
        let code = code.ok_or_else(|| self.error(GrammarFault::BadHex { digits }))?;
        if code > LAST_CHARACTER {
            return Err(self.error(GrammarFault::NoCharacter { code }));
        }
        self.at += 2 + digits;
        Ok(code)
    }
}

/// A character of rules' names.
fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '-'
}
