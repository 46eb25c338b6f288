//! What each request of the control plane comes to.

use super::receiver::{Receiver, Refused};
use super::work::{self, Work};
use crate::arch::{percpu, time};
use crate::drivers::virtio::console::Port;
use crate::memory::frames;
use crate::services::slm::inference;
use crate::services::slm::upload::Incoming;
use crate::services::slm::{self, desk};
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use control::message::Infer;
use control::reply::{PAGE_RECORDS, Record};
use control::session::Refusal;
use control::{Message, ModelState, Reason, Reply, Request, RequestId, Rights, Session, Status};
use llm::service::{
    AuditEntry, ClientId, Job, JobError, MAX_CHUNK, Operation, Priority, RequestState, Status as Bits,
    SubmitError,
};
use shell::slm::{DEFAULT_SAMPLING, SlmState};

/// Acknowledges a request and sees to it, or refuses it.
pub fn answer(
    session: &mut Session,
    works: &mut Vec<Work>,
    client: ClientId,
    port: &'static Port,
    request: Request,
    receiver: &mut Receiver,
) {
    let Request { id, rights, message } = request;
    let result = match message {
        // The session answers pings.
        Message::Ping(number) => Ok((number, None)),
        Message::Status => Ok((0, Some(Work::reply(id, Reply::Status(status()))))),
        Message::Load { name, wcet_cycles } => load(id, client, name, wcet_cycles),
        Message::Infer(infer) => submit(id, client, infer),
        Message::Cancel { number } => {
            let any = rights.allow(Rights::ADMIN);
            let cancelled = u32::try_from(number).map(|number| desk::cancel(number, client, any));
            let error = (Reason::UnknownRequest, alloc::format!("no inference {number} is under way"));
            match cancelled {
                Ok(Ok(())) => Ok((number, None)),
                // The desk has audited it.
                Ok(Err(_)) => Err(error),
                Err(_) => Err(refused(client, Operation::Cancel, 0, error)),
            }
        }
        Message::Audit { before, most } => {
            Ok((0, Some(Work::reply(id, Reply::Records(page(before, most.into()))))))
        }
        Message::Metrics => metrics(id).map_err(|error| refused(client, Operation::Access, 0, error)),
        Message::UploadBegin { size, sha256, name } => receiver
            .begin(port, &name, size, sha256)
            .map(|received| (received, None))
            .map_err(|error| refused(client, Operation::Upload, size, error)),
        Message::UploadChunk { offset, bytes } => receiver
            .piece(port, offset, &bytes)
            .map(|received| (received, None))
            .map_err(|error| refused(client, Operation::Upload, bytes.len() as u64, error)),
        Message::UploadEnd => match receiver.end(port) {
            Ok(incoming) => finish_upload(id, client, incoming),
            Err(error) => Err(refused(client, Operation::Upload, 0, error)),
        },
        Message::Finetune { .. } => {
            reject(client, Operation::Finetune, "unsupported");
            Err((Reason::Unsupported, String::from("this kernel cannot fine-tune a model yet")))
        }
    };
    let first = match result {
        Ok((number, more)) => {
            let acknowledged = session.reply(id, &Reply::Ack { number });
            if acknowledged.is_ok() {
                works.extend(more);
            }
            acknowledged
        }
        Err((reason, text)) => session.reply(id, &Reply::refused(reason, &text)),
    };
    if let Err(error) = first {
        log::warn!("control: {error}");
    }
}

/// Audits a frame that the session has refused.
pub fn audit(refusal: Refusal) {
    let op = match refusal.frame {
        0x10 => Operation::Load,
        0x11 => Operation::Infer,
        0x12 => Operation::Cancel,
        0x20..=0x22 => Operation::Upload,
        0x30 => Operation::Finetune,
        _ => Operation::Access,
    };
    reject(refusal.client, op, refusal.reason.name());
}

fn reject(client: ClientId, op: Operation, reason: &'static str) {
    desk::record(AuditEntry { reason, ..AuditEntry::new(client, op, Bits::REJECT) });
}

/// Loading takes seconds: in a thread of its own.
fn load(id: RequestId, client: ClientId, name: String, wcet: u64) -> Result<(u64, Option<Work>), Refused> {
    let thread = work::start_elsewhere(move || {
        let name = Some(name.as_str()).filter(|name| !name.is_empty());
        let result = slm::replace(client, name, Some(wcet));
        result
            .map(|()| slm::status().model.map(|model| model.name).unwrap_or_default())
            .map_err(|error| error.to_string())
    });
    match thread {
        Ok(thread) => Ok((0, Some(Work::elsewhere(id, thread)))),
        Err(error) => Err(refused(client, Operation::Load, 0, (Reason::Internal, error.to_string()))),
    }
}

fn submit(id: RequestId, client: ClientId, infer: Infer) -> Result<(u64, Option<Work>), Refused> {
    let operation = if infer.stream { Operation::Stream } else { Operation::Infer };
    let max_tokens = usize::try_from(infer.max_tokens).unwrap_or(usize::MAX);
    let job = Job::new(client, operation, infer.prompt, max_tokens).map_err(|error| {
        reject(client, operation, "bad request");
        let reason = match error {
            JobError::PromptTooLong(_) => Reason::TooLong,
            JobError::NoMemory => Reason::NotAdmitted,
            JobError::EmptyPrompt | JobError::NoTokens => Reason::Malformed,
        };
        (reason, error.to_string())
    })?;
    let job = Job {
        priority: match infer.priority {
            control::message::Priority::Low => Priority::Low,
            control::message::Priority::Normal => Priority::Normal,
            control::message::Priority::High => Priority::High,
        },
        deadline_ns: Some(u64::from(infer.deadline_ms) * 1_000_000).filter(|deadline| *deadline > 0),
        chunk: u32::from(infer.chunk_tokens).clamp(1, MAX_CHUNK),
        // The same answer as at the console.
        sampling: DEFAULT_SAMPLING,
        ..job
    };
    let number = desk::submit(job).map_err(|error| {
        let reason = if error == SubmitError::NoModel { Reason::NoModel } else { Reason::Busy };
        (reason, error.to_string())
    })?;
    Ok((number.into(), Some(Work::inference(id, number, infer.stream))))
}

#[cfg(feature = "ai-ops")]
fn metrics(id: RequestId) -> Result<(u64, Option<Work>), Refused> {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = crate::services::insights::registry().openmetrics(&mut text);
    Ok((0, Some(Work::text(id, text))))
}

#[cfg(not(feature = "ai-ops"))]
fn metrics(_: RequestId) -> Result<(u64, Option<Work>), Refused> {
    Err((Reason::Unsupported, String::from("this kernel was built without the feature `ai-ops`")))
}

/// Audits a refusal. `size`: bytes that it is about.
fn refused(client: ClientId, op: Operation, size: u64, (reason, text): Refused) -> Refused {
    let entry = AuditEntry { reason: reason.name(), ..AuditEntry::new(client, op, Bits::REJECT) };
    desk::record(AuditEntry { prompt_len: u32::try_from(size).unwrap_or(u32::MAX), ..entry });
    (reason, text)
}

/// Checks the whole file, in a thread of its own: others are served meanwhile.
fn finish_upload(
    id: RequestId,
    client: ClientId,
    incoming: Incoming,
) -> Result<(u64, Option<Work>), Refused> {
    let received = incoming.received();
    let thread = work::start_elsewhere(move || {
        let result = incoming.end();
        let (status, reason) = if result.is_ok() { (Bits::OK, "") } else { (Bits::REJECT, "not a model") };
        let prompt_len = u32::try_from(received).unwrap_or(u32::MAX);
        desk::record(AuditEntry { prompt_len, reason, ..AuditEntry::new(client, Operation::Upload, status) });
        result.map(|(name, size)| alloc::format!("{name}: {size} bytes"))
    });
    match thread {
        Ok(thread) => Ok((received, Some(Work::elsewhere(id, thread)))),
        Err(error) => {
            Err(refused(client, Operation::Upload, received, (Reason::Internal, error.to_string())))
        }
    }
}

/// The newest operations before one, oldest first.
fn page(before: u64, most: usize) -> Vec<Record> {
    let entries = inference::audit();
    let older = entries.iter().filter(|entry| entry.number < before).count();
    let page = entries.get(older.saturating_sub(most.min(PAGE_RECORDS))..older).unwrap_or_default();
    page.iter().map(record).collect()
}

fn record(entry: &AuditEntry) -> Record {
    Record {
        sequence: entry.number,
        ts_ns: entry.ts_ns,
        op: entry.op as u8,
        status: entry.status.bits(),
        client: entry.client,
        prompt_len: entry.prompt_len,
        tokens: entry.tokens,
        wcet_cycles: entry.wcet_cycles,
        period_ns: entry.period_ns,
        reason: entry.reason.into(),
    }
}

fn status() -> Status {
    let memory = frames::stats();
    let slm = slm::status();
    let waiting = |state| state == RequestState::Queued;
    let counted = desk::with(|desk| (desk.running(), desk.requests().filter(|r| waiting(r.state)).count()));
    let [running, waiting] =
        <[usize; 2]>::from(counted.unwrap_or_default()).map(|count| u16::try_from(count).unwrap_or(u16::MAX));
    Status {
        uptime_ns: time::uptime_nanos(),
        memory_total: crate::services::system::total_memory(),
        memory_free: memory.free_bytes(),
        cpus: u16::try_from(percpu::count()).unwrap_or(u16::MAX),
        running,
        waiting,
        model: match (&slm.state, &slm.model) {
            (SlmState::Loaded, _) => ModelState::Ready,
            (SlmState::Unloaded { .. }, Some(_)) if slm::load_failed() => ModelState::Failed,
            _ => ModelState::None,
        },
        model_name: slm.model.map(|model| model.name).unwrap_or_default(),
        kernel: env!("CARGO_PKG_VERSION").into(),
    }
}
