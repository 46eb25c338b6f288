//! What the program prints: text for people, or JSON for programs.

use crate::error::Error;
use serde_json::{Map, Value, json};
use std::io::{self, Write};

/// Where results go.
pub struct Output {
    command: &'static str,
    json: bool,
    /// A result was printed: an error after it is not printed as JSON once more.
    told: bool,
    out: Box<dyn Write>,
}

impl Output {
    /// For one command, to standard output.
    pub fn new(command: &'static str, json: bool) -> Self {
        Self { command, json, told: false, out: Box::new(io::stdout()) }
    }

    /// Whether JSON is wanted.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// The result: `fields` as JSON, or `text`.
    pub fn result(&mut self, ok: bool, fields: Value, text: &str) -> Result<(), Error> {
        self.told = true;
        match self.json {
            true => self.object("result", Some(ok), fields),
            false => self.text(text),
        }
    }

    /// Something on the way to the result, where JSON is wanted.
    pub fn event(&mut self, event: &str, fields: Value) -> Result<(), Error> {
        if self.json { self.object(event, None, fields) } else { Ok(()) }
    }

    /// Text as it is.
    pub fn text(&mut self, text: &str) -> Result<(), Error> {
        self.bytes(text.as_bytes())
    }

    /// The error that the command ends with.
    pub fn error(&mut self, error: &Error) {
        if self.json && !self.told {
            let mut fields =
                json!({ "error": error.kind(), "exit": error.exit_code(), "text": error.to_string() });
            if let Error::Refused { reason, retry_after_ms, text } = error {
                fields["reason"] = json!(reason.name());
                fields["retry_after_ms"] = json!(retry_after_ms);
                fields["text"] = json!(text);
            }
            // Where the output is closed, nobody can be told.
            let _ = self.object("error", Some(false), fields);
        } else if !self.json {
            eprintln!("error: {error}");
        }
    }

    fn object(&mut self, event: &str, ok: Option<bool>, fields: Value) -> Result<(), Error> {
        let mut object = Map::new();
        object.insert("command".into(), json!(self.command));
        object.insert("event".into(), json!(event));
        object.extend(ok.map(|ok| ("ok".into(), json!(ok))));
        if let Value::Object(fields) = fields {
            object.extend(fields);
        }
        self.text(&format!("{}\n", Value::Object(object)))
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let written = self.out.write_all(bytes).and_then(|()| self.out.flush());
        written.map_err(|source| Error::Local { what: "standard output".into(), source })
    }
}
