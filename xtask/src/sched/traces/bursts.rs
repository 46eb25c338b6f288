//! Closed-loop CPU bursts: `tid,comm,wake_us,block_us,run_us,preemptions,sleep_before_us`. A task wakes, computes for `run_us`, and
//! sleeps for the next burst's `sleep_before_us`, however long it had to wait in between.

use super::Trace;
use anyhow::{Context, Result};
use sched::simulator::{Program, Step, Workload};
use sched::{Nanos, Nice, Origin, key};
use std::collections::BTreeMap;

struct Burst {
    task: u32,
    name: String,
    wake: Option<f64>,
    block: f64,
    run: f64,
    sleep_before: Option<f64>,
}

pub(super) fn parse(text: &str) -> Result<Trace> {
    let mut tasks: BTreeMap<u32, Vec<Burst>> = BTreeMap::new();
    for line in text.lines().skip(1).filter(|line| !line.trim().is_empty()) {
        let burst = row(line).with_context(|| format!("not a burst: {line}"))?;
        tasks.entry(burst.task).or_default().push(burst);
    }
    let programs = tasks.values().map(|bursts| program(bursts)).collect();
    Ok(Trace::Closed(Workload { programs, end: None }))
}

fn row(line: &str) -> Option<Burst> {
    // A name may contain commas: the fields are counted from both ends.
    let (task, rest) = line.split_once(',')?;
    let mut fields = rest.rsplitn(6, ',');
    let sleep_before = fields.next()?.trim().parse().ok();
    let _preemptions = fields.next()?;
    let run = fields.next()?.trim().parse().ok()?;
    let block = fields.next()?.trim().parse().ok()?;
    let wake = fields.next()?.trim().parse().ok();
    Some(Burst {
        task: task.trim().parse().ok()?,
        name: fields.next()?.to_owned(),
        wake,
        block,
        run,
        sleep_before,
    })
}

fn nanos(us: f64) -> Nanos {
    (us.max(0.0) * 1000.0) as Nanos
}

fn program(bursts: &[Burst]) -> Program {
    let first = &bursts[0];
    let mut steps = Vec::with_capacity(bursts.len() * 2);
    let mut blocked = None;
    for burst in bursts {
        if let Some(blocked) = blocked {
            // Where the wake-up was not seen, it slept at most until it must have begun.
            steps.push(Step::Sleep(nanos(burst.sleep_before.unwrap_or(burst.block - burst.run - blocked))));
        }
        steps.push(Step::Run(nanos(burst.run)));
        blocked = Some(burst.block);
    }
    // "kworker/0:2" and "kworker/3:0" are one program.
    let name = first.name.split(['/', ':']).next().unwrap_or_default();
    Program {
        origin: Origin { program: key(name), ..Origin::default() },
        nice: Nice::default(),
        start: nanos(first.wake.unwrap_or(first.block - first.run)),
        steps,
        rounds: 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sleeps_lie_between_bursts() {
        let text = "head\n1,a,b/0,5.0,9.0,4.0,0,\n1,a,b/0,,20.0,2.0,1,\n1,a,b/0,23.0,26.0,3.0,0,3.0\n";
        let Ok(Trace::Closed(workload)) = parse(text) else { panic!("a valid trace was refused") };
        let [program] = workload.programs.as_slice() else { panic!("one task") };
        assert_eq!(program.start, 5000);
        let expected =
            [Step::Run(4000), Step::Sleep(9000), Step::Run(2000), Step::Sleep(3000), Step::Run(3000)];
        assert_eq!(program.steps, expected);
        assert_eq!(program.origin.program, key("a,b"));
    }
}
