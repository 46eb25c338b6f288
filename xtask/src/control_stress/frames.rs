//! Hostile frames on one port while another streams: nothing is lost but what is bad.

use super::{PATIENCE, Target, ask, question};
use anyhow::{Context, Result, bail};
use control::frame::encode;
use control::{Message, Reply, Token};
use datactl::Connection;
use llm::random::SplitMix64;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Bad frames between two good ones.
const BATCH: u64 = 16;
/// Good ones that may wait for their answer. A cut frame swallows what follows until the kernel gives it up.
const WAITING: usize = 16;
const PROMPT: &str = "Explain what virtual memory is.";

pub fn run(target: &Target, frames: u64, seed: u64) -> Result<()> {
    let over = AtomicBool::new(false);
    let (noise, stream) = std::thread::scope(|scope| {
        let stream = scope.spawn(|| stream(target, &over));
        let noise = make_noise(target, frames, seed, &over);
        over.store(true, Ordering::Relaxed);
        (noise, stream.join())
    });
    let Ok(stream) = stream else { bail!("the stream's thread panicked") };
    let (noise, stream) = (noise?, stream.context("the stream beside the bad frames")?);
    println!(
        "frames   {frames} bad ones in {:.0} s ({:.0}/s), {} refused by name; {} good ones among them, all answered",
        noise.took.as_secs_f64(),
        frames as f64 / noise.took.as_secs_f64(),
        noise.refused,
        noise.good
    );
    println!(
        "         beside them {} answers of the same {} bytes, {} tokens, each chunk once and in order",
        stream.answers, stream.bytes, stream.tokens
    );
    Ok(())
}

struct Stream {
    answers: u64,
    tokens: u64,
    bytes: usize,
}

/// Asks the same question again and again, at least once; the answer must be the same.
fn stream(target: &Target, over: &AtomicBool) -> Result<Stream> {
    let mut connection = target.connect(1)?;
    let message = question(PROMPT, 64);
    let (mut counted, mut text) = (Stream { answers: 0, tokens: 0, bytes: 0 }, None);
    while counted.answers == 0 || !over.load(Ordering::Relaxed) {
        let answer = ask(&mut connection, &message, target.submit)?;
        let first = text.get_or_insert_with(|| answer.text.clone());
        if *first != answer.text {
            bail!("the same question had another answer: {}", String::from_utf8_lossy(&answer.text));
        }
        counted.answers += 1;
        counted.tokens += u64::from(answer.tokens);
        counted.bytes = answer.text.len();
    }
    Ok(counted)
}

struct Noise {
    good: u64,
    refused: u64,
    took: Duration,
}

fn make_noise(target: &Target, frames: u64, seed: u64, over: &AtomicBool) -> Result<Noise> {
    let mut connection = target.connect(0)?;
    let (mut random, mut recorded) = (SplitMix64::new(seed), Vec::new());
    // Good frames: id and number.
    let mut waiting = BTreeMap::new();
    // From here on the bad frames' small ids are not above the connection's last.
    connection.ask(&Message::Ping(0), None)?;
    let (begun, mut noise) = (Instant::now(), Noise { good: 0, refused: 0, took: Duration::ZERO });
    for count in 0..frames {
        let bytes = bad_frame(&mut random, &mut recorded);
        connection.send_bytes(&bytes)?;
        if count % BATCH == 0 {
            if count % (64 * BATCH) == 0 {
                // A wrong token under an id that counts.
                connection.send(&Message::Metrics, Some(Token::from_bits(random.next_u64())))?;
            }
            waiting.insert(connection.send(&Message::Ping(count), None)?, count);
            noise.good += 1;
            drain(&mut connection, &mut waiting, &mut noise, WAITING)?;
            eprint!("\r{count:>9} bad frames");
        }
        if over.load(Ordering::Relaxed) {
            break;
        }
    }
    drain(&mut connection, &mut waiting, &mut noise, 0)?;
    eprintln!();
    noise.took = begun.elapsed();
    Ok(noise)
}

/// Takes replies until at most `most` good frames wait for theirs.
fn drain(
    connection: &mut Connection,
    waiting: &mut BTreeMap<u32, u64>,
    noise: &mut Noise,
    most: usize,
) -> Result<()> {
    loop {
        let patience = if waiting.len() > most { PATIENCE } else { Duration::from_micros(1) };
        match connection.next_of_any(patience)? {
            Some((id, Reply::Ack { number })) => {
                if waiting.remove(&id) != Some(number) {
                    bail!("request {id} was acknowledged with {number}, which it did not ask");
                }
            }
            Some((id, Reply::Refused { .. })) if !waiting.contains_key(&id) => noise.refused += 1,
            Some((id, other)) => bail!("request {id} was answered by {other:?}"),
            None if waiting.len() > most => bail!("{} good frames were not answered", waiting.len()),
            None => return Ok(()),
        }
    }
}

/// A frame that must not be served: noise, or a frame changed, cut, sent again, or inside a broken one. Ids are small, so that
/// none is above those of the good frames.
fn bad_frame(random: &mut SplitMix64, recorded: &mut Vec<Vec<u8>>) -> Vec<u8> {
    let mut below = |limit: usize| (random.next_u64() % limit.max(1) as u64) as usize;
    let kinds = [0x01, 0x02, 0x10, 0x11, 0x12, 0x13, 0x14, 0x20, 0x21, 0x22, 0x30, 0x80, 0xff];
    let kind = if below(8) == 0 { below(256) as u8 } else { kinds[below(kinds.len())] };
    let payload: Vec<u8> = (0..below(120)).map(|_| below(256) as u8).collect();
    let mut frame = Vec::new();
    // It fits: the payload is short.
    let _ = encode(kind, below(1000) as u32, &payload, &mut frame);
    match below(8) {
        0 => payload,
        1 => {
            let at = below(frame.len());
            frame[at] ^= 1 << below(8);
            frame
        }
        2 if below(16) == 0 => {
            frame.truncate(below(frame.len()));
            frame
        }
        3 if !recorded.is_empty() => recorded[below(recorded.len())].clone(),
        4 => {
            let mut outer = Vec::new();
            let _ = encode(0x01, below(1000) as u32, &frame, &mut outer);
            let last = outer.len() - 1;
            outer[last] ^= 1;
            outer
        }
        _ => {
            if recorded.len() < 64 {
                recorded.push(frame.clone());
            }
            frame
        }
    }
}
