//! The machine's scheduler: fixed data, and what commands change.

use super::Machine;
use sched::guard::{Counts, Foresight, Ratio, Reason, Rule, SwitchOver};
use sched::transformer::Learning;
use sched::{Latency, Nanos};
use shell::*;
use std::time::Duration;

/// What commands change.
pub struct State {
    pub policy: FairPolicy,
    pub mode: LearnedMode,
    /// The versions put by: their numbers.
    pub versions: Vec<u32>,
    pub last_version: u32,
    /// How often `activity` was asked: time passes with it.
    pub looks: u32,
    pub requests: Vec<BenchRequest>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            policy: FairPolicy::Transformer,
            mode: LearnedMode::Auto,
            versions: vec![1, 2],
            last_version: 2,
            looks: 0,
            requests: Vec::new(),
        }
    }
}

fn latency(times: &[Nanos]) -> Latency {
    let mut latency = Latency::default();
    times.iter().for_each(|&time| latency.add(time));
    latency
}

fn promising() -> SwitchOver {
    let foresight = Foresight { concordance: 0.84, different: 0.6 };
    SwitchOver { time: 2_500_000_000, to: Rule::Acting, reason: Reason::Promising(foresight) }
}

fn slower() -> SwitchOver {
    SwitchOver {
        time: 7_250_000_000,
        to: Rule::Shadow,
        reason: Reason::Slower(Ratio { mean: 1.31, tail: 1.75 }),
    }
}

impl Scheduling for Machine {
    fn scheduler(&self) -> SchedulerStatus {
        let state = self.scheduler.borrow();
        let learned = state.policy == FairPolicy::Transformer;
        let guard = |rule, cooldown, candidate, last| GuardStatus {
            rule,
            broken: false,
            cooldown,
            foresight: Some(Foresight { concordance: 0.84, different: 0.6 }),
            classic: Some(Ratio { mean: 1.08, tail: 1.2 }),
            candidate,
            last: Some(last),
        };
        let queue = |cpu, current, servers, guard: GuardStatus| RunQueueStatus {
            cpu,
            policy: state.policy.name(),
            guard: learned.then_some(guard),
            current,
            ready: 3,
            ready_reserved: 1,
            switches: 100,
            preemptions: 40,
            steals: 5,
            servers,
        };
        let server = ServerStatus {
            task: 12,
            budget: Duration::from_millis(2),
            period: Duration::from_millis(10),
            remaining: Duration::from_micros(500),
            deadline: Duration::from_millis(100_010),
            throttled: 3,
            misses: 0,
            jitter_p99: Some(Duration::from_micros(64)),
        };
        let acting = guard(Rule::Acting, 0, Some(Ratio { mean: 0.75, tail: 0.9 }), promising());
        let shadow = guard(Rule::Shadow, 4, None, slower());
        SchedulerStatus {
            policy: state.policy,
            mode: state.mode,
            queues: vec![queue(0, Some(7), vec![server], acting), queue(1, None, vec![], shadow)],
        }
    }

    fn set_policy(&self, policy: FairPolicy) -> Result<(), SchedulingError> {
        self.scheduler.borrow_mut().policy = policy;
        Ok(())
    }

    fn set_learned_mode(&self, mode: LearnedMode) -> Result<(), SchedulingError> {
        let mut state = self.scheduler.borrow_mut();
        (state.policy, state.mode) = (FairPolicy::Transformer, mode);
        Ok(())
    }

    fn scheduler_stats(&self) -> SchedulerStats {
        let policy = |policy, wakeup: &[Nanos], decision: &[Nanos]| PolicyStats {
            policy,
            wakeup: latency(wakeup),
            decision: latency(decision),
        };
        let learned = |cpu, predicted, error| LearnedStats {
            cpu,
            counts: Counts {
                decisions: 1000,
                candidate: 600,
                compared: 50,
                agreed: 40,
                overruns: 2,
                late: 3,
                refused: 0,
                starved: 1,
                returns: 1,
            },
            decision: latency(&[3_000, 3_500, 12_000, 60_000]),
            told: latency(&[700, 900, 9_000]),
            learning: Learning { steps: 300, loss: 0.02, predicted, error, persistence_error: error + 0.2 },
        };
        SchedulerStats {
            switches_by_second: vec![100, 150, 200, 400],
            policies: vec![
                policy(FairPolicy::Eevdf, &[5_000, 9_000, 90_000], &[900, 1_000]),
                policy(FairPolicy::Transformer, &[5_000, 6_000], &[3_000, 12_000]),
            ],
            learned: vec![learned(0, 300, 0.3), learned(1, 100, 0.7)],
        }
    }

    fn switch_overs(&self) -> Vec<CpuSwitchOver> {
        vec![CpuSwitchOver { cpu: 0, change: promising() }, CpuSwitchOver { cpu: 1, change: slower() }]
    }

    fn weight_versions(&self) -> Vec<WeightVersion> {
        let state = self.scheduler.borrow();
        let version = |&number| WeightVersion {
            number,
            time: Duration::from_secs(u64::from(number) * 10),
            steps: u64::from(number) * 100,
            loss: 0.02,
        };
        state.versions.iter().map(version).collect()
    }

    fn save_weights(&self) -> Result<u32, SchedulingError> {
        let mut state = self.scheduler.borrow_mut();
        state.last_version += 1;
        let number = state.last_version;
        state.versions.push(number);
        Ok(number)
    }

    fn load_weights(&self, version: Option<u32>) -> Result<u32, SchedulingError> {
        let state = self.scheduler.borrow();
        let last = *state.versions.last().ok_or(SchedulingError::NoVersion)?;
        let number = version.unwrap_or(last);
        state.versions.contains(&number).then_some(number).ok_or(SchedulingError::NoSuchVersion(number))
    }

    fn roll_back_weights(&self) -> Result<u32, SchedulingError> {
        self.scheduler.borrow_mut().versions.pop().ok_or(SchedulingError::NoVersion)
    }

    /// Two CPUs; every look is a second after the last one, in which the shell ran for 0.25 s and the worker for 0.5 s.
    fn activity(&self) -> Activity {
        let mut state = self.scheduler.borrow_mut();
        state.looks += 1;
        let (looks, seconds) = (state.looks, |part: f64| Duration::from_secs_f64(part));
        let task = |id: u32, name: &str, share: f64, class| TaskActivity {
            id,
            name: name.into(),
            state: if share > 0.0 { TaskState::Running } else { TaskState::Blocked },
            cpu: id % 2,
            pinned: id == 12,
            class,
            nice: 0,
            weight: 1024,
            run: seconds(f64::from(looks) * share),
            wait: seconds(f64::from(looks) * 0.1),
            sleep: seconds(f64::from(looks) * (0.9 - share)),
            voluntary: u64::from(looks * 20),
            involuntary: u64::from(looks * id),
            wakeup_p99: (id != 20).then_some(Duration::from_micros(128)),
        };
        Activity {
            time: seconds(100.0 + f64::from(looks)),
            idle: vec![seconds(f64::from(looks) * 0.5), seconds(f64::from(looks) * 0.75)],
            tasks: vec![
                task(7, "shell", 0.25, TaskClass::Fair),
                task(12, "slm-worker/1", 0.5, TaskClass::Reserved),
                task(20, "beta", 0.0, TaskClass::Fair),
                task(21, "alpha", 0.0, TaskClass::Fair),
            ],
        }
    }

    fn scheduler_bench(
        &self,
        request: &BenchRequest,
        watch: &mut dyn FnMut(&BenchProgress) -> Flow,
    ) -> Result<BenchOutcome, BenchError> {
        self.scheduler.borrow_mut().requests.push(request.clone());
        if let Some(unknown) = request.workloads.iter().find(|name| *name != "mixed") {
            return Err(BenchError::UnknownWorkload(unknown.clone()));
        }
        let mut interrupted = false;
        for (done, &policy) in (0..).zip(&request.policies) {
            let elapsed = Duration::from_secs(u64::from(done));
            let runs = request.policies.len() as u32;
            let progress = BenchProgress { elapsed, done, runs, workload: "mixed", policy };
            interrupted |= watch(&progress) == Flow::Stop;
        }
        let row = |(index, &policy): (usize, &FairPolicy)| BenchRow {
            policy,
            runs: 3,
            bursts: 500,
            mean: Duration::from_micros(10_000 - 1000 * index as u64),
            p99: Duration::from_millis(120),
            slowdown: 3.25,
            switches_per_burst: 1.5,
            jain: 0.8,
            busy: 0.75,
            speed: 0.96,
            completion: Some(Duration::from_millis(200 - 20 * index as u64)),
            makespan: Some(Duration::from_secs(5)),
            acted: (policy == FairPolicy::Transformer).then_some(0.5),
        };
        Ok(BenchOutcome {
            cpus: 2,
            interrupted,
            elapsed: Duration::from_secs(60),
            tables: vec![BenchTable {
                workload: "mixed",
                summary: "commands beside interactive threads".into(),
                rows: request.policies.iter().enumerate().map(row).collect(),
            }],
        })
    }
}
