//! Hosts that come and go, in every state that a connection can be in.

use super::{PATIENCE, Target, question};
use anyhow::{Result, bail};
use control::Message;
use std::time::{Duration, Instant};

/// Not the one on which bad frames were sent: their wrong tokens lock it out for a while.
const PORT: u16 = 1;

pub fn run(target: &Target, cycles: u64) -> Result<()> {
    let begun = Instant::now();
    let (mut answered, mut inferences) = (0, 0);
    for cycle in 0..cycles {
        let mut connection = target.connect(PORT)?;
        match cycle % 4 {
            // Comes and goes without a word.
            0 => {}
            // Goes in the middle of a frame, of which a good one would be the rest.
            1 => connection.send_bytes(b"AUTN\x02\x01\0\0")?,
            // Goes in the middle of an answer.
            2 if cycle % 40 == 2 => {
                connection.ask(&question("Count to one hundred.", 64), Some(target.submit))?;
                inferences += 1;
            }
            _ => {
                let (_, number) = connection.ask(&Message::Ping(cycle), None)?;
                if number != cycle {
                    bail!("cycle {cycle} was answered with {number}");
                }
                answered += 1;
            }
        }
        eprint!("\r{cycle:>9} connections");
    }
    eprintln!();
    let took = begun.elapsed();
    // What was asked by those who left ends by itself.
    let waiting = Instant::now();
    loop {
        let status = target.status()?;
        if status.running == 0 && status.waiting == 0 {
            break;
        }
        if waiting.elapsed() > PATIENCE {
            bail!("{} inferences of hosts that left still run", status.running + status.waiting);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    println!(
        "cycles   {cycles} connections in {:.0} s: {answered} pings, all answered; {inferences} answers left alone, all ended",
        took.as_secs_f64()
    );
    Ok(())
}
