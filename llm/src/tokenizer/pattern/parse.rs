//! The text of a pattern as a tree: the part of ECMAScript's grammar that pre-tokenizers use.

use super::class::{Class, Set};
use crate::tokenizer::classes::Properties;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::iter::Peekable;
use core::str::Chars;

/// A part of a pattern.
#[derive(Debug, Clone)]
pub(super) enum Node {
    /// One character.
    One(Class),
    /// Each after the other.
    Sequence(Vec<Node>),
    /// The first that matches.
    Choice(Vec<Node>),
    /// As often as possible, but not more than `most` times.
    Repeat { node: Box<Node>, least: u32, most: u32 },
    /// The next character is of the class; nothing is consumed.
    Followed(Class),
    /// The next character is not of the class, or there is none.
    NotFollowed(Class),
    /// The end of the text.
    End,
}

/// No upper bound.
pub(super) const UNBOUNDED: u32 = u32::MAX;

/// The alternatives of `pattern`; `None` where it is not of the grammar.
pub(super) fn parse(pattern: &str) -> Option<Vec<Node>> {
    let mut rest = pattern.chars().peekable();
    let alternatives = choice(&mut rest)?;
    rest.next().is_none().then_some(alternatives)
}

type Rest<'p> = Peekable<Chars<'p>>;

/// Alternatives up to the end or a closing parenthesis.
fn choice(rest: &mut Rest<'_>) -> Option<Vec<Node>> {
    let mut alternatives = [sequence(rest)?].to_vec();
    while rest.next_if_eq(&'|').is_some() {
        alternatives.push(sequence(rest)?);
    }
    Some(alternatives)
}

fn sequence(rest: &mut Rest<'_>) -> Option<Node> {
    let mut nodes: Vec<Node> = Vec::new();
    while rest.peek().is_some_and(|c| !matches!(c, '|' | ')')) {
        let atom = atom(rest)?;
        let node = quantified(atom, rest)?;
        // A look at a character and then the character itself are one class; runs of it need no stack.
        match (nodes.pop(), node) {
            (Some(Node::Followed(look)), Node::One(class)) => nodes.push(Node::One(look.and(class))),
            (Some(Node::NotFollowed(look)), Node::One(class)) => {
                nodes.push(Node::One(look.complement()?.and(class)));
            }
            (before, node) => nodes.extend(before.into_iter().chain([node])),
        }
    }
    Some(if nodes.len() == 1 { nodes.pop()? } else { Node::Sequence(nodes) })
}

fn atom(rest: &mut Rest<'_>) -> Option<Node> {
    Some(match rest.next()? {
        '(' => group(rest)?,
        '[' => Node::One(Class::new(bracket(rest)?)),
        '\\' => Node::One(Class::new(escape(rest)?)),
        '$' => Node::End,
        // Not in the patterns, so not here either.
        '.' | '^' | '*' | '+' | '?' | '{' | ']' | '}' => return None,
        c => Node::One(Class::new(Set::of(c))),
    })
}

/// A group behind its opening parenthesis: `(…)`, `(?:…)`, `(?=…)`, `(?!…)`. Looks are at one character only.
fn group(rest: &mut Rest<'_>) -> Option<Node> {
    let kind = match rest.next_if_eq(&'?') {
        Some(_) => rest.next()?,
        None => ':',
    };
    let mut alternatives = choice(rest)?;
    rest.next_if_eq(&')')?;
    let node = if alternatives.len() == 1 { alternatives.pop()? } else { Node::Choice(alternatives) };
    match (kind, node) {
        (':', node) => Some(node),
        ('=', Node::One(class)) => Some(Node::Followed(class)),
        ('!', Node::One(class)) => Some(Node::NotFollowed(class)),
        _ => None,
    }
}

fn quantified(node: Node, rest: &mut Rest<'_>) -> Option<Node> {
    let (least, most) = match rest.peek() {
        Some('*') => (0, UNBOUNDED),
        Some('+') => (1, UNBOUNDED),
        Some('?') => (0, 1),
        Some('{') => {
            rest.next();
            let least = number(rest)?;
            let most = if rest.next_if_eq(&',').is_some() { number(rest)? } else { least };
            (least, most)
        }
        _ => return Some(node),
    };
    // The quantifier, or the brace that closes it.
    rest.next().filter(|c| matches!(c, '*' | '+' | '?' | '}'))?;
    Some(Node::Repeat { node: Box::new(node), least, most })
}

fn number(rest: &mut Rest<'_>) -> Option<u32> {
    let mut value = rest.next()?.to_digit(10)?;
    while let Some(digit) = rest.peek().and_then(|c| c.to_digit(10)) {
        rest.next();
        value = value.checked_mul(10)?.checked_add(digit)?;
    }
    Some(value)
}

/// A class behind its opening bracket.
fn bracket(rest: &mut Rest<'_>) -> Option<Set> {
    let negated = rest.next_if_eq(&'^').is_some();
    let mut set = Set::default();
    loop {
        let item = match rest.next()? {
            ']' => break,
            '\\' => escape(rest)?,
            c => Set::of(c),
        };
        if rest.next_if_eq(&'-').is_none() {
            set.add(&item);
            continue;
        }
        // A range between two characters; a hyphen before the closing bracket is itself.
        let last = match rest.next()? {
            ']' => {
                set.add(&item);
                set.add(&Set::of('-'));
                break;
            }
            '\\' => escape(rest)?,
            c => Set::of(c),
        };
        match (item.ranges.as_slice(), last.ranges.as_slice()) {
            (&[(first, same)], &[(last, _)]) if first == same && first <= last => {
                set.ranges.push((first, last));
            }
            _ => return None,
        }
    }
    Some(if negated { set.complement() } else { set })
}

/// What stands behind a backslash.
fn escape(rest: &mut Rest<'_>) -> Option<Set> {
    Some(match rest.next()? {
        'r' => Set::of('\r'),
        'n' => Set::of('\n'),
        't' => Set::of('\t'),
        's' => Set::having(Properties::SPACE),
        'S' => Set::having(Properties::SPACE).complement(),
        'd' => Set { ranges: [('0', '9')].into(), ..Set::default() },
        'p' => property(rest)?,
        c if c.is_ascii_punctuation() => Set::of(c),
        _ => return None,
    })
}

/// `{L}` and the like. The letters' cases are all letters: llama.cpp does not tell them apart.
fn property(rest: &mut Rest<'_>) -> Option<Set> {
    rest.next_if_eq(&'{')?;
    let mut name = [' '; 4];
    let mut length = 0;
    while let Some(c) = rest.next_if(|&c| c != '}') {
        *name.get_mut(length)? = c;
        length += 1;
    }
    rest.next_if_eq(&'}')?;
    let properties = match name.get(..length)? {
        ['L'] | ['L', 'u' | 'l' | 't' | 'm' | 'o'] => Properties::LETTER,
        ['N'] => Properties::NUMBER,
        ['P'] => Properties::PUNCTUATION,
        ['S'] => Properties::SYMBOL,
        ['M'] => Properties::MARK,
        ['H', 'a', 'n'] => Properties::HAN,
        _ => return None,
    };
    Some(Set::having(properties))
}
