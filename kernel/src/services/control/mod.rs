//! The control plane on the ports of virtio-consoles: programs outside ask, the kernel answers.
//!
//! One thread serves all ports ([`Line`]), each with a session of its own, which begins anew with each client. A port whose client
//! does not read what it asked for is not read either, until it does; the others are served meanwhile. What takes long is done elsewhere:
//! inference by the model's thread, loading by a thread of its own (`work`).

mod answer;
mod keys;
mod line;
mod work;

use super::slm;
use crate::drivers::virtio::console;
use crate::tasks::{self, SpawnError};
use alloc::vec::Vec;
use line::Line;

/// Gives out the first tokens, and starts the thread if there is a console.
pub fn start() -> Result<(), SpawnError> {
    if let Err(error) = keys::init() {
        log::warn!("control: {error}; nobody outside can ask the model");
    }
    if console::is_present() {
        tasks::spawn("control", tasks::Options::default(), serve)?;
    }
    Ok(())
}

fn serve() {
    let mut upload: Option<slm::upload::Incoming> = None;
    let mut lines: Vec<Line> = Vec::new();
    loop {
        for port in console::ports() {
            if !lines.iter().any(|line| core::ptr::eq(line.port(), port)) {
                // Client 0 is the console.
                lines.push(Line::new(port, lines.len() as u32 + 1));
            }
        }
        // What came after this is seen when waiting.
        let news = slm::desk::news();
        lines.iter_mut().for_each(|line| line.serve(&mut upload));
        let deadline = lines.iter().filter_map(Line::deadline).min();
        console::wait(deadline, || slm::desk::news() != news);
    }
}
