//! A table, as aligned text for the terminal or as Markdown for a document.

/// How a table is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Aligned columns.
    Text,
    /// Markdown.
    Markdown,
}

/// Rows of cells under a header. Columns whose header begins with `>` are aligned to the right.
#[derive(Debug, Clone, Default)]
pub struct Table {
    header: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty table.
    pub fn new(header: &[&'static str]) -> Self {
        Self { header: header.to_vec(), rows: Vec::new() }
    }

    /// Adds a row, of as many cells as the header has.
    pub fn row(&mut self, cells: Vec<String>) {
        debug_assert_eq!(cells.len(), self.header.len());
        self.rows.push(cells);
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The text, each line ended.
    pub fn print(&self, style: Style) -> String {
        let columns = self.header.iter().map(|title| (title.trim_start_matches('>'), title.starts_with('>')));
        let columns: Vec<(&str, bool)> = columns.collect();
        let titles: Vec<String> = columns.iter().map(|(title, _)| (*title).to_owned()).collect();
        let width = |at: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(at));
            cells.chain([&titles[at]]).map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..titles.len()).map(width).collect();
        let line = |cells: &[String]| {
            let padded =
                cells.iter().zip(&widths).zip(&columns).map(|((cell, &width), (_, right))| match right {
                    true => format!("{cell:>width$}"),
                    false => format!("{cell:<width$}"),
                });
            match style {
                Style::Text => format!("{}\n", padded.collect::<Vec<_>>().join("  ").trim_end()),
                Style::Markdown => format!("| {} |\n", padded.collect::<Vec<_>>().join(" | ")),
            }
        };
        let mut text = line(&titles);
        if style == Style::Markdown {
            let rules = columns.iter().map(|(_, right)| if *right { "---:|" } else { "---|" });
            text += &format!("|{}\n", rules.collect::<String>());
        }
        self.rows.iter().for_each(|row| text += &line(row));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_in_both_styles() {
        let mut table = Table::new(&["name", ">value"]);
        table.row(vec!["a".into(), "1.5".into()]);
        table.row(vec!["longer".into(), "10.25".into()]);
        assert_eq!(table.print(Style::Text), "name    value\na         1.5\nlonger  10.25\n");
        assert_eq!(
            table.print(Style::Markdown),
            "| name   | value |\n|---|---:|\n| a      |   1.5 |\n| longer | 10.25 |\n"
        );
    }
}
