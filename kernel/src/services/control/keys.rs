//! The tokens of this kernel, and where their secrets come from.

use crate::drivers::virtio::entropy;
use crate::services::slm::desk;
use crate::services::system::Machine;
use crate::sync::IrqMutex;
use alloc::string::{String, ToString};
use control::authority::{self, EMBEDDED, Kind};
use control::{Authority, Token};
use llm::service::{AuditEntry, CONSOLE, Operation, Status};
use shell::{ControlKeys, KeyError, KeyKind};
use x86_64::instructions::random::RdRand;

static AUTHORITY: IrqMutex<Authority> = IrqMutex::new(Authority::new());

/// Intel's advice: a source that has nothing ten times in a row is broken.
const TRIES: usize = 10;

/// Gives out the first two tokens.
pub fn init() -> Result<(), KeyError> {
    for kind in [Kind::Admin, Kind::Submit] {
        make(|authority, random| authority.rotate(kind, random))?;
    }
    Ok(())
}

/// Runs `act` on the authority: short, without waiting.
pub fn with<R>(act: impl FnOnce(&mut Authority) -> R) -> R {
    act(&mut AUTHORITY.lock())
}

/// 64 bits of the CPU's random number generator (NIST SP 800-90A behind RDRAND), or, where it has none, of the host's.
fn random() -> Option<u64> {
    let bits = match RdRand::new() {
        Some(source) => (0..TRIES).find_map(|_| source.get_u64()),
        None => entropy::next(),
    };
    bits.filter(|bits| !matches!(*bits, 0 | u64::MAX))
}

/// Makes a token of fresh secret bits.
fn make(
    mut make: impl FnMut(&mut Authority, u64) -> Result<Token, authority::KeyError>,
) -> Result<Token, KeyError> {
    for _ in 0..TRIES {
        let random = random().ok_or(KeyError::NoRandomness)?;
        match with(|authority| make(authority, random)) {
            Ok(token) => return Ok(token),
            Err(authority::KeyError::TooMany) => return Err(KeyError::TooMany(EMBEDDED)),
            // Once in 2^56.
            Err(authority::KeyError::NotRandom) => {}
        }
    }
    Err(KeyError::NoRandomness)
}

fn kind(of: KeyKind) -> Kind {
    match of {
        KeyKind::Admin => Kind::Admin,
        KeyKind::Submit => Kind::Submit,
    }
}

/// Audits that a token was made; the token itself is nowhere but in the answer to the console.
fn audited(op: Operation, result: Result<Token, KeyError>) -> Result<String, KeyError> {
    let entry = AuditEntry::new(CONSOLE, op, Status::OK);
    let refused = AuditEntry { status: Status::REJECT, reason: "no token", ..entry };
    desk::record(if result.is_ok() { entry } else { refused });
    result.map(|token| token.reveal().to_string())
}

impl ControlKeys for Machine {
    fn keys(&self) -> Result<[String; 2], KeyError> {
        let current = |kind| with(|authority| authority.current(kind)).ok_or(KeyError::NoRandomness);
        Ok([current(Kind::Admin)?, current(Kind::Submit)?].map(|token| token.reveal().to_string()))
    }

    fn rotate(&self, of: KeyKind) -> Result<String, KeyError> {
        audited(Operation::Rotate, make(|authority, random| authority.rotate(kind(of), random)))
    }

    fn embed(&self, of: KeyKind) -> Result<String, KeyError> {
        audited(Operation::Embed, make(|authority, random| authority.embed(kind(of), random)))
    }
}
