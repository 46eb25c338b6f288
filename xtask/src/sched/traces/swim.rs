//! SWIM's MapReduce traces: job, submit time, gap, bytes of input, shuffle and output. A job's work is the bytes that it moved; what is
//! known when it comes is its input.

use super::{Job, OpenTrace, Trace};
use anyhow::{Context, Result};
use sched::Origin;

pub(super) fn parse(text: &str) -> Result<Trace> {
    let job = |line: &str| -> Option<Job> {
        let numbers: Vec<f64> = line.split_whitespace().skip(1).map_while(|word| word.parse().ok()).collect();
        let &[submit, _gap, input, shuffle, output, ..] = numbers.as_slice() else { return None };
        let origin = Origin { declared: input as u64 + 1, ..Origin::default() };
        Some(Job { submit, size: input + shuffle + output, origin })
    };
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    let jobs = lines
        .map(|line| job(line).with_context(|| format!("not a SWIM job: {line}")))
        .collect::<Result<_>>()?;
    Ok(Trace::Open(OpenTrace::new(jobs)))
}
