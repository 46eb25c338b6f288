//! Whom to end when nothing else frees memory: the largest task, as by Linux's `oom_badness` (`mm/oom_kill.c`), among those that
//! agreed to be ended. There is no `oom_score_adj`: whoever must not be ended does not agree.

/// A task that holds memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// Its number.
    pub id: u64,
    /// Memory that its end would free.
    pub bytes: u64,
    /// Whether it agreed to be ended.
    pub killable: bool,
}

/// The largest task that may be ended and frees anything by that; of equals, the one that comes first. `None` when there is
/// none.
pub fn pick(candidates: impl IntoIterator<Item = Candidate>) -> Option<Candidate> {
    let may_end = candidates.into_iter().filter(|one| one.killable && one.bytes > 0);
    may_end.reduce(|worst, next| if next.bytes > worst.bytes { next } else { worst })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(id: u64, bytes: u64) -> Candidate {
        Candidate { id, bytes, killable: true }
    }

    fn picked(tasks: &[Candidate]) -> Option<u64> {
        pick(tasks.iter().copied()).map(|task| task.id)
    }

    #[test]
    fn the_largest_is_ended() {
        assert_eq!(picked(&[task(1, 10), task(2, 30), task(3, 20)]), Some(2));
        assert_eq!(picked(&[task(1, 10), task(2, 10)]), Some(1));
        assert_eq!(picked(&[task(1, 1), task(2, u64::MAX)]), Some(2));
    }

    #[test]
    fn some_are_never_ended() {
        let kernel = Candidate { killable: false, ..task(1, 30) };
        assert_eq!(picked(&[]), None);
        assert_eq!(picked(&[kernel, task(2, 0)]), None);
        assert_eq!(picked(&[kernel, task(2, 10)]), Some(2));
    }
}
