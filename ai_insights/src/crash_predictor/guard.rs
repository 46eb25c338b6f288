//! Whether to act on an assessment: five rules that no prediction can break.
//!
//! 1. **Budget**: an assessment that took longer than its budget is not used; the classic rule answers, and the
//!    miss is counted.
//! 2. **Validity**: a probability that is none, a stale assessment, or an action that cannot do anything is never applied.
//! 3. **Cooldown**: at least 1.5 s from one action to the next.
//! 4. **Watchdog**: when three actions in a row are followed by more refused allocations or more stall than before them, the
//!    guard hands control back to the classic rule by itself and says so.
//! 5. **Score**: every decision is counted, every action has an outcome.
//!
//! What is done, in turn: reclaim, compact, hold growth back. The first two make room for large blocks and for those that
//! cannot wait, but they do not raise the headroom, of which reclaimable pages are part already; only slower growth helps
//! there. When less than 10 s are left, holding comes first. How long growth is held is [`hold`](super::hold)'s rule.
//!
//! The classic rule is Linux's low watermark: act when free pages are below 5/4 of the reserve. It never holds growth back.

use super::assessment::Assessment;
use super::hold::{Broken, Hold};
use super::sample::Sample;

/// The shortest cooldown.
pub const MIN_COOLDOWN_NS: u64 = 1_500_000_000;
/// Actions in a row that make it worse before the watchdog ends it.
const PATIENCE: u8 = 3;
/// An assessment older than this is stale.
const STALE_NS: u64 = 1_000_000_000;
/// The turn of actions goes on where it was for so long; after that it begins anew.
const TURN_NS: u64 = 10_000_000_000;
/// With less time than this left, growth is held back first.
const SOON_S: f32 = 10.0;

/// Who acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Nobody.
    Off,
    /// Decisions are made and counted, and nothing is done.
    DryRun,
    /// The predictor.
    On,
    /// The classic rule: the watchdog took the predictor's control away.
    Classic,
}

impl Mode {
    /// As `crashctl auto` says it.
    pub fn name(self) -> &'static str {
        match self {
            Mode::Off => "off",
            Mode::DryRun => "dry-run",
            Mode::On => "on",
            Mode::Classic => "classic (watchdog)",
        }
    }
}

/// What can be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Ask the shrinkers for this many pages.
    Reclaim {
        /// Pages wanted; never more than are reclaimable.
        pages: u64,
    },
    /// Compact.
    Compact,
    /// Hold growth back for [`HOLD_NS`](super::HOLD_NS), or go on doing so: tasks that agreed to be ended are given
    /// memory slowly.
    HoldBack,
}

/// Why nothing is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The risk is below the threshold.
    Calm,
    /// The mode is off.
    Off,
    /// The last action was too recently.
    Cooldown,
    /// Nothing to reclaim, nothing to compact, and growth is held back already or must not be.
    Futile,
}

/// The answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Do nothing.
    Nothing(Why),
    /// Do this, and report it with [`Guard::done`].
    Act(Action),
    /// A dry run: this would be done.
    WouldAct(Action),
}

/// What an action did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Done {
    /// When it ended.
    pub t_ns: u64,
    /// Pages that became free, or were moved.
    pub pages: u64,
}

/// What the guard decided, and what came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GuardScore {
    /// Calls.
    pub decisions: u64,
    /// Actions: reclaims, compactions, holds and their renewals.
    pub actions: u64,
    /// Reclaims among them.
    pub reclaims: u64,
    /// Compactions among them.
    pub compactions: u64,
    /// Holds begun.
    pub holds: u64,
    /// Holds made longer.
    pub renewals: u64,
    /// Pages freed or moved.
    pub pages: u64,
    /// Actions that a dry run would have taken.
    pub would_act: u64,
    /// Times the cooldown held an action back.
    pub cooled: u64,
    /// Assessments over their budget.
    pub over_budget: u64,
    /// Assessments or actions that were not valid.
    pub invalid: u64,
    /// Actions after which refusals or stall were no worse.
    pub better: u64,
    /// Actions after which they were worse.
    pub worse: u64,
    /// Times the watchdog ended it.
    pub watchdog: u64,
}

/// Counters just before an action and a while earlier, to compare with those after.
#[derive(Debug, Clone, Copy)]
struct Before {
    t_ns: u64,
    failures: u64,
    stall_ns: u64,
    /// Growth of both over the interval before the action.
    failures_before: u64,
    stall_before: u64,
}

/// Decides whether to act.
#[derive(Debug, Clone)]
pub struct Guard {
    mode: Mode,
    cooldown_ns: u64,
    budget_ns: u64,
    last_action: Option<(u64, Action)>,
    holding: bool,
    hold: Option<Hold>,
    broken: Option<Broken>,
    judged: Option<Before>,
    /// Counters about one cooldown ago.
    earlier: Option<Sample>,
    earlier_next: Option<Sample>,
    worse_in_a_row: u8,
    score: GuardScore,
}

impl Guard {
    /// Off, with the shortest cooldown, for assessments that may take `budget_ns`.
    pub const fn new(budget_ns: u64) -> Self {
        Guard {
            mode: Mode::Off,
            cooldown_ns: MIN_COOLDOWN_NS,
            budget_ns,
            last_action: None,
            holding: true,
            hold: None,
            broken: None,
            judged: None,
            earlier: None,
            earlier_next: None,
            worse_in_a_row: 0,
            score: GuardScore {
                decisions: 0,
                actions: 0,
                reclaims: 0,
                compactions: 0,
                holds: 0,
                renewals: 0,
                pages: 0,
                would_act: 0,
                cooled: 0,
                over_budget: 0,
                invalid: 0,
                better: 0,
                worse: 0,
                watchdog: 0,
            },
        }
    }

    /// Who acts now. [`Mode::Classic`] says that the watchdog bit; setting the mode ends that.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Sets who acts, and gives the predictor a new chance.
    pub fn set_mode(&mut self, mode: Mode) {
        self.mode = mode;
        self.worse_in_a_row = 0;
        self.judged = None;
        (self.hold, self.broken) = (None, None);
    }

    /// Whether growth may be held back; it may, unless this says otherwise. A hold in force is not renewed then.
    pub fn set_holding(&mut self, holding: bool) {
        self.holding = holding;
        self.hold = self.hold.filter(|_| holding);
        self.broken = self.broken.filter(|_| holding);
    }

    /// Whether a hold of the guard's is in force, as far as it knows: one that is over lets go step by step.
    pub fn holds(&self) -> bool {
        self.hold.is_some()
    }

    /// Sets the cooldown; what is shorter than [`MIN_COOLDOWN_NS`] becomes that.
    pub fn set_cooldown(&mut self, cooldown_ns: u64) {
        self.cooldown_ns = cooldown_ns.max(MIN_COOLDOWN_NS);
    }

    /// Decides after a sample. `took_ns` is how long the assessment took, `threshold` the predictor's.
    pub fn decide(&mut self, a: &Assessment, now: &Sample, threshold: f32, took_ns: u64) -> Decision {
        self.score.decisions += 1;
        self.judge(now);
        self.remember(now);
        if self.mode == Mode::Off {
            return Decision::Nothing(Why::Off);
        }
        let stale = now.t_ns.abs_diff(a.t_ns) > STALE_NS;
        let valid = (0.0..=1.0).contains(&a.probability) && !stale;
        let in_time = took_ns <= self.budget_ns;
        self.score.invalid += u64::from(!valid);
        self.score.over_budget += u64::from(!in_time);
        let learned = valid && in_time && self.mode != Mode::Classic;
        self.let_go(now);
        let relapse = self.hold.is_none() && self.broken.is_some_and(|broken| broken.is_back(a, now));
        let renew = learned && (relapse || self.hold.is_some_and(|hold| hold.is_due(now)));
        let danger = if learned { a.probability >= threshold } else { below_low_watermark(now) };
        if !danger && !renew {
            return Decision::Nothing(Why::Calm);
        }
        let action = if renew { Some(Action::HoldBack) } else { self.choose(a, now, learned) };
        let Some(action) = action else { return Decision::Nothing(Why::Futile) };
        if self.last_action.is_some_and(|(t_ns, _)| now.t_ns < t_ns.saturating_add(self.cooldown_ns)) {
            self.score.cooled += 1;
            return Decision::Nothing(Why::Cooldown);
        }
        self.last_action = Some((now.t_ns, action));
        if self.mode == Mode::DryRun {
            self.score.would_act += 1;
            return Decision::WouldAct(action);
        }
        self.begin(action, now);
        Decision::Act(action)
    }

    /// Reports what an action did: the cooldown counts from its end.
    pub fn done(&mut self, done: Done) {
        if let Some((t_ns, _)) = &mut self.last_action {
            *t_ns = (*t_ns).max(done.t_ns);
        }
        self.score.pages += done.pages;
    }

    /// What was decided so far.
    pub fn score(&self) -> GuardScore {
        self.score
    }

    /// Reclaim, compact, hold back, in turn; only what can do something.
    fn choose(&self, a: &Assessment, now: &Sample, learned: bool) -> Option<Action> {
        // The classic rule knows of no growth, so it holds none back.
        let hold = (learned && self.holding && self.hold.is_none()).then_some(Action::HoldBack);
        let soon = a.seconds_to_oom.is_some_and(|s| s.mid < SOON_S);
        if soon && hold.is_some() {
            return hold;
        }
        let reclaim = (now.reclaimable_pages > 0).then(|| {
            // Enough to double the time that is left, an eighth of the memory at most.
            let least = now.total_pages / 64;
            let most = (now.total_pages / 8).max(1);
            let wanted = if soon { most } else { now.free_pages.clamp(least.min(most), most) };
            Action::Reclaim { pages: wanted.max(1).min(now.reclaimable_pages) }
        });
        let scattered = now.fragmentation > 0 || now.largest_free_order < 9;
        let compact = (scattered && now.free_pages > 0).then_some(Action::Compact);
        match self.last_action.filter(|(t_ns, _)| now.t_ns < t_ns.saturating_add(TURN_NS)) {
            Some((_, Action::Reclaim { .. })) => compact.or(hold).or(reclaim),
            Some((_, Action::Compact)) => hold.or(reclaim).or(compact),
            Some((_, Action::HoldBack)) | None => reclaim.or(compact).or(hold),
        }
    }

    /// Forgets a hold that is over. The cooldown counts from its end when its time was up.
    fn let_go(&mut self, now: &Sample) {
        let Some(hold) = self.hold.filter(|hold| hold.is_over(now)) else { return };
        self.hold = None;
        self.broken = hold.broken(now);
        if let Some((t_ns, _)) = &mut self.last_action {
            *t_ns = (*t_ns).max(hold.until_ns().min(now.t_ns));
        }
    }

    fn begin(&mut self, action: Action, now: &Sample) {
        self.score.actions += 1;
        match action {
            Action::Reclaim { .. } => self.score.reclaims += 1,
            Action::Compact => self.score.compactions += 1,
            Action::HoldBack => match &mut self.hold {
                Some(hold) => {
                    hold.renew(now);
                    self.score.renewals += 1;
                }
                None => {
                    self.hold = Some(Hold::begin(now));
                    self.score.holds += 1;
                }
            },
        }
        let earlier = self.earlier.unwrap_or(*now);
        self.judged = Some(Before {
            t_ns: now.t_ns,
            failures: now.failures,
            stall_ns: now.stall_some_ns,
            failures_before: now.failures.saturating_sub(earlier.failures),
            stall_before: now.stall_some_ns.saturating_sub(earlier.stall_some_ns),
        });
    }

    /// One minimal cooldown after an action: is it worse than before?
    fn judge(&mut self, now: &Sample) {
        let Some(before) = self.judged else { return };
        if now.t_ns < before.t_ns.saturating_add(MIN_COOLDOWN_NS) {
            return;
        }
        self.judged = None;
        let failures = now.failures.saturating_sub(before.failures);
        let stall = now.stall_some_ns.saturating_sub(before.stall_ns);
        // A tenth of the interval more in stall is noise.
        let noise = MIN_COOLDOWN_NS / 10;
        if failures > before.failures_before || stall > before.stall_before.saturating_add(noise) {
            self.score.worse += 1;
            self.worse_in_a_row += 1;
        } else {
            self.score.better += 1;
            self.worse_in_a_row = 0;
        }
        if self.worse_in_a_row >= PATIENCE && self.mode == Mode::On {
            self.mode = Mode::Classic;
            self.worse_in_a_row = 0;
            (self.hold, self.broken) = (None, None);
            self.score.watchdog += 1;
        }
    }

    /// Keeps a sample that is between one and two cooldowns old.
    fn remember(&mut self, now: &Sample) {
        let next = self.earlier_next.get_or_insert(*now);
        if now.t_ns >= next.t_ns.saturating_add(MIN_COOLDOWN_NS) {
            self.earlier = self.earlier_next.replace(*now);
        }
        self.earlier.get_or_insert(*now);
    }
}

fn below_low_watermark(now: &Sample) -> bool {
    now.free_pages < now.reserve_pages() / 4 * 5
}
