//! Random grammars with a matcher so simple that it can be read: sets of positions, one expression at a time.

use llm::random::SplitMix64;
use proptest::prelude::*;
use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::OnceLock;

/// What a place may be.
#[derive(Debug, Clone)]
enum Expression {
    Literal(&'static str),
    Class(bool, Vec<(char, char)>),
    Any,
    Sequence(Vec<Expression>),
    Choice(Vec<Expression>),
    Repeat(Box<Expression>, u32, Option<u32>),
    /// `"(" rule ")"`, so that no rule begins with itself.
    Bracketed(usize),
    /// `"," rule`: at the end of a rule a list.
    Listed(usize),
}

/// Rules; the first is the root.
#[derive(Debug, Clone)]
pub struct Simple(Vec<Expression>);

const RULES: usize = 3;
const LITERALS: [&str; 10] = ["", "a", "b", "ab", "abc", "é", "語", "🙂", "a,", "aé"];

fn expression() -> impl Strategy<Value = Expression> {
    let range = prop::sample::select(vec![
        ('a', 'c'),
        ('b', 'b'),
        ('é', '語'),
        (' ', '~'),
        ('🙂', '\u{10FFFF}'),
        ('\0', '\u{D7FF}'),
    ]);
    let leaf = prop_oneof![
        4 => prop::sample::select(&LITERALS[..]).prop_map(Expression::Literal),
        2 => (any::<bool>(), prop::collection::vec(range, 1..3)).prop_map(|(no, ranges)| Expression::Class(no, ranges)),
        1 => Just(Expression::Any),
        1 => (0..RULES).prop_map(Expression::Bracketed),
        1 => (0..RULES).prop_map(Expression::Listed),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        let counts = prop::sample::select(vec![
            (0, None),
            (1, None),
            (0, Some(1)),
            (2, Some(2)),
            (1, Some(3)),
            (2, None),
            (0, Some(2)),
            (0, Some(0)),
        ]);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Expression::Sequence),
            prop::collection::vec(inner.clone(), 1..4).prop_map(Expression::Choice),
            (inner, counts).prop_map(|(item, (least, most))| Expression::Repeat(Box::new(item), least, most)),
        ]
    })
}

/// Grammars of three rules that may call each other. Every rule has a text: brackets and lists are optional somewhere.
pub fn grammars() -> impl Strategy<Value = Simple> {
    let rule = (expression(), prop::sample::select(&LITERALS[1..]))
        .prop_map(|(other, plain)| Expression::Choice(vec![other, Expression::Literal(plain)]));
    prop::collection::vec(rule, RULES).prop_map(Simple)
}

/// Ends of matches, and whether the text ended on the way of one.
#[derive(Default)]
struct Found {
    ends: BTreeSet<usize>,
    on_the_way: bool,
}

impl Simple {
    /// Whether `text` is one of the grammar's.
    pub fn matches(&self, text: &[u8]) -> bool {
        self.from(&self.0[0], text, 0).ends.contains(&text.len())
    }

    /// Whether a text of the grammar begins so.
    pub fn begins(&self, text: &[u8]) -> bool {
        let found = self.from(&self.0[0], text, 0);
        found.on_the_way || found.ends.contains(&text.len())
    }

    fn from(&self, expression: &Expression, text: &[u8], at: usize) -> Found {
        match expression {
            Expression::Literal(literal) => {
                let (rest, literal) = (&text[at..], literal.as_bytes());
                let mut found = Found { on_the_way: literal.starts_with(rest), ..Found::default() };
                if rest.starts_with(literal) {
                    found.ends.insert(at + literal.len());
                }
                found
            }
            Expression::Class(..) | Expression::Any => class_from(expression, text, at),
            Expression::Sequence(items) => {
                items.iter().fold(here(at), |found, item| self.then(found, item, text))
            }
            Expression::Choice(items) => items.iter().fold(Found::default(), |mut all, item| {
                let found = self.from(item, text, at);
                all.ends.extend(found.ends);
                all.on_the_way |= found.on_the_way;
                all
            }),
            Expression::Repeat(item, least, most) => {
                let mut found = (0..*least).fold(here(at), |found, _| self.then(found, item, text));
                let mut newest = found.ends.clone();
                let mut rounds = most.map_or(u32::MAX, |most| most - least);
                while rounds > 0 && !newest.is_empty() {
                    rounds -= 1;
                    let next = self.then(Found { ends: newest, on_the_way: false }, item, text);
                    found.on_the_way |= next.on_the_way;
                    newest = next.ends.difference(&found.ends).copied().collect();
                    found.ends.extend(next.ends);
                }
                found
            }
            Expression::Bracketed(rule) => {
                let open = self.from(&Expression::Literal("("), text, at);
                let inner = self.then(open, &self.0[*rule], text);
                self.then(inner, &Expression::Literal(")"), text)
            }
            Expression::Listed(rule) => {
                let comma = self.from(&Expression::Literal(","), text, at);
                self.then(comma, &self.0[*rule], text)
            }
        }
    }

    /// `next` behind all ends found so far.
    fn then(&self, before: Found, next: &Expression, text: &[u8]) -> Found {
        let mut all = Found { on_the_way: before.on_the_way, ..Found::default() };
        for at in before.ends {
            let found = self.from(next, text, at);
            all.ends.extend(found.ends);
            all.on_the_way |= found.on_the_way;
        }
        // Where the text ended before `next`, it is on the way too.
        all
    }

    /// A text of the grammar.
    pub fn draw(&self, random: &mut SplitMix64) -> String {
        let mut text = String::new();
        self.draw_from(&self.0[0], random, 0, &mut text);
        text
    }

    fn draw_from(&self, expression: &Expression, random: &mut SplitMix64, depth: usize, text: &mut String) {
        let below = |random: &mut SplitMix64, n: usize| (random.next_u64() % n as u64) as usize;
        match expression {
            Expression::Literal(literal) => text.push_str(literal),
            Expression::Class(..) | Expression::Any => loop {
                let c = char::from_u32((random.next_u64() as u32 & 0x1F_FFFF) >> (random.next_u64() % 15));
                if let Some(c) = c.filter(|c| allows(expression, *c)) {
                    return text.push(c);
                }
            },
            Expression::Sequence(items) => {
                items.iter().for_each(|item| self.draw_from(item, random, depth, text));
            }
            // Deep down, and in long texts, the last choice, which is a literal in every rule.
            Expression::Choice(items) => {
                let at =
                    if depth > 2 || text.len() > 12 { items.len() - 1 } else { below(random, items.len()) };
                self.draw_from(&items[at], random, depth, text);
            }
            Expression::Repeat(item, least, most) => {
                let more = most.map_or(3, |most| most - least) as usize;
                let times =
                    *least as usize + if depth > 2 || text.len() > 12 { 0 } else { below(random, more + 1) };
                (0..times).for_each(|_| self.draw_from(item, random, depth, text));
            }
            Expression::Bracketed(rule) => {
                text.push('(');
                self.draw_from(&self.0[*rule], random, depth + 1, text);
                text.push(')');
            }
            Expression::Listed(rule) => {
                text.push(',');
                self.draw_from(&self.0[*rule], random, depth + 1, text);
            }
        }
    }
}

fn here(at: usize) -> Found {
    Found { ends: BTreeSet::from([at]), on_the_way: false }
}

fn allows(class: &Expression, c: char) -> bool {
    match class {
        Expression::Class(negated, ranges) => ranges.iter().any(|(a, b)| (a..=b).contains(&&c)) != *negated,
        _ => true,
    }
}

/// One character of a class, whole, or the beginning of one at the end of the text.
fn class_from(class: &Expression, text: &[u8], at: usize) -> Found {
    let mut found = Found::default();
    let rest = &text[at..];
    if rest.is_empty() {
        found.on_the_way = true;
        return found;
    }
    for length in 1..=rest.len().min(4) {
        if let Ok(one) = std::str::from_utf8(&rest[..length]) {
            let c = one.chars().next().unwrap();
            if allows(class, c) {
                found.ends.insert(at + length);
            }
            return found;
        }
    }
    found.on_the_way = characters_beginning(rest).any(|c| allows(class, c));
    found
}

/// Of the characters that begin with `bytes` and are longer: the first and the last, and those beside the borders of the classes
/// above. Between them no class says one thing of one and another of the next.
fn characters_beginning(bytes: &[u8]) -> impl Iterator<Item = char> {
    static ENDS: OnceLock<HashMap<Vec<u8>, (char, char)>> = OnceLock::new();
    let ends = ENDS.get_or_init(|| {
        let mut ends = HashMap::new();
        for c in '\u{80}'..=char::MAX {
            let utf8 = c.to_string().into_bytes();
            for length in 1..utf8.len() {
                ends.entry(utf8[..length].to_vec()).or_insert((c, c)).1 = c;
            }
        }
        ends
    });
    let (first, last) = ends.get(bytes).copied().unzip();
    let borders = ['é', '語', '🙂', '\u{10FFFF}', '\u{D7FF}'].map(|c| c as u32);
    let near = borders.into_iter().flat_map(|b| [b - 1, b, b + 1]).filter_map(char::from_u32);
    let inside = near.filter(move |c| first.is_some_and(|f| f <= *c) && last.is_some_and(|l| *c <= l));
    first.into_iter().chain(last).chain(inside)
}

impl fmt::Display for Simple {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, rule) in self.0.iter().enumerate() {
            let name = if number == 0 { "root".to_string() } else { format!("r{number}") };
            writeln!(f, "{name} ::= {rule}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |rule: &usize| if *rule == 0 { "root".to_string() } else { format!("r{rule}") };
        let character = |c: char| format!("\\U{:08X}", c as u32);
        match self {
            Expression::Literal(text) => write!(f, "\"{text}\""),
            Expression::Class(negated, ranges) => {
                let ranges: String =
                    ranges.iter().map(|(a, b)| format!("{}-{}", character(*a), character(*b))).collect();
                write!(f, "[{}{ranges}]", if *negated { "^" } else { "" })
            }
            Expression::Any => write!(f, "."),
            Expression::Sequence(items) => {
                write!(f, "(")?;
                items.iter().try_for_each(|item| write!(f, " {item}"))?;
                write!(f, ")")
            }
            Expression::Choice(items) => {
                let items: Vec<String> = items.iter().map(Expression::to_string).collect();
                write!(f, "({})", items.join(" | "))
            }
            Expression::Repeat(item, least, most) => match most {
                Some(most) => write!(f, "({item}){{{least},{most}}}"),
                None if *least == 0 => write!(f, "({item})*"),
                None => write!(f, "({item}){{{least},}}"),
            },
            Expression::Bracketed(rule) => write!(f, "\"(\" {} \")\"", name(rule)),
            Expression::Listed(rule) => write!(f, "\",\" {}", name(rule)),
        }
    }
}
