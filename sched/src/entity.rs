//! What the scheduler knows of a task: who it is, how much it weighs, and where its time went.

#[cfg(feature = "reservations")]
use crate::Reservation;
use crate::{Latency, Luggage, Nanos, TaskId};

/// How willing a task is to let others go first, −20 (least) to 19 (most). Each step is worth about 10 % of CPU time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Nice(i8);

impl Nice {
    /// The heaviest.
    pub const MIN: Self = Self(-20);
    /// The lightest.
    pub const MAX: Self = Self(19);

    /// This nice value; one outside −20..=19 is taken to the nearer end.
    #[must_use]
    pub fn new(nice: i32) -> Self {
        Self(nice.clamp(-20, 19) as i8)
    }

    /// As a number, −20..=19.
    #[must_use]
    pub fn value(self) -> i32 {
        i32::from(self.0)
    }

    /// The weight of this nice value: 1024 for 0, times 1.25 for each step down (Linux's `sched_prio_to_weight`).
    #[must_use]
    pub fn weight(self) -> u32 {
        // In range: `new` is the only constructor, and clamps.
        WEIGHTS[(self.0 + 20) as usize]
    }
}

#[rustfmt::skip]
const WEIGHTS: [u32; 40] = [
    88761, 71755, 56483, 46273, 36291,
    29154, 23254, 18705, 14949, 11916,
     9548,  7620,  6100,  4904,  3906,
     3121,  2501,  1991,  1586,  1277,
     1024,   820,   655,   526,   423,
      335,   272,   215,   172,   137,
      110,    87,    70,    56,    45,
       36,    29,    23,    18,    15,
];

/// Which class schedules a task. Classes come in order: a task of an earlier one runs first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// A budget in every period is reserved for the task.
    #[cfg(feature = "reservations")]
    Reserved(Reservation),
    /// Shares what is left, by weight.
    Fair,
}

impl Class {
    /// A word for tables.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            #[cfg(feature = "reservations")]
            Self::Reserved(_) => "reserved",
            Self::Fair => "fair",
        }
    }
}

/// What is known of a task's work before it is done; a policy that learns groups what it has seen by this. 0 stands for "not known".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Origin {
    /// Which program or function it is: any number that is the same for the same one ([`key`] of a name).
    pub program: u32,
    /// On whose behalf it runs: a user, a session, an application.
    pub owner: u32,
    /// How much work the next burst was asked to do, in any unit that stays the same for a program: bytes of input, tokens, pages.
    pub declared: u64,
}

/// A number for a name, never 0: its FNV-1a hash.
#[must_use]
pub fn key(name: &str) -> u32 {
    let hash =
        name.bytes().fold(0x811c_9dc5, |hash: u32, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    hash.max(1)
}

/// Why a task stopped running.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// It waits for something, or has ended. Voluntary.
    Blocked,
    /// It gave the CPU away and is still runnable. Voluntary.
    Yielded,
    /// The CPU was taken from it; it is still runnable.
    Preempted,
}

/// Where a task's time went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Accounting {
    /// Time on a CPU.
    pub run: Nanos,
    /// Time runnable, without a CPU.
    pub wait: Nanos,
    /// Time blocked.
    pub sleep: Nanos,
    /// Switches away that the task asked for (blocked or yielded).
    pub voluntary: u64,
    /// Switches away that it did not ask for.
    pub involuntary: u64,
    /// Times it was woken.
    pub wakeups: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Runnable,
    Running,
    Blocked,
}

/// A task as the scheduler sees it. The kernel keeps one in each of its tasks, and tells it of every change of state:
/// `Runnable —start→ Running —stop→ Runnable | Blocked —wake→ Runnable`. A call that does not fit the state (waking a task that is
/// awake) changes nothing, so every nanosecond since [`new`](Self::new) is counted exactly once.
#[derive(Debug, Clone)]
pub struct Entity {
    id: TaskId,
    nice: Nice,
    class: Class,
    origin: Origin,
    state: State,
    /// Since when `state` lasts, as far as not yet accounted.
    since: Nanos,
    accounting: Accounting,
    /// Time on a CPU since it was woken or made.
    burst: Nanos,
    /// When it was woken, until it runs.
    woken: Option<Nanos>,
    wake_latency: Latency,
    luggage: Luggage,
}

impl Entity {
    /// A task that is runnable from `now` on.
    #[must_use]
    pub fn new(id: TaskId, nice: Nice, class: Class, now: Nanos) -> Self {
        let (state, accounting) = (State::Runnable, Accounting::default());
        let (origin, wake_latency, luggage) = Default::default();
        let (since, burst, woken) = (now, 0, None);
        Self { id, nice, class, origin, state, since, accounting, burst, woken, wake_latency, luggage }
    }

    /// Who it is.
    #[must_use]
    pub fn id(&self) -> TaskId {
        self.id
    }

    /// Its nice value.
    #[must_use]
    pub fn nice(&self) -> Nice {
        self.nice
    }

    /// Changes its nice value; a policy obeys it from the next `enqueue` on.
    pub fn set_nice(&mut self, nice: Nice) {
        self.nice = nice;
    }

    /// Its share of CPU time relative to that of others.
    #[must_use]
    pub fn weight(&self) -> u32 {
        self.nice.weight()
    }

    /// Which class it belongs to.
    #[must_use]
    pub fn class(&self) -> Class {
        self.class
    }

    /// Moves it to another class. To be called while it is not registered on a run queue: registering is what admits it.
    pub fn set_class(&mut self, class: Class) {
        self.class = class;
    }

    /// What is known of its work.
    #[must_use]
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// Says what is known of its work; a policy reads it when the task is registered, and whenever a burst begins.
    pub fn set_origin(&mut self, origin: Origin) {
        self.origin = origin;
    }

    /// What it takes along from the CPU where it was queued last; read where it is queued with [`Enqueue::Moved`](crate::Enqueue::Moved).
    #[must_use]
    pub fn luggage(&self) -> Luggage {
        self.luggage
    }

    /// It moves to another CPU, with this ([`RunQueue::give_away`](crate::RunQueue::give_away) says with what).
    pub fn pack(&mut self, luggage: Luggage) {
        self.luggage = luggage;
    }

    /// Takes over from a later copy of it what a policy goes by: all but its class, its accounts and its state.
    pub(crate) fn follow(&mut self, later: &Self) {
        (self.nice, self.origin, self.burst) = (later.nice, later.origin, later.burst);
    }

    /// Where its time went up to its last change of state (or [`account`](Self::account)).
    #[must_use]
    pub fn accounting(&self) -> Accounting {
        self.accounting
    }

    /// Time on a CPU since it was woken or made, up to its last change of state (or [`account`](Self::account)).
    #[must_use]
    pub fn burst(&self) -> Nanos {
        self.burst
    }

    /// Times from being woken, or due, to running.
    #[must_use]
    pub fn wake_latency(&self) -> &Latency {
        &self.wake_latency
    }

    /// It is on a CPU from `now` on. If it has just been woken, says how long ago.
    pub fn start(&mut self, now: Nanos) -> Option<Nanos> {
        if self.state != State::Runnable {
            return None;
        }
        self.account(now);
        self.state = State::Running;
        let latency = now.saturating_sub(self.woken.take()?);
        self.wake_latency.add(latency);
        Some(latency)
    }

    /// It has left the CPU. Returns how long it ran since it was last accounted: what
    /// [`charge`](crate::RunQueue::charge) wants to know. 0 when it was not running.
    pub fn stop(&mut self, why: Stop, now: Nanos) -> Nanos {
        if self.state != State::Running {
            return 0;
        }
        let ran = self.account(now);
        self.state = if why == Stop::Blocked { State::Blocked } else { State::Runnable };
        match why {
            Stop::Blocked | Stop::Yielded => self.accounting.voluntary += 1,
            Stop::Preempted => self.accounting.involuntary += 1,
        }
        ran
    }

    /// What it waited for has happened.
    pub fn wake(&mut self, now: Nanos) {
        if self.state == State::Blocked {
            self.account(now);
            self.state = State::Runnable;
            self.accounting.wakeups += 1;
            self.burst = 0;
            self.woken = Some(now);
        }
    }

    /// It has just been woken by a clock, and was due at `at`: how late it runs counts from there, not from the wake-up.
    pub fn was_due(&mut self, at: Nanos) {
        if let Some(woken) = &mut self.woken {
            *woken = at.min(*woken);
        }
    }

    /// Accounts the time up to `now` to the state it is in. Returns that time if it is running (to charge a task in the
    /// middle of its slice), else 0.
    pub fn account(&mut self, now: Nanos) -> Nanos {
        let elapsed = now.saturating_sub(self.since);
        self.since = self.since.max(now);
        let (sum, ran) = match self.state {
            State::Running => (&mut self.accounting.run, elapsed),
            State::Runnable => (&mut self.accounting.wait, 0),
            State::Blocked => (&mut self.accounting.sleep, 0),
        };
        *sum += elapsed;
        self.burst += ran;
        ran
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nice_is_clamped_and_weights_fall() {
        assert_eq!(Nice::new(-100), Nice::MIN);
        assert_eq!(Nice::new(100), Nice::MAX);
        assert_eq!(Nice::default().weight(), 1024);
        let weights = || (-20..=19).map(|nice| Nice::new(nice).weight());
        assert!(weights().is_sorted_by(|a, b| a > b));
        for (heavy, light) in weights().zip(weights().skip(1)) {
            let ratio = f64::from(heavy) / f64::from(light);
            assert!((1.18..1.31).contains(&ratio), "{heavy}/{light}");
        }
    }

    #[test]
    fn every_nanosecond_is_counted_once() {
        let mut task = Entity::new(7, Nice::default(), Class::Fair, 100);
        task.start(110);
        task.start(120); // running already
        assert_eq!(task.account(130), 20);
        assert_eq!(task.stop(Stop::Blocked, 150), 20);
        assert_eq!(task.stop(Stop::Blocked, 160), 0);
        task.wake(200);
        task.wake(300);
        task.start(205);
        assert_eq!(task.stop(Stop::Preempted, 215), 10);
        task.start(216);
        assert_eq!(task.stop(Stop::Yielded, 200), 0); // a clock that goes back counts as standing still
        assert_eq!((task.wake_latency().count(), task.wake_latency().quantile(1.0)), (1, 8)); // 200 to 205
        let mut late = Entity::new(8, Nice::default(), Class::Fair, 0);
        late.start(0);
        late.stop(Stop::Blocked, 10);
        late.was_due(1); // not woken yet
        late.wake(200);
        late.was_due(100);
        late.was_due(300); // not before it was woken
        assert_eq!(late.start(210), Some(110));
        assert_eq!(
            task.accounting(),
            Accounting { run: 50, wait: 16, sleep: 50, voluntary: 2, involuntary: 1, wakeups: 1 }
        );
    }
}
