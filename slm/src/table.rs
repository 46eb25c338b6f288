//! Aligned tables on standard output.

/// Rows of cells; the first row is the heading. Columns marked in `right` are aligned to the right.
pub struct Table {
    rows: Vec<Vec<String>>,
    right: Vec<bool>,
}

impl Table {
    /// A table with this heading; a leading `>` aligns the column to the right.
    pub fn new(heading: &[&str]) -> Self {
        let right = heading.iter().map(|h| h.starts_with('>')).collect();
        Table { rows: vec![heading.iter().map(|h| h.trim_start_matches('>').to_string()).collect()], right }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let columns = self.right.len();
        let width = |column: usize| {
            self.rows.iter().filter_map(|r| r.get(column)).map(|c| c.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for row in &self.rows {
            let mut line = String::new();
            for ((cell, width), right) in row.iter().zip(&widths).zip(&self.right) {
                let padded = if *right { format!("{cell:>width$}") } else { format!("{cell:<width$}") };
                line.push_str(&padded);
                line.push_str("  ");
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// A whole number with its thousands apart.
pub fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Bytes in MiB, small ones in KiB.
pub fn mib(bytes: u64) -> String {
    if bytes < 100 << 10 {
        return format!("{:.1} KiB", bytes as f64 / 1024.0);
    }
    format!("{:.1} MiB", bytes as f64 / (1 << 20) as f64)
}

/// A count of operations in millions or thousand millions.
pub fn operations(n: u64) -> String {
    if n >= 1_000_000_000 { format!("{:.2} G", n as f64 / 1e9) } else { format!("{:.1} M", n as f64 / 1e6) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(&["type", ">bytes"]);
        table.row(["F32".to_string(), grouped(1_234_567)]);
        assert_eq!(table.to_string(), "type      bytes\nF32   1,234,567\n");
        assert_eq!(grouped(12), "12");
        assert_eq!(mib(3 << 19), "1.5 MiB");
        assert_eq!(mib(512), "0.5 KiB");
        assert_eq!(operations(2_500_000_000), "2.50 G");
    }
}
