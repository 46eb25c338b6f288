//! The inference service's metrics: what its desk counts, once a second.

use crate::services::slm::desk;
use ai_insights::metrics::{Gauge, Unit};
use llm::service::RequestState;

/// Gauges without a unit: identifier, name and help.
macro_rules! gauges {
    ($($id:ident $name:literal $help:literal,)*) => {
        $(pub static $id: Gauge = Gauge::new($name, Unit::None, $help);)*
    };
}

gauges! {
    RUNNING "auton_llm_requests_running" "Requests in flight.",
    WAITING "auton_llm_requests_waiting" "Requests that wait.",
    SUBMITTED "auton_llm_requests_submitted" "Requests taken since boot.",
    REJECTED "auton_llm_requests_rejected" "Requests refused since boot: the queue or the client's share was full.",
    COMPLETED "auton_llm_requests_completed" "Requests answered since boot.",
    CANCELLED "auton_llm_requests_cancelled" "Requests cancelled or abandoned since boot.",
    FAILED "auton_llm_requests_failed" "Requests that failed since boot.",
    LATE "auton_llm_requests_late" "Requests ended by their own deadline since boot.",
    TOKENS "auton_llm_tokens" "Tokens made by the service since boot.",
    STEPS "auton_llm_steps" "Turns of the model since boot; tokens above turns are what batching gained.",
    STREAM_CHUNKS "auton_llm_stream_chunks" "Chunks of streams since boot.",
    STREAM_CHUNK_TOKENS "auton_llm_stream_chunk_tokens" "Tokens in these chunks.",
    GRAPH_DROPS "auton_llm_graph_chunk_drop" "Chunks that graphs dropped at a full channel since boot.",
    MISSES "auton_deterministic_deadline_misses" "Periods since boot with fewer tokens than the budget promised.",
    ADMITTED "auton_det_admission_accepted" "Budgets granted since boot.",
    REFUSED "auton_det_admission_rejected" "Budgets refused since boot.",
    RESERVED "auton_det_admission_reserved_ratio" "Share of each CPU that the budget reserves; 0 without one.",
    AUDITED "auton_llm_audit_entries" "Operations audited since boot.",
}

pub static JITTER: Gauge = Gauge::new(
    "auton_deterministic_jitter_p99_seconds",
    Unit::Seconds,
    "How much earlier or later the promised tokens are complete than in the period before, 99 of 100; NaN before the second period.",
);
pub static FIRST_TOKEN: Gauge = Gauge::new(
    "auton_llm_first_token_p99_seconds",
    Unit::Seconds,
    "From taking a request to its first token, 99 of the last 100; NaN before the first.",
);

/// Brings them up to date.
pub fn sample() {
    let state = desk::with(|desk| {
        let waiting = desk.requests().filter(|r| r.state == RequestState::Queued).count();
        (desk.running(), waiting, desk.stats().clone(), desk.pace(), desk.audit().written())
    });
    let Some((running, waiting, stats, pace, audited)) = state else { return };
    RUNNING.set(running as f64);
    WAITING.set(waiting as f64);
    AUDITED.set(audited as f64);
    for (gauge, count) in [
        (&SUBMITTED, stats.submitted),
        (&REJECTED, stats.rejected),
        (&COMPLETED, stats.completed),
        (&CANCELLED, stats.cancelled),
        (&FAILED, stats.failed),
        (&LATE, stats.deadlines_missed),
        (&TOKENS, stats.tokens),
        (&STEPS, stats.steps),
        (&STREAM_CHUNKS, stats.stream_chunks),
        (&STREAM_CHUNK_TOKENS, stats.stream_chunk_tokens),
        (&GRAPH_DROPS, stats.graph_drops),
        (&MISSES, stats.period_misses),
        (&ADMITTED, stats.admissions),
        (&REFUSED, stats.refusals),
    ] {
        gauge.set(count as f64);
    }
    let seconds = |nanos: Option<u64>| nanos.map_or(f64::NAN, |nanos| nanos as f64 / 1e9);
    JITTER.set(seconds(pace.and_then(|pace| pace.jitter_p99_ns)));
    FIRST_TOKEN.set(seconds(stats.first_token.quantile(99)));
    #[cfg(feature = "llm")]
    let reserved = crate::services::slm::reserved();
    #[cfg(not(feature = "llm"))]
    let reserved = None;
    RESERVED.set(reserved.map_or(0.0, |(budget, period): (u64, u64)| budget as f64 / period as f64));
}
