//! Many clients at once, each on its port: how much they get done together, and how evenly.

use super::{Target, ask, question};
use anyhow::{Result, bail};
use control::Reason;
use datactl::Error;
use std::time::{Duration, Instant};

/// Tokens of an answer: short, so that waiting for one's turn is most of what is measured.
const TOKENS: u32 = 16;
const PROMPTS: [&str; 4] =
    ["What is a page?", "What does a scheduler do?", "Name a file system.", "What is an interrupt?"];

#[derive(Default)]
struct Client {
    requests: u64,
    tokens: u64,
    busy: u64,
    firsts: Vec<Duration>,
}

pub fn run(target: &Target, clients: u16, time: Duration) -> Result<()> {
    let begun = Instant::now();
    let results: Vec<Result<Client>> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..clients).map(|port| scope.spawn(move || client(target, port, begun, time))).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| bail!("a client's thread panicked")))
            .collect()
    });
    let took = begun.elapsed().as_secs_f64();
    let results = results.into_iter().collect::<Result<Vec<Client>>>()?;
    println!(
        "clients  {clients} for {took:.0} s, answers of {TOKENS} tokens at most, streamed one token a chunk"
    );
    println!("  client  requests  tokens  tokens/s   busy  first token p50   p99");
    for (port, client) in results.iter().enumerate() {
        let [median, late] = [0.5, 0.99].map(|share| quantile(&client.firsts, share).as_secs_f64());
        println!(
            "{port:>8} {:>9} {:>7} {:>9.2} {:>6} {median:>15.2} s {late:>5.2} s",
            client.requests,
            client.tokens,
            client.tokens as f64 / took,
            client.busy
        );
    }
    let tokens: Vec<f64> = results.iter().map(|client| client.tokens as f64).collect();
    let total: f64 = tokens.iter().sum();
    let firsts: Vec<Duration> = results.iter().flat_map(|client| client.firsts.clone()).collect();
    println!(
        "     all {:>9} {total:>7} {:>9.2} {:>6} {:>15.2} s {:>5.2} s   Jain's index {:.3}",
        results.iter().map(|client| client.requests).sum::<u64>(),
        total / took,
        results.iter().map(|client| client.busy).sum::<u64>(),
        quantile(&firsts, 0.5).as_secs_f64(),
        quantile(&firsts, 0.99).as_secs_f64(),
        jain(&tokens)
    );
    Ok(())
}

/// Asks one question after the other until the time is over.
fn client(target: &Target, port: u16, begun: Instant, time: Duration) -> Result<Client> {
    let mut connection = target.connect(port)?;
    let mut counted = Client::default();
    while begun.elapsed() < time {
        let prompt = PROMPTS[counted.requests as usize % PROMPTS.len()];
        match ask(&mut connection, &question(prompt, TOKENS), target.submit) {
            Ok(answer) => {
                counted.requests += 1;
                counted.tokens += u64::from(answer.tokens);
                counted.firsts.push(answer.first);
            }
            Err(error) => match error.downcast_ref() {
                Some(Error::Refused { reason: Reason::Busy, .. }) => {
                    counted.busy += 1;
                    std::thread::sleep(Duration::from_millis(500));
                }
                _ => return Err(error.context(format!("client {port}"))),
            },
        }
    }
    Ok(counted)
}

/// Jain, Chiu and Hawe 1984: 1 where all have the same, 1/n where one has all.
fn jain(shares: &[f64]) -> f64 {
    let (sum, squares) = shares.iter().fold((0.0, 0.0), |(sum, squares), x| (sum + x, squares + x * x));
    if squares == 0.0 { 1.0 } else { sum * sum / (shares.len() as f64 * squares) }
}

/// The smallest value that at least `share` of all are not above.
fn quantile(values: &[Duration], share: f64) -> Duration {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

#[test]
fn shares_and_quantiles() {
    assert_eq!((jain(&[3.0, 3.0, 3.0]), jain(&[4.0, 0.0, 0.0, 0.0]), jain(&[])), (1.0, 0.25, 1.0));
    let values: Vec<Duration> = (1..=200).rev().map(Duration::from_secs).collect();
    assert_eq!(quantile(&values, 0.5), Duration::from_secs(100));
    assert_eq!(quantile(&values, 0.99), Duration::from_secs(198));
    assert_eq!(quantile(&[], 0.5), Duration::ZERO);
}
