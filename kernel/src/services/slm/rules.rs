//! The rule engine as a backend: device questions and how-to questions over this shell's commands.

use crate::arch::time;
use core::time::Duration;
use llm::rules::{self, Source};
use shell::Flow;
use shell::slm::{SlmBackend, SlmError, SlmEvent, SlmOrigin, SlmStop, SlmSummary};

/// Answers a question in one piece; `why` says why the rules do. [`SlmError::NoRule`] where they know nothing.
pub fn answer(
    question: &str,
    why: &str,
    sink: &mut dyn FnMut(SlmEvent<'_>) -> Flow,
) -> Result<SlmSummary, SlmError> {
    let start = time::uptime_nanos();
    let commands = shell::commands::command_help();
    let found = rules::find(question, &commands).filter(|answer| answer.source != Source::Nothing);
    let answer = found.ok_or(SlmError::NoRule)?;
    sink(SlmEvent::Answering { backend: SlmBackend::Rules, why });
    sink(SlmEvent::Piece { bytes: answer.text.as_bytes(), origin: SlmOrigin::Record });
    Ok(SlmSummary {
        backend: SlmBackend::Rules,
        prompt_tokens: 0,
        record_tokens: 0,
        reused_tokens: 0,
        model_tokens: 0,
        prefill: Duration::ZERO,
        decode: Duration::from_nanos(time::uptime_nanos().saturating_sub(start)),
        stop: SlmStop::End,
    })
}
