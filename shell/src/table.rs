//! Aligned columns.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{self, Write};
use unicode_width::UnicodeWidthStr;

/// On which side the text of a column stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// Rows under a heading; each column is as wide as its widest cell, two blanks apart.
pub(crate) struct Table {
    columns: Vec<Align>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// Headings and alignments.
    pub(crate) fn new(columns: &[(&str, Align)]) -> Self {
        let heading = columns.iter().map(|(name, _)| String::from(*name)).collect();
        Self { columns: columns.iter().map(|(_, align)| *align).collect(), rows: Vec::from([heading]) }
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cells = |i: usize| self.rows.iter().filter_map(move |row| row.get(i));
        let widths: Vec<usize> =
            (0..self.columns.len()).map(|i| cells(i).map(|cell| cell.width()).max().unwrap_or(0)).collect();
        for row in &self.rows {
            let mut line = String::new();
            for ((cell, align), width) in row.iter().zip(&self.columns).zip(&widths) {
                let pad = width - cell.width();
                let (before, after) = if *align == Align::Right { (pad, 0) } else { (0, pad) };
                write!(line, "{:before$}{cell}{:after$}  ", "", "")?;
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn aligned() {
        let mut table = Table::new(&[("ID", Align::Right), ("NAME", Align::Left), ("N", Align::Right)]);
        table.row(["7".into(), "shell".into(), "1".into()]);
        table.row(["12".into(), "é".into(), "1000".into()]);
        assert_eq!(table.to_string(), "ID  NAME      N\n 7  shell     1\n12  é      1000\n");
    }
}
