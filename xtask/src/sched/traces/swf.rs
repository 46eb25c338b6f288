//! The Parallel Workloads Archive's Standard Workload Format, version 2.2. A job's work is its run time times its processors; known
//! when it comes are its user, its executable, the processors and, where the log has it, the run time that the user asked for.

use super::{Job, OpenTrace, Trace};
use anyhow::{Context, Result};
use sched::Origin;

pub(super) fn parse(text: &str) -> Result<Trace> {
    let job = |line: &str| -> Option<Job> {
        let fields: Vec<f64> = line.split_whitespace().map_while(|word| word.parse().ok()).collect();
        // Fields as the standard counts them, from 1; −1 stands for "not known".
        let field = |number: usize| fields.get(number - 1).copied().unwrap_or(-1.0);
        let (submit, run, processors) =
            (field(2), field(4), if field(5) > 0.0 { field(5) } else { field(8) });
        let asked = if field(9) > 0.0 { field(9) } else { 1.0 };
        let known = |value: f64| if value >= 0.0 { value as u32 + 1 } else { 0 };
        let origin = Origin {
            program: known(field(14)),
            owner: known(field(12)),
            declared: (processors.max(1.0) * asked) as u64,
        };
        (fields.len() >= 5).then_some(Job { submit, size: run.max(0.0) * processors.max(1.0), origin })
    };
    let lines = text.lines().filter(|line| !line.trim_start().starts_with(';') && !line.trim().is_empty());
    let jobs = lines
        .map(|line| job(line).with_context(|| format!("not an SWF job: {line}")))
        .collect::<Result<_>>()?;
    Ok(Trace::Open(OpenTrace::new(jobs)))
}
