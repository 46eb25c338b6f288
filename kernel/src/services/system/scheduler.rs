//! The scheduler as the shell sees it: the kernel's side of [`shell::Scheduling`].

use super::Machine;
use crate::arch::{percpu, time};
use crate::tasks;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;
use core::time::Duration;
use shell::{
    Activity, BenchError, BenchOutcome, BenchProgress, BenchRequest, CpuSwitchOver, FairPolicy, Flow,
    LearnedMode, RunQueueStatus, SchedulerStats, SchedulerStatus, Scheduling, SchedulingError, TaskActivity,
    TaskClass, TaskState, WeightVersion,
};

impl Scheduling for Machine {
    fn scheduler(&self) -> SchedulerStatus {
        let tasks = tasks::list();
        let queues = percpu::all().filter_map(|cpu| run_queue(cpu, &tasks)).collect();
        SchedulerStatus { policy: FairPolicy::Eevdf, mode: LearnedMode::Off, queues }
    }

    fn set_policy(&self, _policy: FairPolicy) -> Result<(), SchedulingError> {
        Err(not_yet())
    }

    fn set_learned_mode(&self, _mode: LearnedMode) -> Result<(), SchedulingError> {
        Err(not_yet())
    }

    fn scheduler_stats(&self) -> SchedulerStats {
        SchedulerStats::default()
    }

    fn switch_overs(&self) -> Vec<CpuSwitchOver> {
        Vec::new()
    }

    fn weight_versions(&self) -> Vec<WeightVersion> {
        Vec::new()
    }

    fn save_weights(&self) -> Result<u32, SchedulingError> {
        Err(not_yet())
    }

    fn load_weights(&self, _version: Option<u32>) -> Result<u32, SchedulingError> {
        Err(not_yet())
    }

    fn roll_back_weights(&self) -> Result<u32, SchedulingError> {
        Err(not_yet())
    }

    fn activity(&self) -> Activity {
        let tasks = tasks::list();
        let idle =
            |cpu: usize| tasks.iter().filter(|t| t.idle && t.cpu == cpu).map(|t| t.accounting.run).sum();
        Activity {
            time: Duration::from_nanos(time::uptime_nanos()),
            idle: (0..percpu::count()).map(|cpu| Duration::from_nanos(idle(cpu))).collect(),
            tasks: tasks.iter().filter(|task| !task.idle).map(task).collect(),
        }
    }

    fn scheduler_bench(
        &self,
        _request: &BenchRequest,
        _watch: &mut dyn FnMut(&BenchProgress) -> Flow,
    ) -> Result<BenchOutcome, BenchError> {
        Err(not_yet().into())
    }
}

fn not_yet() -> SchedulingError {
    SchedulingError::Failed("this kernel has one policy only".into())
}

/// A thread's state in the shell's words.
pub(super) fn state(info: &tasks::TaskInfo) -> TaskState {
    match info.state {
        tasks::State::Running => TaskState::Running,
        tasks::State::Ready => TaskState::Ready,
        tasks::State::Blocking | tasks::State::Blocked => TaskState::Blocked,
        tasks::State::Exited => TaskState::Finished,
    }
}

/// Its class.
pub(super) fn class(info: &tasks::TaskInfo) -> TaskClass {
    match info.class {
        _ if info.idle => TaskClass::Idle,
        sched::Class::Fair => TaskClass::Fair,
        #[cfg(feature = "deterministic")]
        sched::Class::Reserved(_) => TaskClass::Reserved,
    }
}

fn task(info: &tasks::TaskInfo) -> TaskActivity {
    let accounting = info.accounting;
    TaskActivity {
        id: info.id,
        name: info.name.clone(),
        state: state(info),
        cpu: info.cpu as u32,
        pinned: true,
        class: class(info),
        nice: info.nice.value(),
        weight: info.nice.weight(),
        run: Duration::from_nanos(accounting.run),
        wait: Duration::from_nanos(accounting.wait),
        sleep: Duration::from_nanos(accounting.sleep),
        voluntary: accounting.voluntary,
        involuntary: accounting.involuntary,
        wakeup_p99: None,
    }
}

fn run_queue(cpu: &percpu::Cpu, tasks: &[tasks::TaskInfo]) -> Option<RunQueueStatus> {
    let here = || tasks.iter().filter(|task| task.cpu == cpu.index);
    let running = here().find(|task| task.state == tasks::State::Running && !task.idle);
    let (policy, ready) = tasks::with_run_queue(cpu.index, |queue| (queue.policy_name(), queue.len()))?;
    Some(RunQueueStatus {
        cpu: cpu.index as u32,
        policy,
        guard: None,
        current: running.map(|task| task.id),
        ready: ready as u64,
        ready_reserved: 0,
        switches: cpu.switches.load(Ordering::Relaxed),
        preemptions: here().map(|task| task.accounting.involuntary).sum(),
        steals: 0,
        servers: servers(cpu.index),
    })
}

/// The reservation servers of a CPU; at most 64 are shown.
#[cfg(feature = "deterministic")]
fn servers(cpu: usize) -> Vec<shell::ServerStatus> {
    // Collected without allocation under the queue's lock.
    let servers = tasks::with_run_queue(cpu, |queue| {
        queue.reservations().servers().take(64).collect::<heapless::Vec<sched::ServerStatus, 64>>()
    });
    let servers = servers.into_iter().flatten();
    servers
        .map(|server| shell::ServerStatus {
            task: server.task,
            budget: Duration::from_nanos(server.reservation.budget),
            period: Duration::from_nanos(server.reservation.period),
            remaining: Duration::from_nanos(server.budget_left),
            deadline: Duration::from_nanos(server.deadline),
            throttled: server.throttles,
            misses: server.misses,
            jitter_p99: None,
        })
        .collect()
}

/// Without reservations there are none.
#[cfg(not(feature = "deterministic"))]
fn servers(_cpu: usize) -> Vec<shell::ServerStatus> {
    Vec::new()
}
