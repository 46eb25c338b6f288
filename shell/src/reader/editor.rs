//! The line editor: keys in, text and cursor out. No input or output of its own.

use super::complete::{Completer, common_prefix};
use super::history::History;
use super::keys::Key;
use super::line::Line;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// Longest line in bytes. A longer one is discarded as a whole: half a command is never run.
pub const MAX_LINE: usize = 4096;

/// What the reader has to do after a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Show the line and go on.
    Edit,
    /// The line is complete.
    Submit(String),
    /// Ctrl-C: this line is given up.
    Interrupt(String),
    /// Clear the screen, show the line and go on.
    Clear,
    /// Show these words below the line, then the line again.
    List(Vec<String>),
    /// The key has no effect here.
    Bell,
    /// The line became too long and is gone; keys are ignored up to Enter.
    TooLong,
    /// End of a line that was too long.
    Discarded,
}

/// What the screen shows.
pub struct View<'a> {
    /// Replaces the prompt during a search.
    pub prompt: Option<String>,
    /// The line.
    pub text: &'a str,
    /// Cursor in bytes.
    pub cursor: usize,
}

struct Search {
    query: String,
    // Index in the history.
    found: Option<usize>,
    failed: bool,
    // The line to come back to.
    draft: Line,
}

struct Browse {
    // Index in the history; the draft is behind the newest.
    at: usize,
    draft: String,
}

/// Editing state of one line at a time, the history, and the text killed last.
pub struct Editor {
    line: Line,
    history: History,
    browse: Option<Browse>,
    search: Option<Search>,
    killed: String,
    // The last key was a Tab that found nothing to add: the next one lists.
    tab: bool,
    discarding: bool,
}

impl Editor {
    /// An empty line and a history of `capacity` lines.
    pub fn new(capacity: usize) -> Self {
        Self {
            line: Line::default(),
            history: History::new(capacity),
            browse: None,
            search: None,
            killed: String::new(),
            tab: false,
            discarding: false,
        }
    }

    /// The history.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// Whether keys are ignored up to Enter.
    pub fn is_discarding(&self) -> bool {
        self.discarding
    }

    /// What to show.
    pub fn view(&self) -> View<'_> {
        let prompt = self.search.as_ref().map(|search| {
            let failed = if search.failed { "failed " } else { "" };
            format!("({failed}reverse-i-search)`{}': ", search.query)
        });
        View { prompt, text: self.line.text(), cursor: self.line.cursor() }
    }

    /// Takes a key.
    pub fn press(&mut self, key: Key, completer: &dyn Completer) -> Step {
        if self.discarding {
            return self.discard(key);
        }
        if self.search.is_some() {
            return self.press_in_search(key, completer);
        }
        let tab = core::mem::take(&mut self.tab);
        match key {
            Key::Char(c) | Key::Pasted(c) => return self.insert(c.encode_utf8(&mut [0; 4])),
            Key::Yank => return self.insert(&self.killed.clone()),
            Key::PasteEnd => {
                // The line end behind a copied line is not part of the command.
                while self.line.before().ends_with('\n') {
                    let left = self.line.left();
                    self.line.cut_to(left);
                }
            }
            Key::Enter => return self.submit(),
            Key::Interrupt => {
                let text = String::from(self.line.text());
                self.reset();
                return Step::Interrupt(text);
            }
            Key::Tab => return self.complete(completer, tab),
            Key::Clear => return Step::Clear,
            Key::Search => {
                let draft = self.line.clone();
                self.search = Some(Search { query: String::new(), found: None, failed: false, draft });
            }
            Key::Up => return self.browse(true),
            Key::Down => return self.browse(false),
            Key::Backspace => return self.cut(self.line.left(), false),
            Key::Delete | Key::EndOfInput => return self.cut(self.line.right(), false),
            Key::KillToEnd => return self.cut(self.line.end(), true),
            Key::KillToStart => return self.cut(0, true),
            Key::KillWordBack => return self.cut(self.line.blank_left(), true),
            Key::KillWordForward => return self.cut(self.line.word_right(), true),
            Key::Left => self.line.move_to(self.line.left()),
            Key::Right => self.line.move_to(self.line.right()),
            Key::WordLeft => self.line.move_to(self.line.word_left()),
            Key::WordRight => self.line.move_to(self.line.word_right()),
            Key::Home => self.line.move_to(0),
            Key::End => self.line.move_to(self.line.end()),
            Key::Cancel => return Step::Bell,
            // Not meant for an editor.
            Key::CursorAt { .. } => {}
        }
        Step::Edit
    }

    fn reset(&mut self) {
        self.line = Line::default();
        self.browse = None;
        self.search = None;
    }

    fn discard(&mut self, key: Key) -> Step {
        match key {
            Key::Enter | Key::Interrupt => {
                self.discarding = false;
                Step::Discarded
            }
            _ => Step::Edit,
        }
    }

    fn insert(&mut self, text: &str) -> Step {
        if self.line.end() + text.len() > MAX_LINE {
            self.reset();
            self.discarding = true;
            return Step::TooLong;
        }
        self.line.insert(text);
        Step::Edit
    }

    fn submit(&mut self) -> Step {
        let text = String::from(self.line.text());
        self.reset();
        self.history.add(&text);
        Step::Submit(text)
    }

    fn cut(&mut self, position: usize, kill: bool) -> Step {
        let text = self.line.cut_to(position);
        if text.is_empty() {
            return Step::Bell;
        }
        if kill {
            self.killed = text;
        }
        Step::Edit
    }

    fn browse(&mut self, older: bool) -> Step {
        let at = self.browse.as_ref().map_or(self.history.len(), |browse| browse.at);
        let next =
            if older { at.checked_sub(1) } else { at.checked_add(1).filter(|&n| n <= self.history.len()) };
        let Some(next) = next else { return Step::Bell };
        let browse = self.browse.get_or_insert_with(|| Browse { at, draft: String::from(self.line.text()) });
        browse.at = next;
        self.line = Line::new(self.history.get(next).unwrap_or(&browse.draft));
        if next == self.history.len() {
            self.browse = None;
        }
        Step::Edit
    }

    fn complete(&mut self, completer: &dyn Completer, again: bool) -> Step {
        let completion = completer.complete(self.line.before());
        let word = self.line.before().get(completion.start..).unwrap_or_default();
        let mut replacement = String::from(common_prefix(&completion.candidates));
        if completion.candidates.len() == 1 && !replacement.ends_with('=') {
            replacement.push(' ');
        }
        if replacement.len() > word.len() {
            if self.line.end() + replacement.len() - word.len() > MAX_LINE {
                return Step::Bell;
            }
            self.line.replace_from(completion.start, &replacement);
            return Step::Edit;
        }
        self.tab = true;
        if again && completion.candidates.len() > 1 { Step::List(completion.candidates) } else { Step::Bell }
    }

    fn press_in_search(&mut self, key: Key, completer: &dyn Completer) -> Step {
        let Some(mut search) = self.search.take() else { return Step::Edit };
        let newest = self.history.len();
        let from = match key {
            // The match at hand may go on matching the longer text.
            Key::Char(c) | Key::Pasted(c) if search.query.len() < MAX_LINE => {
                search.query.push(c);
                search.found.map_or(newest, |i| i + 1)
            }
            Key::Search => search.found.unwrap_or(newest),
            Key::Backspace => {
                search.query.pop();
                newest
            }
            Key::Char(_) | Key::Pasted(_) | Key::PasteEnd => {
                self.search = Some(search);
                return Step::Bell;
            }
            Key::Cancel => {
                self.line = search.draft;
                return Step::Edit;
            }
            // Any other key takes the line found and does there what it always does.
            _ => return self.press(key, completer),
        };
        if search.query.is_empty() {
            (search.found, search.failed) = (None, false);
            self.line = search.draft.clone();
        } else if let Some(i) = self.history.search(&search.query, from) {
            (search.found, search.failed) = (Some(i), false);
            let text = self.history.get(i).unwrap_or_default();
            self.line = Line::with_cursor(text, text.find(&search.query).unwrap_or(0));
        } else {
            search.failed = true;
        }
        let step = if search.failed { Step::Bell } else { Step::Edit };
        self.search = Some(search);
        step
    }
}
