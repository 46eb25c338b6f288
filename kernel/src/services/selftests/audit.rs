//! The audit's memory holds no byte of a prompt.

use super::Outcome;
use crate::services::slm::desk;
use crate::services::system::Machine;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;
use llm::service::{AUDIT_ENTRIES, AUDIT_REFUSALS, AuditEntry, CONSOLE, Fetched, Job, Operation};
use shell::Inference;

/// A text that is nowhere else.
const MARK: &str = "xylophone-quagmire-7391";
/// Shortest piece of it that would be found.
const PIECE: usize = 6;

/// Has the model asked about a text that is nowhere else, by a request that is served and ones that are refused, and looks for it in a dump of
/// the ring's memory.
pub fn audit() -> Outcome {
    let machine = Machine;
    let ask = |operation| {
        let job = Job::new(CONSOLE, operation, String::from(MARK), 2).map_err(|error| error.to_string())?;
        machine.submit(job).map_err(|error| error.to_string())
    };
    let before = machine.audit().last().map_or(0, |entry| entry.number);
    let ids = [ask(Operation::Infer)?, ask(Operation::Stream)?];
    // Some of these are beyond the client's share; the others are not waited for.
    let (taken, refused): (Vec<_>, Vec<_>) = (0..16).map(|_| ask(Operation::Infer)).partition(Result::is_ok);
    for id in taken.into_iter().flatten() {
        // It may have ended by now.
        let _ = machine.cancel(id);
    }
    let refused = refused.len();
    for id in ids {
        wait_for(&machine, id)?;
    }
    let dump = dump().ok_or("there is no desk")?;
    let found = MARK.as_bytes().windows(PIECE).find(|piece| dump.windows(PIECE).any(|bytes| bytes == *piece));
    let written = machine.audit().last().map_or(0, |entry| entry.number) - before;
    match found {
        Some(piece) => Err(alloc::format!("the ring holds `{}`", String::from_utf8_lossy(piece))),
        None if written < 3 || refused == 0 => Err(alloc::format!("{written} operations, {refused} refused")),
        None => Ok(alloc::format!(
            "{written} operations about a text, {refused} of them refused; no {PIECE} bytes of it in the ring's {} bytes",
            dump.len()
        )),
    }
}

fn wait_for(machine: &Machine, id: u32) -> Result<(), String> {
    let mut text = Vec::new();
    for _ in 0..600 {
        text.clear();
        match machine.fetch(id, Duration::from_millis(100), &mut text) {
            Ok(Fetched::End(_)) => return Ok(()),
            Ok(_) => {}
            Err(error) => return Err(error.to_string()),
        }
    }
    Err(String::from("an answer did not end within a minute"))
}

/// The bytes of the ring as they lie in memory.
fn dump() -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity((AUDIT_ENTRIES + AUDIT_REFUSALS) * size_of::<AuditEntry>());
    desk::with(|desk| {
        for ring in desk.audit().memory() {
            for at in 0..size_of_val(ring) {
                // SAFETY: within the ring, which the desk's lock keeps alive and as it is. Volatile, for some of the bytes are padding:
                // whatever lies there is what a dump would show.
                bytes.push(unsafe { ring.as_ptr().cast::<u8>().add(at).read_volatile() });
            }
        }
    })?;
    Some(bytes)
}
