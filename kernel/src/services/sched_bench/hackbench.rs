//! The pattern of hackbench (Rusty Russell, Ingo Molnar): groups in which every sender sends messages to every receiver, through channels
//! that fill up. As many switches as can be; a group is a job, done when its last message has been received.

use super::channel::Channel;
use super::run::Run;
use crate::arch::percpu;
use crate::tasks::Options;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicU64, Ordering};

/// Groups for each CPU; senders, and receivers, of a group.
const GROUPS: usize = 2;
const PEERS: usize = 4;
/// Messages that fit into a receiver's channel.
const ROOM: usize = 8;
/// What it takes to make a message, and to handle it.
const WORK: u64 = 100_000;
/// Share of the run's time that the messages are meant to take, were there nothing but their work.
const FILL: f64 = 0.5;

/// In one line.
pub fn summary() -> String {
    format!("{GROUPS} groups for each CPU, {PEERS} senders and {PEERS} receivers in each; a group is a job")
}

/// Starts everything.
pub fn start(run: &Arc<Run>, _seed: u64) -> Result<(), String> {
    // Rounds of a sender: one message to each receiver.
    let length = (run.end - run.start) as f64;
    let of_a_round = (PEERS * PEERS * 2) as f64 * WORK as f64 * GROUPS as f64;
    let rounds = ((length * FILL / of_a_round) as usize).max(1);
    for _ in 0..GROUPS * percpu::count() {
        group(run, rounds)?;
    }
    Ok(())
}

fn group(run: &Arc<Run>, rounds: usize) -> Result<(), String> {
    let mut channels = alloc::vec::Vec::new();
    let messages = (rounds * PEERS * PEERS) as u64;
    let left = Arc::new(AtomicU64::new(messages));
    for _ in 0..PEERS {
        let channel = Channel::new(ROOM)?;
        channels.push(channel.clone());
        let left = left.clone();
        run.spawn("hackbench/receiver", Options::default(), move |run| {
            for _ in 0..rounds * PEERS {
                let Some(sent) = channel.receive() else { return };
                if !run.burst(sent, WORK, false) {
                    channel.close();
                    return;
                }
                if left.fetch_sub(1, Ordering::AcqRel) == 1 {
                    run.job_done(2 * messages * WORK);
                }
            }
        })?;
    }
    for _ in 0..PEERS {
        let channels = channels.clone();
        run.spawn("hackbench/sender", Options::default(), move |run| {
            for channel in (0..rounds).flat_map(|_| &channels) {
                // Making a message is no burst: nobody waits for it.
                if run.compute(WORK).is_none() || !channel.send() {
                    channels.iter().for_each(|channel| channel.close());
                    return;
                }
            }
        })?;
    }
    Ok(())
}
