//! The mixed set: on each CPU threads of all kinds at about 0.4 of it, and commands that come at random for the rest of the load. The
//! same kinds as in the simulator's "mixed commands" (`xtask/src/sched/mixed.rs`); commands take a quarter to a half of what they take
//! there, so that runs of a few seconds have enough of them. Their number and gaps are drawn; then the gaps are stretched so that every
//! run asks for exactly the load: a few long commands more or less would otherwise decide how busy a run is.

use super::channel::Channel;
use super::draw::{Draw, nanos};
use super::run::Run;
use crate::arch::percpu;
use crate::arch::time::uptime_nanos;
use crate::tasks::Options;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use sched::Nice;

const MS: f64 = 1e6;
/// A thread that computes and sleeps in turn: name, nice value, median burst and spread of its logarithm, mean pause. Times in ms.
const SLEEPERS: [(&str, i32, f64, f64, f64); 5] = [
    ("shell", 0, 0.4, 0.5, 80.0),
    ("editor", 0, 2.0, 0.7, 120.0),
    ("browser", 0, 8.0, 1.0, 150.0),
    ("logger", 5, 0.2, 0.3, 30.0),
    ("backup", 10, 80.0, 0.3, 900.0),
];

/// A thread that computes once a period: name, burst, period. Times in ms.
const PERIODIC: [(&str, f64, f64); 2] = [("audio", 0.5, 10.0), ("video", 2.0, 33.0)];

/// A producer's burst and pause, and its consumer's burst, in ms; and how many pairs.
const PRODUCER: (f64, f64, f64) = (0.6, 40.0, 1.2);
const PAIRS: usize = 2;

/// Commands: name, median of the CPU time in ms, spread of its logarithm, how often.
const COMMANDS: [(&str, f64, f64, f64); 6] = [
    ("ls", 1.0, 0.3, 0.36),
    ("grep", 4.0, 0.6, 0.25),
    ("git", 10.0, 0.8, 0.18),
    ("cc", 60.0, 0.7, 0.16),
    ("link", 200.0, 0.4, 0.03),
    ("index", 500.0, 0.5, 0.02),
];

/// In one line.
pub fn summary() -> String {
    String::from("interactive, periodic, producer and consumer threads, and commands that come at random")
}

/// Mean of a log-normal distribution.
fn mean(median: f64, spread: f64) -> f64 {
    median * libm::exp(spread * spread / 2.0)
}

/// Share of a CPU that its threads take.
fn threads_load() -> f64 {
    let sleepers = SLEEPERS.iter().map(|&(_, _, median, spread, pause)| {
        let burst = mean(median, spread);
        burst / (burst + pause)
    });
    let periodic = PERIODIC.iter().map(|&(_, burst, period)| burst / period);
    let (produce, pause, consume) = PRODUCER;
    let pairs = PAIRS as f64 * (produce + consume) / (produce + pause);
    sleepers.sum::<f64>() + periodic.sum::<f64>() + pairs
}

/// Starts everything.
pub fn start(run: &Arc<Run>, seed: u64) -> Result<(), String> {
    let mut draw = Draw::new(seed);
    for _ in 0..percpu::count() {
        for (name, nice, median, spread, pause) in SLEEPERS {
            let (mut draw, first) = (Draw::new(draw_seed(&mut draw)), draw.unit() * 50.0 * MS);
            let options = Options { nice: Nice::new(nice), ..Options::default() };
            run.spawn(name, options, move |run| {
                let mut release = run.start + nanos(first);
                while run.sleep_until(release) {
                    let size = nanos(draw.around(median, spread) * MS);
                    if !run.burst(release, size, false) {
                        return;
                    }
                    release = uptime_nanos() + nanos(draw.exponential(pause * MS));
                }
            })?;
        }
        for (name, burst, period) in PERIODIC {
            let first = nanos(draw.unit() * period * MS);
            run.spawn(name, Options::default(), move |run| {
                let mut release = run.start + first;
                while run.sleep_until(release) && run.burst(release, nanos(burst * MS), false) {
                    release += nanos(period * MS);
                }
            })?;
        }
        for _ in 0..PAIRS {
            pair(run)?;
        }
    }
    let commands = commands(run, &mut draw);
    run.spawn("arrivals", arrivals_options(), move |run| arrive(run, commands))
}

fn draw_seed(draw: &mut Draw) -> u64 {
    (draw.unit() * (1u64 << 53) as f64) as u64
}

/// A producer, and the consumer that it wakes.
fn pair(run: &Arc<Run>) -> Result<(), String> {
    let (produce, pause, consume) = PRODUCER;
    let channel = Channel::new(64)?;
    let messages = channel.clone();
    run.spawn("consumer", Options::default(), move |run| {
        while let Some(sent) = messages.receive() {
            if !run.goes_on() || !run.burst(sent, nanos(consume * MS), false) {
                break;
            }
        }
        messages.close();
    })?;
    run.spawn("producer", Options::default(), move |run| {
        let mut release = run.start;
        while run.sleep_until(release) && run.burst(release, nanos(produce * MS), false) && channel.send() {
            release = uptime_nanos() + nanos(pause * MS);
        }
        channel.close();
    })
}

struct Command {
    name: &'static str,
    release: u64,
    size: u64,
}

/// The commands of a run, in the order in which they come.
fn commands(run: &Run, draw: &mut Draw) -> Vec<Command> {
    let length = (run.end - run.start) as f64;
    let wanted = (run.load - threads_load()).max(0.05) * percpu::count() as f64 * length;
    let (mut commands, mut work, mut time) = (Vec::new(), 0.0, 0.0);
    while work < wanted {
        let mut left = draw.unit();
        let &(name, median, spread, _) = COMMANDS
            .iter()
            .find(|(.., share)| {
                left -= share;
                left <= 0.0
            })
            .unwrap_or(&COMMANDS[0]);
        // The last one is as long as there is room for, so that all add up.
        let size = (draw.around(median, spread) * MS).clamp(0.05 * MS, (wanted - work).max(0.05 * MS));
        work += size;
        time += draw.exponential(1.0);
        commands.push((name, time, size));
    }
    let stretch = length / (time + draw.exponential(1.0));
    let command =
        |(name, time, size)| Command { name, release: run.start + nanos(time * stretch), size: nanos(size) };
    commands.into_iter().map(command).collect()
}

/// Starts each command at its time: a thread of its own, that computes once. A command that comes late because of this counts from its
/// time.
fn arrive(run: &Arc<Run>, commands: Vec<Command>) {
    for Command { name, release, size } in commands {
        if !run.sleep_until(release) {
            return;
        }
        run.spawn_or_fail(name, Options::default(), move |run| {
            run.burst(release, size, true);
        });
    }
}

/// A reservation: commands come at their times, whoever decides among those that compute.
#[cfg(feature = "deterministic")]
fn arrivals_options() -> Options {
    let class = sched::Class::Reserved(sched::Reservation { budget: 5_000_000, period: 50_000_000 });
    Options { class, ..Options::default() }
}

#[cfg(not(feature = "deterministic"))]
fn arrivals_options() -> Options {
    Options { nice: Nice::MIN, ..Options::default() }
}
