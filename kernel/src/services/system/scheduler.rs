//! The scheduler as the shell sees it: the kernel's side of [`shell::Scheduling`].

use super::Machine;
use crate::arch::{percpu, time};
use crate::services::{sched_bench, scheduling};
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
        let (policy, mode) = scheduling::current();
        SchedulerStatus { policy, mode, queues }
    }

    fn set_policy(&self, policy: FairPolicy) -> Result<(), SchedulingError> {
        scheduling::set_policy(policy)
    }

    fn set_learned_mode(&self, mode: LearnedMode) -> Result<(), SchedulingError> {
        scheduling::set_mode(mode)
    }

    fn scheduler_stats(&self) -> SchedulerStats {
        scheduling::stats()
    }

    fn switch_overs(&self) -> Vec<CpuSwitchOver> {
        scheduling::switch_overs()
    }

    fn weight_versions(&self) -> Vec<WeightVersion> {
        scheduling::versions()
    }

    fn save_weights(&self) -> Result<u32, SchedulingError> {
        scheduling::save()
    }

    fn load_weights(&self, version: Option<u32>) -> Result<u32, SchedulingError> {
        scheduling::load(version)
    }

    fn roll_back_weights(&self) -> Result<u32, SchedulingError> {
        scheduling::roll_back()
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
        request: &BenchRequest,
        watch: &mut dyn FnMut(&BenchProgress) -> Flow,
    ) -> Result<BenchOutcome, BenchError> {
        sched_bench::run(self, request, watch)
    }
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
        pinned: info.pinned,
        class: class(info),
        nice: info.nice.value(),
        weight: info.nice.weight(),
        run: Duration::from_nanos(accounting.run),
        wait: Duration::from_nanos(accounting.wait),
        sleep: Duration::from_nanos(accounting.sleep),
        voluntary: accounting.voluntary,
        involuntary: accounting.involuntary,
        wakeup_p99: p99(&info.wake_latency),
    }
}

fn run_queue(cpu: &percpu::Cpu, tasks: &[tasks::TaskInfo]) -> Option<RunQueueStatus> {
    let here = || tasks.iter().filter(|task| task.cpu == cpu.index);
    let running = here().find(|task| task.state == tasks::State::Running && !task.idle);
    let (policy, ready, reserved) = tasks::with_run_queue(cpu.index, |queue| {
        (queue.policy_name(), queue.len(), queue.len() - queue.fair().len())
    })?;
    Some(RunQueueStatus {
        cpu: cpu.index as u32,
        policy,
        guard: scheduling::guard(cpu.index),
        current: running.map(|task| task.id),
        ready: ready as u64,
        ready_reserved: reserved as u64,
        switches: cpu.switches.load(Ordering::Relaxed),
        preemptions: here().map(|task| task.accounting.involuntary).sum(),
        steals: cpu.steals.load(Ordering::Relaxed),
        servers: servers(cpu.index, tasks),
    })
}

/// What 99 of 100 times did not exceed, to the next power of two; `None` when there were none.
fn p99(latency: &sched::Latency) -> Option<Duration> {
    (latency.count() > 0).then(|| Duration::from_nanos(latency.quantile(0.99)))
}

/// The reservation servers of a CPU; at most 64 are shown.
#[cfg(feature = "deterministic")]
fn servers(cpu: usize, tasks: &[tasks::TaskInfo]) -> Vec<shell::ServerStatus> {
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
            jitter_p99: tasks
                .iter()
                .find(|task| task.id == server.task)
                .and_then(|task| p99(&task.wake_latency)),
        })
        .collect()
}

/// Without reservations there are none.
#[cfg(not(feature = "deterministic"))]
fn servers(_cpu: usize, _tasks: &[tasks::TaskInfo]) -> Vec<shell::ServerStatus> {
    Vec::new()
}
