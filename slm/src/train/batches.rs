//! Which tokens an update sees: the training stream cut into windows, in a new random order each time round.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use llm::random::SplitMix64;

/// A stream of tokens, cut into windows of one length.
pub struct Batches {
    tokens: Vec<u16>,
    length: usize,
    seed: u64,
    order: Option<(u64, Vec<u32>)>,
}

/// Windows side by side: what the network reads, and what comes next at each position.
pub struct Batch {
    /// `[sequence][position]`.
    pub tokens: Vec<u32>,
    /// `[sequence][position]`.
    pub targets: Vec<u32>,
}

impl Batches {
    /// The tokens of a file of u16, little endian, for a vocabulary of `vocabulary`.
    pub fn read(path: &Path, length: usize, vocabulary: u64, seed: u64) -> Result<Self> {
        let bytes = std::fs::read(path)
            .with_context(|| format!("cannot read {} (make it with `auton data build`)", path.display()))?;
        let tokens: Vec<u16> = bytes.chunks_exact(2).map(|b| u16::from_le_bytes([b[0], b[1]])).collect();
        if let Some(token) = tokens.iter().find(|t| u64::from(**t) >= vocabulary) {
            anyhow::bail!("{} holds token {token}, but the vocabulary has {vocabulary}", path.display());
        }
        ensure!(
            tokens.len() > length,
            "{} holds {} tokens, too few for one sequence of {length}",
            path.display(),
            tokens.len()
        );
        Ok(Batches { tokens, length, seed, order: None })
    }

    /// Windows of one round.
    fn windows(&self) -> u64 {
        ((self.tokens.len() - 1) / self.length) as u64
    }

    /// The windows from number `first` on, counted over all rounds.
    pub fn shuffled(&mut self, first: u64, count: usize) -> Batch {
        let starts: Vec<usize> = (first..first + count as u64).map(|n| self.start(n)).collect();
        self.cut(&starts)
    }

    /// `count` windows from all over the stream, always the same ones, or all if there are fewer.
    pub fn spread(&self, count: usize) -> Batch {
        let windows = self.windows() as usize;
        let count = count.min(windows);
        let starts: Vec<usize> = (0..count).map(|i| i * windows / count * self.length).collect();
        self.cut(&starts)
    }

    fn cut(&self, starts: &[usize]) -> Batch {
        let tokens = |from: usize| {
            let windows = starts.iter().flat_map(move |s| &self.tokens[s + from..s + from + self.length]);
            windows.map(|t| u32::from(*t)).collect()
        };
        Batch { tokens: tokens(0), targets: tokens(1) }
    }

    /// Where window `number` begins: each round has an order of its own, and cuts at other places.
    fn start(&mut self, number: u64) -> usize {
        let (round, at) = (number / self.windows(), number % self.windows());
        if self.order.as_ref().is_none_or(|(of, _)| *of != round) {
            self.order = Some((round, self.shuffle(round)));
        }
        let spare = (self.tokens.len() - 1) % self.length;
        let shift = SplitMix64::new(self.seed ^ (round << 32)).next_u64() as usize % (spare + 1);
        let window = self.order.as_ref().map_or(0, |(_, order)| order[at as usize]);
        shift + window as usize * self.length
    }

    /// Fisher and Yates.
    fn shuffle(&self, round: u64) -> Vec<u32> {
        let mut random = SplitMix64::new(self.seed.wrapping_add(round.wrapping_mul(0x9E37_79B9)));
        let mut order: Vec<u32> = (0..self.windows() as u32).collect();
        for i in (1..order.len()).rev() {
            order.swap(i, (random.next_u64() % (i as u64 + 1)) as usize);
        }
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batches(count: u16, length: usize) -> Batches {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("train.bin");
        std::fs::write(&path, (0..count).flat_map(u16::to_le_bytes).collect::<Vec<u8>>()).unwrap();
        Batches::read(&path, length, 60_000, 3).unwrap()
    }

    #[test]
    fn each_round_sees_every_window_once_in_an_order_of_its_own() {
        let mut batches = batches(1000, 10);
        let mut rounds = Vec::new();
        for round in 0..2 {
            let batch = batches.shuffled(round * 99, 99);
            assert!(batch.tokens.iter().zip(&batch.targets).all(|(t, n)| t + 1 == *n));
            let firsts: Vec<u32> = batch.tokens.iter().step_by(10).copied().collect();
            let mut sorted = firsts.clone();
            sorted.sort_unstable();
            assert!(sorted.windows(2).all(|w| w[1] - w[0] == 10));
            rounds.push(firsts);
        }
        assert_ne!(rounds[0], rounds[1]);
        let spread = batches.spread(9);
        assert_eq!(
            spread.tokens.iter().step_by(10).copied().collect::<Vec<_>>(),
            [0, 110, 220, 330, 440, 550, 660, 770, 880]
        );
        // Any window can be asked for alone: a resumed run sees what an uninterrupted one sees.
        assert_eq!(batches.shuffled(57, 1).tokens[0], rounds[0][57]);
    }

    #[test]
    fn streams_that_cannot_be_used_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("train.bin");
        std::fs::write(&path, [9, 0, 8, 0]).unwrap();
        let fault = |length, vocabulary| {
            Batches::read(&path, length, vocabulary, 1).err().map(|e| format!("{e:#}")).unwrap_or_default()
        };
        assert!(fault(1, 9).contains("token 9, but the vocabulary has 9"));
        assert!(fault(2, 10).contains("too few"));
        assert!(fault(1, 10).is_empty());
    }
}
