//! The inference service: `llmctl`, `llmjson`, `llminfer`, `llmstream`, `llmpoll`, `llmcancel`, `llmstats`, and the graph. One file for
//! each thing that is asked of it.

mod ask;
mod audit;
mod budget;
mod drawing;
mod graph;
mod pace;
mod poll;
mod request;
mod stats;
mod status;

pub use ask::{INFER, STREAM};
pub use audit::{AUDIT, JSON as AUDIT_JSON};
pub use budget::{BUDGET, LOAD};
pub use graph::{GRAPH, SHOW};
pub use pace::PACE;
pub use poll::{CANCEL, POLL};
pub use stats::STATS;
pub use status::STATUS;

use super::{CommandError, Context};
use crate::args::{UsageError, brief};
use crate::inference::ServiceError;
use crate::units::short_time;
use alloc::format;
use alloc::string::{String, ToString};
use core::time::Duration;
use llm::service::{CONSOLE, ClientId, JobError, RequestId, UnknownRequest};

impl From<ServiceError> for CommandError {
    fn from(error: ServiceError) -> Self {
        CommandError::Failed(error.to_string())
    }
}

impl From<UnknownRequest> for CommandError {
    fn from(error: UnknownRequest) -> Self {
        CommandError::Failed(error.to_string())
    }
}

impl From<JobError> for CommandError {
    fn from(error: JobError) -> Self {
        CommandError::Failed(error.to_string())
    }
}

/// Nanoseconds for people.
fn time(ns: u64) -> String {
    short_time(Duration::from_nanos(ns))
}

/// As [`time`], or a dash.
fn time_or_dash(ns: Option<u64>) -> String {
    ns.map_or_else(|| String::from("-"), time)
}

/// Who asked, for people.
fn client_name(client: ClientId) -> String {
    match client {
        CONSOLE => String::from("console"),
        ClientId::MAX => String::from("gone"),
        port => format!("port {port}"),
    }
}

/// The operand that is a request's number.
fn request_number(context: &Context<'_>) -> Result<RequestId, UsageError> {
    let word = context.args.operands.first().map(String::as_str).unwrap_or_default();
    word.parse().ok().filter(|id| *id > 0).ok_or_else(|| {
        UsageError(format!(
            "a request is a number such as 3, not `{}`; `llmctl status` lists them",
            brief(word)
        ))
    })
}
