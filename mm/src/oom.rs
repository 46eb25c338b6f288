//! Whom to end when nothing else frees memory, by Linux's rule (`oom_badness` in `mm/oom_kill.c`).

/// A task that holds memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// Its number.
    pub id: u64,
    /// Memory that its end would free.
    pub bytes: u64,
    /// Whether it agreed to be ended.
    pub killable: bool,
    /// Added to its score, in thousandths of all memory: −1000 is "never", 1000 "first" (Linux: `oom_score_adj`).
    pub adjust: i16,
}

impl Candidate {
    /// How much the machine gains by its end, in bytes; `None` when it must not be ended.
    #[must_use]
    pub fn score(&self, total_bytes: u64) -> Option<i128> {
        let adjust = i128::from(self.adjust.clamp(-1000, 1000));
        let may_end = self.killable && adjust > -1000 && self.bytes > 0;
        may_end.then(|| i128::from(self.bytes) + adjust * i128::from(total_bytes) / 1000)
    }
}

/// The task with the worst score, on a machine of `total_bytes`; of equals, the one that comes first. `None` when none may
/// be ended.
pub fn pick(candidates: impl IntoIterator<Item = Candidate>, total_bytes: u64) -> Option<Candidate> {
    let scored = candidates.into_iter().filter_map(|one| Some((one.score(total_bytes)?, one)));
    let worst = scored.reduce(|worst, next| if next.0 > worst.0 { next } else { worst });
    worst.map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(id: u64, bytes: u64, adjust: i16) -> Candidate {
        Candidate { id, bytes, killable: true, adjust }
    }

    fn picked(tasks: &[Candidate]) -> Option<u64> {
        pick(tasks.iter().copied(), 1 << 20).map(|task| task.id)
    }

    #[test]
    fn the_largest_is_ended() {
        assert_eq!(picked(&[task(1, 10, 0), task(2, 30, 0), task(3, 20, 0)]), Some(2));
        assert_eq!(picked(&[task(1, 10, 0), task(2, 10, 0)]), Some(1));
    }

    #[test]
    fn adjustment_counts_in_thousandths_of_memory() {
        // 1 ‰ of 1 MiB is 1048 bytes.
        assert_eq!(picked(&[task(1, 2000, 0), task(2, 1000, 1)]), Some(2));
        assert_eq!(picked(&[task(1, 2000, -1), task(2, 1000, 0)]), Some(2));
        assert_eq!(picked(&[task(1, 2100, 0), task(2, 1000, 1)]), Some(1));
    }

    #[test]
    fn some_are_never_ended() {
        assert_eq!(picked(&[]), None);
        assert_eq!(picked(&[task(1, u64::MAX, -1000), task(2, 0, 1000)]), None);
        assert_eq!(picked(&[task(1, u64::MAX, i16::MIN)]), None);
        assert_eq!(picked(&[Candidate { killable: false, ..task(1, 10, 1000) }]), None);
        assert_eq!(picked(&[task(1, u64::MAX, i16::MAX), task(2, 1, -999)]), Some(1));
    }
}
