//! Mixed workloads of our own making, beside the traces: CPU-bound, interactive, periodic and producer/consumer threads together with a
//! stream of commands. Drawn at random from a fixed seed; nothing in them was chosen by looking at a policy's result.

use super::traces::OpenTrace;
use llm::random::SplitMix64;
use sched::simulator::{Costs, Program, Step, Workload, simulate};
use sched::{Fcfs, Nanos, Nice, Origin, key};

const US: f64 = 1e3;
const MS: f64 = 1e6;
/// Length of a run.
const LENGTH: f64 = 60e9;

/// The distributions needed.
pub struct Random(SplitMix64);

impl Random {
    /// In 0..1, never 0.
    fn unit(&mut self) -> f64 {
        ((self.0.next_u64() >> 11) as f64 + 1.0) / (1u64 << 53) as f64
    }

    fn exponential(&mut self, mean: f64) -> f64 {
        -mean * self.unit().ln()
    }

    fn normal(&mut self) -> f64 {
        (-2.0 * self.unit().ln()).sqrt() * (core::f64::consts::TAU * self.unit()).cos()
    }

    /// Log-normal around a median; `spread` is the standard deviation of the logarithm.
    fn around(&mut self, median: f64, spread: f64) -> f64 {
        median * (spread * self.normal()).exp()
    }
}

fn origin(name: &str, owner: u32) -> Origin {
    Origin { program: key(name), owner, declared: 0 }
}

fn nanos(time: f64) -> Nanos {
    time.max(1.0) as Nanos
}

/// A thread that computes and sleeps in turn, for the length of the run.
fn sleeper(random: &mut Random, name: &str, nice: i32, burst: (f64, f64), pause: f64) -> Program {
    let (mut steps, mut time) = (Vec::new(), 0.0);
    while time < LENGTH {
        let (run, sleep) = (random.around(burst.0, burst.1), random.exponential(pause));
        steps.extend([Step::Run(nanos(run)), Step::Sleep(nanos(sleep))]);
        time += run + sleep;
    }
    let start = nanos(random.unit() * 50.0 * MS);
    Program { origin: origin(name, 1), nice: Nice::new(nice), start, steps, rounds: 1 }
}

fn periodic(name: &str, work: f64, period: f64, start: f64) -> Program {
    let steps = vec![Step::Run(nanos(work)), Step::Period(nanos(period))];
    Program { origin: origin(name, 2), nice: Nice::default(), start: nanos(start), steps, rounds: u32::MAX }
}

/// The commands that come in a stream: name, median of the CPU time, spread of its logarithm, how often.
const COMMANDS: [(&str, f64, f64, f64); 6] = [
    ("ls", 2.0 * MS, 0.3, 0.36),
    ("grep", 8.0 * MS, 0.6, 0.25),
    ("git", 20.0 * MS, 0.8, 0.18),
    ("cc", 150.0 * MS, 0.7, 0.16),
    ("link", 600.0 * MS, 0.4, 0.03),
    ("index", 2000.0 * MS, 0.5, 0.02),
];

/// Threads of all kinds at about a third of the CPU, and commands for the rest of the load.
pub fn commands(load: f64, seed: u64) -> Workload {
    let mut random = Random(SplitMix64::new(seed));
    let mut programs = vec![
        sleeper(&mut random, "shell", 0, (0.4 * MS, 0.5), 80.0 * MS),
        sleeper(&mut random, "editor", 0, (2.0 * MS, 0.7), 120.0 * MS),
        sleeper(&mut random, "browser", 0, (8.0 * MS, 1.0), 150.0 * MS),
        sleeper(&mut random, "logger", 5, (0.2 * MS, 0.3), 30.0 * MS),
        sleeper(&mut random, "backup", 10, (80.0 * MS, 0.3), 900.0 * MS),
        periodic("audio", 0.5 * MS, 10.0 * MS, 0.0),
        periodic("video", 2.0 * MS, 33.0 * MS, 5.0 * MS),
    ];
    // A producer that fills a buffer, and the consumer that it wakes.
    for pair in 0..2 {
        let steps = vec![Step::Run(nanos(0.6 * MS)), Step::Signal(pair), Step::Sleep(nanos(40.0 * MS))];
        let steps_of_consumer = vec![Step::Wait(pair), Step::Run(nanos(1.2 * MS))];
        for (name, steps) in [("producer", steps), ("consumer", steps_of_consumer)] {
            let origin = origin(name, 3);
            programs.push(Program { origin, nice: Nice::default(), start: 0, steps, rounds: u32::MAX });
        }
    }
    let mean: f64 = COMMANDS
        .iter()
        .map(|(_, median, spread, share)| share * median * (spread * spread / 2.0).exp())
        .sum();
    // What the threads above take: measured by their means.
    let threads = 0.005 + 0.021 + 0.082 + 0.007 + 0.085 + 0.05 + 0.061 + 2.0 * 0.045;
    let gap = mean / (load - threads).max(0.05);
    let mut time = random.exponential(gap);
    while time < LENGTH {
        let mut draw = random.unit();
        let (name, median, spread, _) = COMMANDS
            .iter()
            .find(|(.., share)| {
                draw -= share;
                draw <= 0.0
            })
            .unwrap_or(&COMMANDS[0]);
        let size = random.around(*median, *spread).max(50.0 * US);
        programs.push(Program {
            origin: origin(name, 4 + (random.0.next_u64() % 3) as u32),
            nice: Nice::default(),
            start: nanos(time),
            steps: vec![Step::Run(nanos(size))],
            rounds: 1,
        });
        time += random.exponential(gap);
    }
    Workload { programs, end: Some(LENGTH as Nanos) }
}

/// The threads of a description, and the first jobs of a trace in their time, so many that the CPU is asked for `load` in all.
pub fn together(threads: &Workload, trace: &OpenTrace, load: f64) -> Workload {
    let length = threads.end.unwrap_or(LENGTH as Nanos);
    let alone = simulate(threads, Box::new(Fcfs::new()), Costs::default()).summary().utilisation;
    let room = (load - alone).max(0.05);
    // Jobs of 20 ms in the mean: enough of them for a mean, short enough for many to end.
    let mut jobs = trace.at_load(room, 20_000_000);
    jobs.programs.retain(|program| program.start < length);
    jobs.programs.extend(threads.programs.iter().cloned());
    jobs.end = Some(length);
    jobs
}

/// Jobs whose sizes nobody can know: exponential, all of one program. No policy without an oracle can do better than another here.
pub fn unpredictable(load: f64, seed: u64) -> Workload {
    let mut random = Random(SplitMix64::new(seed));
    let (mean, mut time) = (20.0 * MS, 0.0);
    let mut programs = Vec::new();
    while time < 2.0 * LENGTH {
        time += random.exponential(mean / load);
        programs.push(Program {
            origin: origin("job", 1),
            nice: Nice::default(),
            start: nanos(time),
            steps: vec![Step::Run(nanos(random.exponential(mean)))],
            rounds: 1,
        });
    }
    Workload { programs, end: None }
}
