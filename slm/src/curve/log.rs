//! The log of a training: one row per optimiser step, comma-separated, written with each checkpoint.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

/// The log's first line.
pub const HEADER: &str = "step,tokens,seconds,learning_rate,train_loss,valid_loss";

/// A row of the log.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Optimiser steps so far.
    pub step: u64,
    /// Tokens seen so far.
    pub tokens: u64,
    /// Seconds of training so far, those before a resume included.
    pub seconds: f64,
    /// The learning rate of the step.
    pub learning_rate: f64,
    /// Mean loss of the step's batch, nats per token.
    pub train_loss: f64,
    /// Mean loss on the validation split, nats per token, where it was measured.
    pub valid_loss: Option<f64>,
}

/// A log of these rows.
pub fn to_csv(rows: &[Row]) -> String {
    let mut text = format!("{HEADER}\n");
    for r in rows {
        let valid = r.valid_loss.map_or_else(String::new, |v| format!("{v:.6}"));
        let (step, tokens, seconds, rate) = (r.step, r.tokens, r.seconds, r.learning_rate);
        text += &format!("{step},{tokens},{seconds:.1},{rate:.6e},{:.6},{valid}\n", r.train_loss);
    }
    text
}

/// Reads a log. A last line that ends in the middle, as after a power cut, is left out.
pub fn read(file: &Path) -> Result<Vec<Row>> {
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("cannot read {}; `auton train` writes it", file.display()))?;
    parse(&text).with_context(|| file.display().to_string())
}

fn parse(text: &str) -> Result<Vec<Row>> {
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let mut lines = whole.lines();
    ensure!(lines.next() == Some(HEADER), "the first line is not `{HEADER}`; this is no log of a training");
    let rows = lines.enumerate().filter(|(_, line)| !line.is_empty());
    rows.map(|(n, line)| row(line).with_context(|| format!("line {}: `{line}`", n + 2))).collect()
}

fn row(line: &str) -> Result<Row> {
    let cells: Vec<&str> = line.split(',').map(str::trim).collect();
    let [step, tokens, seconds, learning_rate, train_loss, valid_loss] = cells[..] else {
        anyhow::bail!("a row has 6 cells, this one {}", cells.len());
    };
    let number = |cell: &str| cell.parse::<f64>().with_context(|| format!("`{cell}` is no number"));
    let count = |cell: &str| cell.parse::<u64>().with_context(|| format!("`{cell}` is no whole number"));
    Ok(Row {
        step: count(step)?,
        tokens: count(tokens)?,
        seconds: number(seconds)?,
        learning_rate: number(learning_rate)?,
        train_loss: number(train_loss)?,
        valid_loss: if valid_loss.is_empty() { None } else { Some(number(valid_loss)?) },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back() {
        let text = format!("{HEADER}\n1,512,0.5,1e-4,8.31,\n2,1024,1.0,2e-4,8.1,8.2\n3,15");
        let rows = parse(&text).unwrap();
        assert_eq!(rows.len(), 2);
        assert_eq!((rows[0].step, rows[0].valid_loss), (1, None));
        assert_eq!((rows[1].tokens, rows[1].valid_loss), (1024, Some(8.2)));
    }

    #[test]
    fn what_is_no_log_is_refused_with_its_line() {
        let refused = |text: &str| format!("{:#}", parse(text).unwrap_err());
        assert!(refused("").contains("no log"));
        assert!(refused("a,b\n").contains("no log"));
        assert!(refused(&format!("{HEADER}\n1,2,3,4,5,\n1,2,x,4,5,6\n")).contains("line 3"));
        assert!(refused(&format!("{HEADER}\n1,2,3\n")).contains("6 cells, this one 3"));
        assert!(refused(&format!("{HEADER}\n1.5,2,3,4,5,6\n")).contains("whole number"));
    }
}
