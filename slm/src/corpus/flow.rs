//! Text as the model sees it: headings, paragraphs of one line each, indentation by what belongs to what, and no screen
//! layout. Every converter writes through this one, so that all sources look alike.

/// Collects words into paragraphs.
#[derive(Default)]
pub struct Flow {
    out: String,
    paragraph: String,
    /// Spaces before a paragraph's line.
    indent: usize,
    /// The next line follows the last without an empty one.
    close: bool,
    /// The last line is a heading: what it heads follows at once.
    headed: bool,
}

impl Flow {
    /// Adds running text to the open paragraph.
    pub fn words(&mut self, text: &str) {
        for word in text.split_whitespace() {
            if !self.paragraph.is_empty() && !self.paragraph.ends_with(GLUE) {
                self.paragraph.push(' ');
            }
            self.paragraph.truncate(self.paragraph.trim_end_matches(GLUE).len());
            self.paragraph.push_str(word);
        }
    }

    /// The next words follow without a space.
    pub fn glue(&mut self) {
        if !self.paragraph.is_empty() {
            self.paragraph.push(GLUE);
        }
    }

    /// Ends the paragraph: the next begins after an empty line.
    pub fn paragraph(&mut self) {
        self.line();
        self.close = self.headed;
    }

    /// Ends the line: the next follows at once.
    pub fn line(&mut self) {
        let text = std::mem::take(&mut self.paragraph);
        let text = text.trim_matches(|c: char| c == GLUE || c.is_whitespace());
        if !text.is_empty() {
            let text = text.replace(GLUE, "");
            self.put(&text, self.indent);
        }
        self.close = true;
    }

    /// A line as it stands, `extra` spaces deeper than the paragraphs around it.
    pub fn verbatim(&mut self, text: &str, extra: usize) {
        if !self.paragraph.is_empty() {
            self.paragraph();
        }
        self.put(text.trim_end(), self.indent + extra);
        self.close = true;
    }

    /// A heading: `depth` 0 stands at the margin.
    pub fn heading(&mut self, text: &str, depth: usize) {
        self.headed = false;
        self.paragraph();
        self.put(text.trim(), depth);
        (self.close, self.headed) = (true, true);
    }

    /// Where paragraphs begin from now on.
    pub fn indent(&mut self, spaces: usize) {
        self.indent = spaces.min(DEEPEST);
    }

    /// Whether words wait for the end of their paragraph.
    pub fn is_open(&self) -> bool {
        !self.paragraph.is_empty()
    }

    fn put(&mut self, text: &str, indent: usize) {
        if !self.out.is_empty() && !self.close && !self.out.ends_with("\n\n") {
            self.out.push('\n');
        }
        if text.trim().is_empty() {
            if !self.headed && !self.out.ends_with("\n\n") && !self.out.is_empty() {
                self.out.push('\n');
            }
            return;
        }
        self.headed = false;
        self.out.extend(std::iter::repeat_n(' ', indent));
        self.out.push_str(text);
        self.out.push('\n');
    }

    /// The text.
    pub fn finish(mut self) -> String {
        self.paragraph();
        self.out.truncate(self.out.trim_end().len());
        if !self.out.is_empty() {
            self.out.push('\n');
        }
        self.out
    }
}

/// Marks, inside a paragraph, that the next word follows without a space. No text holds it: converters drop control
/// characters.
const GLUE: char = '\u{1}';
/// Deeper than this nothing is indented.
const DEEPEST: usize = 12;
