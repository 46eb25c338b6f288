//! Lines of a file in bounded memory, however long they are.

use std::io::{BufRead, Result};

/// One line, without its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// At most the limit's bytes.
    pub bytes: Vec<u8>,
    /// Whether the line was longer; what was over is gone.
    pub cut: bool,
}

/// The lines of a reader.
pub struct Lines<R> {
    reader: R,
    limit: usize,
}

impl<R: BufRead> Lines<R> {
    /// Lines of `reader`, of which at most `limit` bytes each are kept.
    pub fn new(reader: R, limit: usize) -> Self {
        Lines { reader, limit }
    }

    fn next_line(&mut self) -> Result<Option<Line>> {
        let mut line = Line { bytes: Vec::new(), cut: false };
        let mut any = false;
        loop {
            let buffer = match self.reader.fill_buf() {
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
                other => other?,
            };
            if buffer.is_empty() {
                return Ok(any.then_some(line));
            }
            any = true;
            let end = buffer.iter().position(|b| *b == b'\n');
            let part = buffer.get(..end.unwrap_or(buffer.len())).unwrap_or(buffer);
            let room = self.limit - line.bytes.len();
            line.cut |= part.len() > room;
            line.bytes.extend_from_slice(part.get(..room).unwrap_or(part));
            let used = part.len() + usize::from(end.is_some());
            self.reader.consume(used);
            if end.is_some() {
                return Ok(Some(line));
            }
        }
    }
}

impl<R: BufRead> Iterator for Lines<R> {
    type Item = Result<Line>;

    fn next(&mut self) -> Option<Result<Line>> {
        self.next_line().transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufReader, Read};

    #[test]
    fn lines_end_at_line_feeds_and_at_the_end_of_the_file() {
        let lines: Vec<Line> = Lines::new(&b"a\n\nlonger\nend"[..], 4).map(|l| l.unwrap()).collect();
        let line = |bytes: &[u8], cut| Line { bytes: bytes.to_vec(), cut };
        assert_eq!(lines, [line(b"a", false), line(b"", false), line(b"long", true), line(b"end", false)]);
        assert_eq!(Lines::new(&b""[..], 4).count(), 0);
    }

    #[test]
    fn a_gigabyte_without_line_feed_is_read_in_the_memory_of_its_limit() {
        let reader = BufReader::new(std::io::repeat(b'x').take(1 << 30).chain(&b"\nshort"[..]));
        let lines: Vec<Line> = Lines::new(reader, 1 << 20).map(|l| l.unwrap()).collect();
        assert_eq!(lines.len(), 2);
        assert!(lines[0].cut && lines[0].bytes.capacity() <= 2 << 20);
        assert_eq!(lines[1].bytes, b"short");
    }
}
