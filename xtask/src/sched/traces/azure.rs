//! Azure's public traces: requests to a language model, and calls of functions.

use super::{Job, OpenTrace, Trace};
use anyhow::{Context, Result};
use sched::{Origin, key};

/// Tokens a second, of the project's medium model on one thread (`docs/plans/llm.md`): reading a prompt, and writing.
const READ: f64 = 169.0;
const WRITE: f64 = 58.0;

/// `TIMESTAMP,ContextTokens,GeneratedTokens`: work as the project's own model would have; the context is known when a request comes.
pub(super) fn parse_llm(text: &str) -> Result<Trace> {
    let job = |line: &str| -> Option<Job> {
        let mut fields = line.split(',');
        let submit = seconds(fields.next()?)?;
        let context: f64 = fields.next()?.trim().parse().ok()?;
        let generated: f64 = fields.next()?.trim().parse().ok()?;
        let origin = Origin { program: key("llm"), owner: 0, declared: context as u64 + 1 };
        Some(Job { submit, size: context / READ + generated / WRITE, origin })
    };
    rows(text, job)
}

/// `app,func,end_timestamp,duration` in seconds.
pub(super) fn parse_functions(text: &str) -> Result<Trace> {
    let job = |line: &str| -> Option<Job> {
        let fields: Vec<&str> = line.split(',').map(str::trim).collect();
        let &[app, function, end, duration, ..] = fields.as_slice() else { return None };
        let (end, duration): (f64, f64) = (end.parse().ok()?, duration.parse().ok()?);
        let origin = Origin { program: key(function), owner: key(app), declared: 0 };
        Some(Job { submit: end - duration, size: duration, origin })
    };
    rows(text, job)
}

fn rows(text: &str, job: impl Fn(&str) -> Option<Job>) -> Result<Trace> {
    let lines = text.lines().skip(1).filter(|line| !line.trim().is_empty());
    let jobs = lines
        .map(|line| job(line).with_context(|| format!("not a row of this trace: {line}")))
        .collect::<Result<_>>()?;
    Ok(Trace::Open(OpenTrace::new(jobs)))
}

/// `2023-11-16 18:17:03.9799600` in seconds since the month began (traces of two months would need a calendar).
fn seconds(text: &str) -> Option<f64> {
    let (date, time) = text.trim().split_once([' ', 'T'])?;
    let day: f64 = date.rsplit('-').next()?.parse().ok()?;
    let time = time.split(['+', 'Z']).next()?;
    let mut parts = time.split(':').map(|part| part.parse::<f64>().ok());
    let (hours, minutes, seconds) = (parts.next()??, parts.next()??, parts.next()??);
    Some(((day * 24.0 + hours) * 60.0 + minutes) * 60.0 + seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_rows() {
        assert_eq!(seconds("2023-11-16 18:17:03.5"), Some(((16.0 * 24.0 + 18.0) * 60.0 + 17.0) * 60.0 + 3.5));
        let Ok(Trace::Open(trace)) =
            parse_llm("TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:17:03.5,10,3\n")
        else {
            panic!("a valid trace was refused")
        };
        assert_eq!(trace.at_load(0.5, 1_000_000).programs.len(), 1);
        assert!(parse_llm("head\n2023-11-16,10,3\n").is_err());
    }
}
