//! Keeping score: every prediction waits for its outcome, and is then counted.
//!
//! Two things are scored. *Alarms* (the probability crossed the threshold): a true positive when memory runs out
//! while the alarm lasts or within the horizon after it; a false positive when the horizon passes without; *averted* when an
//! action was taken meanwhile and nothing happened, which nobody can tell from a false alarm, so it is counted
//! apart and no one learns from it. An OOM without an alarm is a miss. *Probabilities*: one a second is kept and scored by Brier's
//! rule (1950) against the rival that always says the training runs' base rate.

use super::HORIZON_NS;

/// Probabilities that wait: one a second over the horizon, and some room.
const WAITING: usize = 24;
/// Alarms kept for `history`.
pub const RECORDS: usize = 32;
const SECOND: u64 = 1_000_000_000;
/// OOMs that come closer together than this are one: memory that has run out refuses more than one request.
const SAME_OOM_NS: u64 = 5 * SECOND;

/// What became of an alarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Not known yet.
    Pending,
    /// Memory ran out within the horizon.
    TruePositive,
    /// It did not.
    FalsePositive,
    /// It did not, and an action had been taken.
    Averted,
    /// Memory ran out, and there had been no alarm.
    Miss,
}

impl Outcome {
    /// A word for tables and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Pending => "pending",
            Outcome::TruePositive => "true positive",
            Outcome::FalsePositive => "false positive",
            Outcome::Averted => "averted",
            Outcome::Miss => "miss",
        }
    }
}

/// An alarm, or an OOM that none had announced.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Record {
    /// When the alarm was raised (a miss: when memory ran out).
    pub raised_ns: u64,
    /// When it was last over the threshold.
    pub last_ns: u64,
    /// The highest probability while it lasted.
    pub probability: f32,
    /// Expected seconds to OOM when it was raised.
    pub seconds_to_oom: Option<f32>,
    /// Seconds from the alarm to the OOM.
    pub lead_s: f32,
    /// An action was taken while it was pending.
    pub acted: bool,
    /// What became of it.
    pub outcome: Outcome,
}

/// How good the predictions have been so far.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Score {
    /// Alarms that an OOM followed.
    pub true_positives: u64,
    /// Alarms that nothing followed, though nobody acted.
    pub false_positives: u64,
    /// OOMs without an alarm.
    pub misses: u64,
    /// Alarms that an action followed, and no OOM.
    pub averted: u64,
    /// Alarms whose outcome is not known yet.
    pub pending: u64,
    /// True positives among resolved alarms (averted ones left out); `None` before the first.
    pub precision: Option<f32>,
    /// True positives among OOMs; `None` before the first.
    pub recall: Option<f32>,
    /// Mean seconds from alarm to OOM.
    pub mean_lead_s: Option<f32>,
    /// Mean squared error of the probabilities; `None` before the first is resolved.
    pub brier: Option<f32>,
    /// The same for always saying the base rate of the training runs.
    pub brier_baseline: Option<f32>,
    /// Probabilities resolved.
    pub resolved: u64,
}

#[derive(Debug, Clone, Copy)]
struct Waiting {
    t_ns: u64,
    log_odds: f32,
    probability: f32,
    acted: bool,
}

/// A probability whose outcome is now known, for the model to learn from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Resolved {
    /// Log-odds by the offline fit when it was made.
    pub log_odds: f32,
    /// Whether memory ran out within the horizon.
    pub happened: bool,
}

/// Waiting predictions, the latest records and the totals.
#[derive(Debug, Clone)]
pub struct ScoreKeeper {
    base_rate: f32,
    waiting: [Waiting; WAITING],
    first: usize,
    count: usize,
    records: [Record; RECORDS],
    recorded: usize,
    alarm: Option<usize>,
    score: Score,
    last_oom: Option<u64>,
    lead_sum: f64,
    squared: f64,
    squared_baseline: f64,
}

impl ScoreKeeper {
    /// Nothing predicted yet.
    pub const fn new(base_rate: f32) -> Self {
        let nothing = Waiting { t_ns: 0, log_odds: 0.0, probability: 0.0, acted: false };
        let record = Record {
            raised_ns: 0,
            last_ns: 0,
            probability: 0.0,
            seconds_to_oom: None,
            lead_s: 0.0,
            acted: false,
            outcome: Outcome::Pending,
        };
        ScoreKeeper {
            base_rate,
            waiting: [nothing; WAITING],
            first: 0,
            count: 0,
            records: [record; RECORDS],
            recorded: 0,
            alarm: None,
            score: Score {
                true_positives: 0,
                false_positives: 0,
                misses: 0,
                averted: 0,
                pending: 0,
                precision: None,
                recall: None,
                mean_lead_s: None,
                brier: None,
                brier_baseline: None,
                resolved: 0,
            },
            last_oom: None,
            lead_sum: 0.0,
            squared: 0.0,
            squared_baseline: 0.0,
        }
    }

    /// Takes a new prediction and resolves at most one old one, which is returned to learn from.
    pub fn predict(
        &mut self,
        t_ns: u64,
        log_odds: f32,
        probability: f32,
        over: bool,
        seconds: Option<f32>,
    ) -> Option<Resolved> {
        self.follow_alarm(t_ns, probability, over, seconds);
        let newest = (self.first + self.count + WAITING - 1) % WAITING;
        let due = self.count == 0 || t_ns >= self.waiting[newest].t_ns.saturating_add(SECOND);
        if due && self.count < WAITING {
            self.waiting[(self.first + self.count) % WAITING] =
                Waiting { t_ns, log_odds, probability, acted: false };
            self.count += 1;
        }
        let oldest = self.waiting[self.first];
        if self.count == 0 || t_ns <= oldest.t_ns.saturating_add(HORIZON_NS) {
            return None;
        }
        self.first = (self.first + 1) % WAITING;
        self.count -= 1;
        if oldest.acted {
            return None;
        }
        self.add_brier(oldest.probability, false);
        Some(Resolved { log_odds: oldest.log_odds, happened: false })
    }

    /// Memory ran out: resolves everything that waits. What follows within 5 s of the last one is the same crash. `learn` gets each resolved probability.
    pub fn oom(&mut self, t_ns: u64, mut learn: impl FnMut(Resolved)) {
        while self.count > 0 {
            let oldest = self.waiting[self.first];
            self.first = (self.first + 1) % WAITING;
            self.count -= 1;
            let happened = t_ns <= oldest.t_ns.saturating_add(HORIZON_NS);
            self.add_brier(oldest.probability, happened);
            learn(Resolved { log_odds: oldest.log_odds, happened });
        }
        let again = self.last_oom.is_some_and(|last| t_ns.saturating_sub(last) < SAME_OOM_NS);
        self.last_oom = Some(t_ns);
        match self.alarm.take() {
            // What is raised while memory is out announces nothing; it is the newest record.
            Some(_) if again => {
                self.recorded -= 1;
                self.score.pending = 0;
            }
            None if again => {}
            Some(at) => {
                let record = &mut self.records[at];
                record.outcome = Outcome::TruePositive;
                record.lead_s = t_ns.saturating_sub(record.raised_ns) as f32 / 1e9;
                self.lead_sum += f64::from(record.lead_s);
                self.score.pending = 0;
                self.score.true_positives += 1;
            }
            None => {
                self.score.misses += 1;
                self.push(Record {
                    raised_ns: t_ns,
                    last_ns: t_ns,
                    probability: 0.0,
                    seconds_to_oom: None,
                    lead_s: 0.0,
                    acted: false,
                    outcome: Outcome::Miss,
                });
            }
        }
    }

    /// An action was taken: what waits now can no longer be told from a false alarm if nothing happens.
    pub fn acted(&mut self) {
        for i in 0..self.count {
            self.waiting[(self.first + i) % WAITING].acted = true;
        }
        if let Some(at) = self.alarm {
            self.records[at].acted = true;
        }
    }

    /// The totals.
    pub fn score(&self) -> Score {
        let s = self.score;
        let share = |part: u64, rest: u64| (part + rest > 0).then(|| part as f32 / (part + rest) as f32);
        let mean = |sum: f64, n: u64| (n > 0).then(|| (sum / n as f64) as f32);
        Score {
            precision: share(s.true_positives, s.false_positives),
            recall: share(s.true_positives, s.misses),
            mean_lead_s: mean(self.lead_sum, s.true_positives),
            brier: mean(self.squared, s.resolved),
            brier_baseline: mean(self.squared_baseline, s.resolved),
            ..s
        }
    }

    /// Alarms and misses, newest first.
    pub fn records(&self) -> impl Iterator<Item = &Record> {
        let kept = self.recorded.min(RECORDS);
        (1..=kept).map(|back| &self.records[(self.recorded - back) % RECORDS])
    }

    fn follow_alarm(&mut self, t_ns: u64, probability: f32, over: bool, seconds: Option<f32>) {
        match (self.alarm, over) {
            (None, true) => {
                self.score.pending = 1;
                self.alarm = Some(self.push(Record {
                    raised_ns: t_ns,
                    last_ns: t_ns,
                    probability,
                    seconds_to_oom: seconds,
                    lead_s: 0.0,
                    acted: false,
                    outcome: Outcome::Pending,
                }));
            }
            (Some(at), true) => {
                self.records[at].last_ns = t_ns;
                self.records[at].probability = self.records[at].probability.max(probability);
            }
            (Some(at), false) if t_ns > self.records[at].last_ns.saturating_add(HORIZON_NS) => {
                self.alarm = None;
                self.score.pending = 0;
                let averted = self.records[at].acted;
                self.records[at].outcome = if averted { Outcome::Averted } else { Outcome::FalsePositive };
                if averted {
                    self.score.averted += 1;
                } else {
                    self.score.false_positives += 1;
                }
            }
            _ => {}
        }
    }

    fn push(&mut self, record: Record) -> usize {
        let at = self.recorded % RECORDS;
        self.records[at] = record;
        self.recorded += 1;
        at
    }

    fn add_brier(&mut self, probability: f32, happened: bool) {
        let truth = f64::from(u8::from(happened));
        let error = |p: f32| (f64::from(p) - truth) * (f64::from(p) - truth);
        self.squared += error(probability);
        self.squared_baseline += error(self.base_rate);
        self.score.resolved += 1;
    }
}
