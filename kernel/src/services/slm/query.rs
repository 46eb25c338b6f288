//! `slm query` as a request of the service's, in the asking thread.

use super::desk;
use crate::arch::time;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;
use llm::service::{
    CHUNK_BYTES, CONSOLE, Chunk, End, Failure, Fetched, Form, Job, Operation, Outcome, SubmitError,
};
use shell::Flow;
use shell::slm::{SlmBackend, SlmError, SlmEvent, SlmOrigin, SlmRequest, SlmStop, SlmSummary};

/// How often an asker who waits is given a chance to change his mind.
const WAITING_NANOS: u64 = 100_000_000;

/// Has the model answer; `sink` is called in the asking thread. `why` says why the model does.
pub fn query(
    request: &SlmRequest,
    why: &str,
    sink: &mut dyn FnMut(SlmEvent<'_>) -> Flow,
) -> Result<SlmSummary, SlmError> {
    let job = Job::new(CONSOLE, Operation::Query, request.question.clone(), request.max_tokens);
    let job = job.map_err(|error| SlmError::Failed(alloc::format!("{error}")))?;
    let job =
        Job { form: Form::Question, sampling: request.sampling, grammar: request.grammar.clone(), ..job };
    let id = desk::submit(job).map_err(|error| match error {
        SubmitError::NoModel => SlmError::NotLoaded { reason: String::from("it was unloaded meanwhile") },
        _ => SlmError::Busy,
    })?;
    sink(SlmEvent::Answering { backend: SlmBackend::Neural, why });
    let mut bytes = Vec::with_capacity(CHUNK_BYTES);
    let mut go_on = true;
    loop {
        bytes.clear();
        let deadline = time::uptime_nanos().saturating_add(WAITING_NANOS);
        let event = match desk::fetch(id, CONSOLE, deadline, &mut bytes) {
            Ok(Fetched::End(outcome)) => return summary(outcome),
            Ok(Fetched::Chunk(Chunk { record, .. })) => {
                let origin = if record { SlmOrigin::Record } else { SlmOrigin::Model };
                SlmEvent::Piece { bytes: &bytes, origin }
            }
            Ok(Fetched::Nothing(_)) => SlmEvent::Waiting,
            Err(error) => return Err(SlmError::Failed(alloc::format!("{error}"))),
        };
        if go_on && sink(event) == Flow::Stop {
            go_on = false;
            // It may have ended just now.
            let _ = desk::cancel(id, CONSOLE, false);
        }
    }
}

fn summary(outcome: Outcome) -> Result<SlmSummary, SlmError> {
    if let Some(error) = outcome.error {
        return Err(match error {
            Failure::TooLong { tokens, room } => SlmError::TooLong { tokens, room },
            Failure::Grammar(text) => SlmError::Grammar(text),
            Failure::Unloaded => SlmError::NotLoaded { reason: String::from("it was unloaded meanwhile") },
            Failure::Engine(text) => SlmError::Failed(text),
        });
    }
    let counts = outcome.counts;
    Ok(SlmSummary {
        backend: SlmBackend::Neural,
        prompt_tokens: counts.prompt_tokens.into(),
        record_tokens: counts.record_tokens.into(),
        reused_tokens: counts.reused_tokens.into(),
        model_tokens: counts.tokens.into(),
        prefill: Duration::from_nanos(counts.prefill_ns),
        decode: Duration::from_nanos(counts.decode_ns),
        stop: match outcome.end {
            End::Finished | End::Failed => SlmStop::End,
            End::MaxTokens => SlmStop::MaxTokens,
            End::ContextFull => SlmStop::ContextFull,
            End::NoToken => SlmStop::NoToken,
            End::Cancelled | End::Deadline | End::Abandoned => SlmStop::Interrupted,
        },
    })
}
