//! The model file that comes in over the ports: one at a time, and it is its sender's.

use crate::arch::time;
use crate::drivers::virtio::console::Port;
use crate::services::slm::upload::Incoming;
use alloc::string::{String, ToString};
use control::{Reason, UploadError};

/// An upload of which nothing came for so long is given up, and its memory with it.
const PATIENCE_NANOS: u64 = 300 * 1_000_000_000;

/// A refusal: why, for programs and for people.
pub type Refused = (Reason, String);

/// See the module.
pub struct Receiver(Option<Upload>);

struct Upload {
    incoming: Incoming,
    /// Its sender's.
    port: &'static Port,
    /// When the last of it came.
    heard: u64,
}

impl Receiver {
    /// With nothing coming in.
    pub const fn new() -> Self {
        Self(None)
    }

    /// Begins an upload, or goes on with the same file: how many bytes of it are here. One of a sender that is still there is not disturbed
    /// by others; whoever is refused has changed nothing.
    pub fn begin(
        &mut self,
        port: &'static Port,
        name: &str,
        size: u64,
        sha256: [u8; 32],
    ) -> Result<u64, Refused> {
        let heard = time::uptime_nanos();
        if let Some(upload) = &mut self.0 {
            if !core::ptr::eq(upload.port, port) && upload.port.is_open() {
                let text = "another port's upload is under way; ask again when it has ended";
                return Err((Reason::Busy, text.into()));
            }
            if upload.incoming.is_same(name, size, &sha256) {
                (upload.port, upload.heard) = (port, heard);
                return Ok(upload.incoming.received());
            }
        }
        let incoming = Incoming::begin(name, size, sha256).map_err(|error| (Reason::NotAdmitted, error))?;
        self.0 = Some(Upload { incoming, port, heard });
        Ok(0)
    }

    /// Takes the next piece: how many bytes are here.
    pub fn piece(&mut self, port: &'static Port, offset: u64, bytes: &[u8]) -> Result<u64, Refused> {
        let upload = self.of(port)?;
        upload.incoming.piece(offset, bytes).map_err(out_of_order)?;
        upload.heard = time::uptime_nanos();
        Ok(upload.incoming.received())
    }

    /// Hands out the whole file. One that lacks bytes stays, so that they can come.
    pub fn end(&mut self, port: &'static Port) -> Result<Incoming, Refused> {
        self.of(port)?.incoming.check_complete().map_err(out_of_order)?;
        self.0.take().map(|upload| upload.incoming).ok_or_else(not_begun)
    }

    /// When it is given up if nothing comes.
    pub fn deadline(&self) -> Option<u64> {
        self.0.as_ref().map(|upload| upload.heard.saturating_add(PATIENCE_NANOS))
    }

    /// Gives up what nobody goes on with.
    pub fn give_up_late(&mut self) {
        if self.deadline().is_some_and(|deadline| time::uptime_nanos() >= deadline) {
            log::info!("control: an upload was given up: nothing of it came for 5 minutes");
            self.0 = None;
        }
    }

    fn of(&mut self, port: &'static Port) -> Result<&mut Upload, Refused> {
        self.0.as_mut().filter(|upload| core::ptr::eq(upload.port, port)).ok_or_else(not_begun)
    }
}

fn not_begun() -> Refused {
    (Reason::OutOfOrder, "no upload has begun on this port".into())
}

fn out_of_order(error: UploadError) -> Refused {
    (Reason::OutOfOrder, error.to_string())
}
