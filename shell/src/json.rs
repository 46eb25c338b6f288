//! Writes JSON (RFC 8259) to a string.

use alloc::string::String;
use core::fmt::Write;

/// An object being written. Keys appear in the order of the calls.
pub(crate) struct Object<'a> {
    out: &'a mut String,
    first: bool,
}

/// A whole document: one object.
pub(crate) fn document(fill: impl FnOnce(&mut Object<'_>)) -> String {
    let mut out = String::new();
    object(&mut out, fill);
    out.push('\n');
    out
}

impl Object<'_> {
    fn key(&mut self, key: &str) -> &mut String {
        if !core::mem::replace(&mut self.first, false) {
            self.out.push(',');
        }
        string(self.out, key);
        self.out.push(':');
        self.out
    }

    /// A string.
    pub(crate) fn text(&mut self, key: &str, value: &str) -> &mut Self {
        string(self.key(key), value);
        self
    }

    /// A string or null.
    pub(crate) fn text_or_null(&mut self, key: &str, value: Option<&str>) -> &mut Self {
        match value {
            Some(value) => self.text(key, value),
            None => self.null(key),
        }
    }

    /// An integer.
    pub(crate) fn number(&mut self, key: &str, value: impl Into<u64>) -> &mut Self {
        let value: u64 = value.into();
        let _ = write!(self.key(key), "{value}");
        self
    }

    /// An integer that may be negative.
    pub(crate) fn integer(&mut self, key: &str, value: i64) -> &mut Self {
        let _ = write!(self.key(key), "{value}");
        self
    }

    /// An integer or null.
    pub(crate) fn number_or_null(&mut self, key: &str, value: Option<u64>) -> &mut Self {
        match value {
            Some(value) => self.number(key, value),
            None => self.null(key),
        }
    }

    /// A fraction with three decimals; null if there is none or it is not finite.
    pub(crate) fn decimal(&mut self, key: &str, value: impl Into<Option<f64>>) -> &mut Self {
        match value.into().filter(|v| v.is_finite()) {
            Some(value) => {
                let _ = write!(self.key(key), "{value:.3}");
                self
            }
            None => self.null(key),
        }
    }

    /// true or false.
    pub(crate) fn boolean(&mut self, key: &str, value: bool) -> &mut Self {
        self.key(key).push_str(if value { "true" } else { "false" });
        self
    }

    /// null.
    pub(crate) fn null(&mut self, key: &str) -> &mut Self {
        self.key(key).push_str("null");
        self
    }

    /// An object.
    pub(crate) fn object(&mut self, key: &str, fill: impl FnOnce(&mut Object<'_>)) -> &mut Self {
        object(self.key(key), fill);
        self
    }

    /// An array of objects.
    pub(crate) fn objects<T>(
        &mut self,
        key: &str,
        items: impl IntoIterator<Item = T>,
        mut fill: impl FnMut(&mut Object<'_>, T),
    ) -> &mut Self {
        array(self.key(key), items, |out, item| object(out, |o| fill(o, item)));
        self
    }

    /// An array of strings.
    pub(crate) fn texts<'t>(&mut self, key: &str, items: impl IntoIterator<Item = &'t str>) -> &mut Self {
        array(self.key(key), items, string);
        self
    }

    /// An array of integers that may be negative.
    pub(crate) fn integers(&mut self, key: &str, items: impl IntoIterator<Item = i64>) -> &mut Self {
        array(self.key(key), items, |out, n| {
            let _ = write!(out, "{n}");
        });
        self
    }

    /// An array of arrays of integers, each on a line of its own.
    #[cfg(feature = "ai-ops")]
    pub(crate) fn rows<const N: usize>(
        &mut self,
        key: &str,
        rows: impl IntoIterator<Item = [i64; N]>,
    ) -> &mut Self {
        array(self.key(key), rows, |out, row| {
            out.push('\n');
            array(out, row, |out, n| {
                let _ = write!(out, "{n}");
            });
        });
        self
    }

    /// An array of integers.
    pub(crate) fn numbers(&mut self, key: &str, items: impl IntoIterator<Item = u64>) -> &mut Self {
        array(self.key(key), items, |out, n| {
            let _ = write!(out, "{n}");
        });
        self
    }
}

fn object(out: &mut String, fill: impl FnOnce(&mut Object<'_>)) {
    out.push('{');
    fill(&mut Object { out, first: true });
    out.push('}');
}

fn array<T>(out: &mut String, items: impl IntoIterator<Item = T>, mut write: impl FnMut(&mut String, T)) {
    out.push('[');
    for (i, item) in items.into_iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        write(out, item);
    }
    out.push(']');
}

fn string(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn read_back_by_serde_json(text in any::<String>(), n: u64, x: f64, list in prop::collection::vec(any::<u64>(), 0..4)) {
            let json = document(|o| {
                o.text("text", &text).number("n", n).decimal("x", x).boolean("yes", true);
                o.object("inner", |o| {
                    o.texts("texts", [text.as_str(), ""]).numbers("list", list.iter().copied());
                });
                o.objects("items", list.iter(), |o, &i| {
                    o.number("i", i).null("nothing");
                });
            });
            let value: serde_json::Value = serde_json::from_str(&json).map_err(|e| TestCaseError::fail(e.to_string()))?;
            prop_assert_eq!(value["text"].as_str(), Some(text.as_str()));
            prop_assert_eq!(value["n"].as_u64(), Some(n));
            prop_assert!(value["x"].is_number());
            prop_assert_eq!(value["inner"]["texts"][0].as_str(), Some(text.as_str()));
            prop_assert_eq!(value["items"].as_array().map(|a| a.len()), Some(list.len()));
        }
    }
}
