//! What commands may ask of the scheduler: one trait and plain data.
//!
//! The kernel implements [`Scheduling`] (`kernel/src/services/`), tests implement it with fixed data. As with [`System`](crate::System),
//! every method takes a snapshot and returns owned data, and is called from the shell's thread.

use crate::system::{Flow, TaskClass, TaskState};
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;
use sched::Latency;
use sched::guard::{Counts, Foresight, Ratio, Rule, SwitchOver};
use sched::transformer::Learning;
use thiserror::Error;

/// The scheduler under the shell.
pub trait Scheduling {
    /// Run queues, one per online CPU in order of its number, and who decides there.
    fn scheduler(&self) -> SchedulerStatus;
    /// Another policy for the fair class, on all CPUs. [`FairPolicy::Transformer`] comes with its guard, in the mode that was set
    /// last; what it had learned is kept while another policy rules. On an error every CPU has the policy that it had.
    fn set_policy(&self, policy: FairPolicy) -> Result<(), SchedulingError>;
    /// When the transformer may decide, on all CPUs; if another policy rules, the transformer and its guard take over first.
    fn set_learned_mode(&self, mode: LearnedMode) -> Result<(), SchedulingError>;
    /// What was measured since boot.
    fn scheduler_stats(&self) -> SchedulerStats;
    /// The guards' last switch-overs of all CPUs, oldest first.
    fn switch_overs(&self) -> Vec<CpuSwitchOver>;

    /// The versions of the transformer's weights that were put by, oldest first.
    fn weight_versions(&self) -> Vec<WeightVersion>;
    /// Puts the weights of all CPUs by as one version; its number.
    fn save_weights(&self) -> Result<u32, SchedulingError>;
    /// Goes on with a saved version, the last one without a number; the weights as they are, are put by first. The number of the
    /// version that is used from now on.
    fn load_weights(&self, version: Option<u32>) -> Result<u32, SchedulingError>;
    /// Goes back to the version put by last, which is then forgotten; its number.
    fn roll_back_weights(&self) -> Result<u32, SchedulingError>;

    /// Every thread with its accounting, and how long each CPU has idled: what `top` shows.
    fn activity(&self) -> Activity;

    /// Runs workloads of real threads under each of the policies and measures what comes of them. The policy and mode that were set
    /// before are set again at the end, whatever it is. `watch` is called several times a second; [`Flow::Stop`] ends the bench
    /// early: the outcome then holds what was complete by then.
    fn scheduler_bench(
        &self,
        request: &BenchRequest,
        watch: &mut dyn FnMut(&BenchProgress) -> Flow,
    ) -> Result<BenchOutcome, BenchError>;
}

/// A policy that the fair class can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FairPolicy {
    /// Earliest eligible virtual deadline first.
    Eevdf,
    /// Round robin.
    RoundRobin,
    /// Multilevel feedback queues.
    Mlfq,
    /// The transformer, under its guard, which falls back to EEVDF.
    Transformer,
}

impl FairPolicy {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Eevdf, Self::RoundRobin, Self::Mlfq, Self::Transformer];

    /// As `schedctl policy` takes it, and as `sched::Policy::name` says it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Eevdf => "eevdf",
            Self::RoundRobin => "rr",
            Self::Mlfq => "mlfq",
            Self::Transformer => "transformer",
        }
    }

    /// The policy of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|policy| policy.name() == name)
    }
}

impl fmt::Display for FairPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// When the transformer may decide. In each of them the guard may end its rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LearnedMode {
    /// From now on (`Guard::set_rule` with `Acting`).
    On,
    /// Whenever the guard finds that promising (`Guard::set_automatic`).
    Auto,
    /// Never: it predicts, and is scored.
    Shadow,
    /// Never, and it is not asked.
    Off,
}

impl LearnedMode {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::On, Self::Auto, Self::Shadow, Self::Off];

    /// As `schedctl transformer` takes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::Auto => "auto",
            Self::Shadow => "shadow",
            Self::Off => "off",
        }
    }
}

/// Why the scheduler did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SchedulingError {
    /// There is no version of that number.
    #[error(
        "there is no version {0} of the weights; `schedctl save` puts one by, `schedctl stats` lists them"
    )]
    NoSuchVersion(u32),
    /// There is no version at all.
    #[error("no version of the weights was put by; `schedctl save` does that")]
    NoVersion,
    /// The transformer panicked or did not return, and is not called again.
    #[error(
        "the transformer is broken and is not asked again; `schedctl policy transformer` puts a new one in its place"
    )]
    Broken,
    /// Anything else: one sentence.
    #[error("{0}")]
    Failed(String),
}

/// Who decides what runs where.
#[derive(Clone, Debug, PartialEq)]
pub struct SchedulerStatus {
    /// The policy that was asked for, or that the boot chose.
    pub policy: FairPolicy,
    /// When the transformer may decide, should it be the policy.
    pub mode: LearnedMode,
    /// One per online CPU, in order of `cpu`.
    pub queues: Vec<RunQueueStatus>,
}

/// The run queue of one CPU.
#[derive(Clone, Debug, PartialEq)]
pub struct RunQueueStatus {
    /// The CPU.
    pub cpu: u32,
    /// Name of the fair policy (`Policy::name`).
    pub policy: &'static str,
    /// The guard, where the policy has one.
    pub guard: Option<GuardStatus>,
    /// Thread on the CPU now; `None` = idle.
    pub current: Option<u32>,
    /// Threads that wait for the CPU, throttled reservations included.
    pub ready: u64,
    /// Of these, those with a reservation.
    pub ready_reserved: u64,
    /// Context switches since boot.
    pub switches: u64,
    /// Of these, switches away from a thread that wanted to go on.
    pub preemptions: u64,
    /// Threads that came from another CPU since boot.
    pub steals: u64,
    /// Reservation servers placed here; empty without the feature `reservations`.
    pub servers: Vec<ServerStatus>,
}

/// The guard of one CPU.
#[derive(Clone, Debug, PartialEq)]
pub struct GuardStatus {
    /// Who decides now.
    pub rule: Rule,
    /// The candidate panicked or did not return; it is not called again.
    pub broken: bool,
    /// Windows of `sched::guard::WINDOW` bursts until the candidate may try again; 0: at any time.
    pub cooldown: u32,
    /// How well sizes are foretold; `None` before the first few bursts.
    pub foresight: Option<Foresight>,
    /// Response times relative to ideal sharing: the classic policy's, and the candidate's; `None` before a window of them.
    pub classic: Option<Ratio>,
    /// See `classic`.
    pub candidate: Option<Ratio>,
    /// The last change of rule.
    pub last: Option<SwitchOver>,
}

/// One constant bandwidth server (Abeni and Buttazzo, 1998).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerStatus {
    /// The thread that it serves.
    pub task: u32,
    /// CPU time per period.
    pub budget: Duration,
    /// Its period.
    pub period: Duration,
    /// Budget left in this period.
    pub remaining: Duration,
    /// Current deadline, as time since reset.
    pub deadline: Duration,
    /// Periods in which the thread was held back because its budget was used up.
    pub throttled: u64,
    /// Deadlines missed.
    pub misses: u64,
    /// How late the thread ran after its releases (the time that it slept to, or its wake-up by others), 99 of 100 times at most. `None`
    /// before the first.
    pub jitter_p99: Option<Duration>,
}

/// A change of rule, and where.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CpuSwitchOver {
    /// The CPU.
    pub cpu: u32,
    /// What changed, and why.
    pub change: SwitchOver,
}

/// What the scheduler measured since boot.
#[derive(Clone, Debug, Default)]
pub struct SchedulerStats {
    /// Context switches of all CPUs in each of the last seconds, oldest first; at most 60.
    pub switches_by_second: Vec<u64>,
    /// What was measured while each policy decided; those that never did may be left out.
    pub policies: Vec<PolicyStats>,
    /// What each CPU's transformer and its guard say; empty where there are none.
    pub learned: Vec<LearnedStats>,
}

/// Times under one policy, on all CPUs.
#[derive(Clone, Debug)]
pub struct PolicyStats {
    /// Who decided; the transformer's are those of the time in which it acted.
    pub policy: FairPolicy,
    /// From being woken to running.
    pub wakeup: Latency,
    /// What a decision took.
    pub decision: Latency,
}

/// The transformer of one CPU.
#[derive(Clone, Debug)]
pub struct LearnedStats {
    /// The CPU.
    pub cpu: u32,
    /// The guard's counts.
    pub counts: Counts,
    /// How long the transformer's answers took.
    pub decision: Latency,
    /// How long the calls took that tell it of what happens.
    pub told: Latency,
    /// How learning goes.
    pub learning: Learning,
}

/// Weights that were put by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WeightVersion {
    /// Its number, counted from 1.
    pub number: u32,
    /// When, since reset.
    pub time: Duration,
    /// Steps of learning behind it, all CPUs together.
    pub steps: u64,
    /// Running average of the loss then, mean over the CPUs.
    pub loss: f32,
}

/// Who used the CPUs, up to one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Activity {
    /// The moment, since reset.
    pub time: Duration,
    /// Time that each online CPU has idled, in order of its number.
    pub idle: Vec<Duration>,
    /// Every thread but the idle ones, in order of `id`.
    pub tasks: Vec<TaskActivity>,
}

/// A thread, and where its time went.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskActivity {
    /// Its id.
    pub id: u32,
    /// Its name.
    pub name: String,
    /// Where it is in its life.
    pub state: TaskState,
    /// The CPU that it runs or ran on.
    pub cpu: u32,
    /// Whether it may run there only.
    pub pinned: bool,
    /// Its class.
    pub class: TaskClass,
    /// Its nice value, −20 to 19.
    pub nice: i32,
    /// Its weight, 1024 at nice 0.
    pub weight: u32,
    /// Time on a CPU.
    pub run: Duration,
    /// Time runnable, without a CPU.
    pub wait: Duration,
    /// Time blocked.
    pub sleep: Duration,
    /// Switches away that it asked for.
    pub voluntary: u64,
    /// Switches away that it did not ask for.
    pub involuntary: u64,
    /// From being woken to running, 99 of 100 times at most; `None` before its first wake-up.
    pub wakeup_p99: Option<Duration>,
}

/// What `schedctl bench` is to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BenchRequest {
    /// Under which policies, in this order within every round.
    pub policies: Vec<FairPolicy>,
    /// Which workloads, by name; all when empty.
    pub workloads: Vec<String>,
    /// About how long to measure each workload under each policy.
    pub duration: Duration,
    /// What all sizes and times are drawn from.
    pub seed: u64,
    /// Share of the CPUs that workloads with a load ask for, in percent; what the kernel itself takes comes on top.
    pub load: u32,
}

/// A bench under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BenchProgress {
    /// Time since it began.
    pub elapsed: Duration,
    /// Runs that are complete, and in all.
    pub done: u32,
    /// See `done`.
    pub runs: u32,
    /// What runs now: the workload, and the policy.
    pub workload: &'static str,
    /// See `workload`.
    pub policy: FairPolicy,
}

/// What came of a bench.
#[derive(Clone, Debug, PartialEq)]
pub struct BenchOutcome {
    /// CPUs that it ran on.
    pub cpus: u32,
    /// It was ended early.
    pub interrupted: bool,
    /// Time that it took in all.
    pub elapsed: Duration,
    /// One per workload, in the order in which they ran.
    pub tables: Vec<BenchTable>,
}

/// One workload under all policies.
#[derive(Clone, Debug, PartialEq)]
pub struct BenchTable {
    /// Its name: one word.
    pub workload: &'static str,
    /// What it is, in one line.
    pub summary: String,
    /// One per policy.
    pub rows: Vec<BenchRow>,
}

/// One workload under one policy. Times are those of the bursts: from release to end.
#[derive(Clone, Debug, PartialEq)]
pub struct BenchRow {
    /// The policy.
    pub policy: FairPolicy,
    /// Runs that this is of.
    pub runs: u32,
    /// Bursts that ended.
    pub bursts: u64,
    /// Mean response time.
    pub mean: Duration,
    /// 99 of 100 response times were no longer.
    pub p99: Duration,
    /// Mean of response time over size.
    pub slowdown: f64,
    /// Context switches for each burst.
    pub switches_per_burst: f64,
    /// Jain's index over the bursts' rates: 1 when all were slowed down alike.
    pub jain: f64,
    /// Share of the CPUs' time that was used.
    pub busy: f64,
    /// Speed of the spin loop that the bursts consist of, relative to that at the start of the bench: less than 1 when the host took the
    /// CPUs away meanwhile.
    pub speed: f64,
    /// Completion time of the workload's jobs: the mean over them from release to end. `None` where nothing in it ends.
    pub completion: Option<Duration>,
    /// From its start to the end of the last job, mean over the runs. `None` as above.
    pub makespan: Option<Duration>,
    /// Of the transformer's row: share of the decisions that it made itself, 0 to 1.
    pub acted: Option<f64>,
}

/// Why a bench did not run.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BenchError {
    /// There is no such workload.
    #[error("there is no workload `{0}`; `help schedctl bench` lists them")]
    UnknownWorkload(String),
    /// A policy could not be set.
    #[error(transparent)]
    Policy(#[from] SchedulingError),
    /// Threads could not be started.
    #[error("the bench could not go on: {0}")]
    Failed(String),
}
